"""The page docs/dependencies.md, from the comments beside the dependencies in pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LINE = re.compile(r'^  "([^"<>=!~ ]+)([^"]*)",\s*# (.+)$', re.M)
_TITLES = {
    "dependencies": "What `pip install tovec` brings",
    "serve": "What `tovec[serve]` adds",
    "docs": "What the documentation's site is built with (`tovec[docs]`)",
    "dev": "What tests and checks need (`tovec[dev]`)",
}


def files() -> dict[str, str]:
    """Give the page's text by its path in the repository."""
    return {"docs/dependencies.md": page((ROOT / "pyproject.toml").read_text(encoding="utf-8"))}


def page(project: str) -> str:
    """Give the page for a pyproject.toml, whose dependencies each have their reason beside them."""
    lines = ["# What it depends on", ""]
    lines += [
        "Made from `pyproject.toml` by `tools/dependencies.py`. A library that one command needs",
        "is loaded by that command alone.",
        "",
    ]
    for name, title in _TITLES.items():
        lines += [f"## {title}", "", "| package | version | why |", "|---|---|---|"]
        lines += _rows(project, name)
        lines.append("")
    lines += [
        "Data by others that is part of the package is listed in `NOTICE`, with its licences."
    ]
    return "\n".join(lines) + "\n"


def _rows(project: str, name: str) -> Iterator[str]:
    (_, listed) = project.split(f"\n{name} = [\n", 1)
    for package, version, why in _LINE.findall(listed.partition("\n]")[0]):
        yield f"| `{package}` | {version.replace('|', ' ') or 'any'} | {why} |"
