"""Write what is made from the command tree: `python -m tools.generate`."""

from __future__ import annotations

from pathlib import Path

from tools import completions, dependencies, faults, manpages, reference

ROOT = Path(__file__).parent.parent


def files() -> dict[str, str]:
    """Give every generated file's text by its path in the repository."""
    pages = (completions, manpages, reference, dependencies, faults)
    return {name: text for page in pages for name, text in page.files().items()}


def main() -> None:
    """Write the files that are not as they should be."""
    for name, text in files().items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
