"""Runs the examples of the documentation, and writes what they answer into it.

    python -m tools.examples [PAGE...]

A page's blocks are run in their order, in one empty directory, with the model inside the package:
`sh` must succeed; `console` shows commands after "$ " and, below each, what it answers; `sql` is
run by DuckDB. A comment on the line before a block says what is different about it:
`<!-- not run: REASON -->` or `<!-- needs: PROGRAM, ... -->`, where `tovec NAME` is a command and
`import NAME` a library.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tovec.cli.commands import program

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(
    r"^(?:<!-- (?P<word>not run|needs): (?P<what>.+?) -->\n)?(?:<!-- recipe: \w+ -->\n)?"
    r"^```(?P<language>sh|console|sql)\n(?P<body>.*?)^```$",
    re.M | re.S,
)


class Block(NamedTuple):
    """One example: where it stands, its language and its lines."""

    place: str  # "docs/guide.md:12"
    language: str
    body: str
    not_run: str  # the reason; "" where it is run
    needs: tuple[str, ...]

    def missing(self) -> list[str]:
        """Give what is needed and not here."""
        commands = {one.name for one in program().commands}
        return [
            one
            for one in self.needs
            if (one not in commands if one.startswith("tovec ") else not _is_here(one))
        ]


def _is_here(name: str) -> bool:
    """Return whether there is a program, or for `import NAME` a library, of a name."""
    library = name.removeprefix("import ")
    return find_spec(library) is not None if library != name else shutil.which(name) is not None


def blocks(page: Path) -> Iterator[tuple[Block, re.Match[str]]]:
    """Give a page's examples, each with where it was found in the text."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("body")) + 1
        word, what = found["word"], found["what"] or ""
        needs = tuple(one.strip() for one in what.split(",")) if word == "needs" else ()
        reason = what if word == "not run" else ""
        place = f"{page.relative_to(ROOT)}:{line}"
        yield Block(place, found["language"], found["body"], reason, needs), found


def run(block: Block, folder: Path) -> str:
    """Run a block in a folder; give its body as it should be, with the answers in it.

    Raises AssertionError, with what was said, where a command fails.
    """
    match block.language:
        case "sh":
            _shell(block.body, folder, block.place)
            return block.body
        case "sql":
            import duckdb

            here = Path.cwd()
            os.chdir(folder)
            try:
                assert duckdb.sql(block.body).fetchall(), f"{block.place}: no rows"
            finally:
                os.chdir(here)
            return block.body
    answered = []
    for command in _commands(block.body):
        answered += [f"$ {command}\n", _shell(command.replace("\n> ", "\n"), folder, block.place)]
    return "".join(answered)


def _commands(body: str) -> list[str]:
    found = re.findall(r"^\$ (.*(?:\n> .*)*)$", body, re.M)
    assert found, f"a console block without a command: {body}"
    return found


def _shell(script: str, folder: Path, place: str) -> str:
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("_API_KEY") and not name.startswith(("TOVEC_", "XDG_"))
    }
    environ |= {
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
        "LANG": "C.UTF-8",
        "COLUMNS": "80",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0 or "|| " in script, f"{place}: {script}\n{done.stdout}"
    return re.sub(r"^\S+Z (?=tovec: )", "", done.stdout, flags=re.M)  # as a terminal shows it


def answered(page: Path, folder: Path, skipped: Callable[[Block, str], None]) -> str:
    """Run a page's examples; give its text as it should be."""
    text = page.read_text(encoding="utf-8")
    parts, end = [], 0
    for block, found in blocks(page):
        parts.append(text[end : found.start("body")])
        end = found.end("body")
        if block.not_run or block.missing():
            skipped(block, block.not_run or f"without {', '.join(block.missing())}")
            parts.append(block.body)
        else:
            parts.append(run(block, folder))
    return "".join([*parts, text[end:]])


def main() -> None:
    """Run the pages named, or all, and write the answers into them."""
    names = sys.argv[1:] or ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
    for name in names:
        page = ROOT / name
        with tempfile.TemporaryDirectory() as folder:
            new = answered(page, Path(folder), lambda one, why: print(f"{one.place}: {why}"))
        if new != page.read_text(encoding="utf-8"):
            page.write_text(new, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
