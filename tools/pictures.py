"""Make the pictures of the documentation from real runs: `python -m tools.pictures`.

Each picture is a terminal of 100 columns; what stands in it was written by the program.
"""

from __future__ import annotations

import re
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console as Drawing
from rich.terminal_theme import MONOKAI
from rich.text import Text
from tests.terminal.console import Console

from tovec.cli.commands import program

PLACE = Path(__file__).parent.parent / "docs" / "pictures"
COLUMNS = 100
# The file's name, and the commands that it shows; a command that does not exist yet is left out.
PICTURES = {
    "embed": [
        'tovec embed -p local "The ice is thin" "Frozen water" "Taxes are due"',
        "tovec embed -p opnai hello",
        "tovec models",
    ],
    "batch": [
        "tovec batch rows.txt -o rows.parquet -p local --dry-run",
        "tovec batch rows.txt -o rows.parquet -p local",
    ],
    "similarity": [
        'tovec similarity -p local "The ice is thin" "Frozen water" "Taxes are due"',
    ],
}


def main() -> None:
    """Run the commands and draw what they show."""
    known = {one.name for one in program().commands}
    PLACE.mkdir(parents=True, exist_ok=True)
    for name, commands in PICTURES.items():
        if all(" ".join(command.split()[:2]) in known for command in commands):
            (PLACE / f"{name}.svg").write_text(drawn(name, commands), encoding="utf-8")
            print(f"wrote docs/pictures/{name}.svg")


def drawn(name: str, commands: list[str]) -> str:
    """Give the picture of a terminal in which these commands were run, as SVG."""
    drawing = Drawing(record=True, width=COLUMNS, file=StringIO(), color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(f"row {number}\n" for number in range(2000))
        (Path(folder) / "rows.txt").write_text(rows, encoding="utf-8")
        for command in commands:
            drawing.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            drawing.print(Text.from_ansi(shown(command, folder)), end="\n\n")
    picture = drawing.export_svg(title="tovec", theme=MONOKAI, unique_id=f"tovec-{name}")
    # Its fonts would be fetched from somewhere; the reader's own monospace does.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)


def shown(command: str, folder: str) -> str:
    """Give what a command shows on a terminal in a folder."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": folder,
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }
    with Console(["sh", "-c", f"cd '{folder}' && {command}"], env, 40, COLUMNS) as console:
        console.end()
        return last_of_each_line(console.seen.decode())


def last_of_each_line(text: str) -> str:
    """Give the text as it stood at the end: a bar draws its line over and over."""
    return "\n".join(line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n"))


if __name__ == "__main__":
    main()
