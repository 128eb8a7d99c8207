"""Rows of named values on stdout: a table for people, tsv, json or jsonl for programs.

tsv is escaped as jq's @tsv does it (tab, line feed, carriage return, backslash), so that a row
is always one line. Scores have six digits everywhere.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence

import orjson

from tovec.cli.options import ResultForm
from tovec.cli.terminal import encodable, is_terminal, safe

LOOK_AHEAD_ROWS = 200  # rows looked at before widths and columns are fixed
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Row = Mapping[str, object]


def cell_text(value: object) -> str:
    """Return a value as a cell: floats with six digits, what is nested as JSON."""
    match value:
        case str():
            return value
        case None:
            return ""
        case float():
            return f"{round(value, 6) + 0.0:.6f}"
        case bool() | list() | dict():
            return as_json(value)
    return str(value)


def as_json(value: object) -> str:
    """Return JSON on one line, floats with six digits, and nothing that a terminal would act on."""
    text = orjson.dumps(_round(value), default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    if not is_terminal():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _round(value: object) -> object:
    if isinstance(value, float):
        return round(float(value), 6) + 0.0
    if isinstance(value, Mapping):
        return {name: _round(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_round(one) for one in value]
    return value


def tsv_line(cells: Sequence[str]) -> str:
    """Return one line of tab-separated cells."""
    return "\t".join(cell.translate(_ESCAPES) for cell in cells)


def write_line(line: str, end: str = "\n") -> None:
    """Write a line to stdout, in what the stream can encode, and inert on a terminal."""
    if is_terminal():
        line = "\n".join(safe(part.replace("\t", "    "), 1 << 20) for part in line.split("\n"))
    sys.stdout.write(encodable(line, sys.stdout) + end)


class Results:
    """Writes rows as they come, as table, json, jsonl or tsv, or none of them where `quiet`.

    A table for people may show `only` some of a file's columns, where it has them, with those
    `beside` them, and never those to `drop`.
    """

    def __init__(
        self,
        form: ResultForm,
        *,
        quiet: bool = False,
        only: Sequence[str] | None = None,
        beside: Sequence[str] = (),
        drop: Sequence[str] = (),
    ) -> None:
        self._only, self._beside = only, beside
        self._drop = drop
        self._form = form
        self._quiet = quiet
        self._held: list[Row] = []
        self._columns: list[str] = []
        self._widths: list[int] = []
        self._written = 0

    def __call__(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        if self._quiet:
            return
        match self._form:
            case "jsonl":
                for row in rows:
                    write_line(as_json(row))
            case "json":
                for row in rows:
                    write_line(("," if self._written else "[") + "\n  " + as_json(row), end="")
                    self._written += 1
            case _ if self._columns:
                self._write_rows(rows)
            case _:
                self._held += rows
                if len(self._held) >= LOOK_AHEAD_ROWS:
                    self._write_first()
        sys.stdout.flush()

    def finish(self) -> None:
        """Write what ends the results."""
        if self._quiet:
            return
        if self._form == "json":
            write_line("\n]" if self._written else "[]")
        elif self._held and not self._columns:
            self._write_first()

    def _write_first(self) -> None:
        rows, self._held = self._held, []
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        self._columns = [name for name in self._columns if name not in self._drop]
        if self._only is not None and any(name in self._columns for name in self._only):
            wanted = {*self._only, *self._beside}
            self._columns = [name for name in self._columns if name in wanted]
        if self._form == "table":
            self._widths = _column_widths(self._columns, rows)
        self._write_cells(self._columns)
        self._write_rows(rows)

    def _write_rows(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._write_cells([cell_text(row.get(name)) for name in self._columns], row)

    def _write_cells(self, cells: Sequence[str], row: Row | None = None) -> None:
        if self._form == "tsv":
            write_line(tsv_line(cells))
            return
        fitted = []
        for name, cell, width in zip(self._columns, cells, self._widths, strict=True):
            number = isinstance((row or {}).get(name), int | float)
            fitted.append(fit(safe(cell, 4 * width + 4), width, right=number))
        write_line("  ".join(fitted).rstrip())


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return the text in exactly `width` cells of a terminal, cut with an ellipsis if need be."""
    if text.isascii() and len(text) <= width:
        return text.rjust(width) if right else text.ljust(width)
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, width)
    return text.rjust(width) if right else set_cell_size(text, width)


def _column_widths(columns: Sequence[str], rows: Sequence[Row]) -> list[int]:
    """Return each column's width: what it needs, cut where the terminal has no room for all."""
    from rich.cells import cell_len

    needed = [
        max([len(name), *(cell_len(safe(cell_text(row.get(name)), 200)) for row in rows)])
        for name in columns
    ]
    room = shutil.get_terminal_size().columns - 2 * (len(columns) - 1)
    while sum(needed) > room and max(needed) > 8:
        needed[needed.index(max(needed))] -= 1
    return needed
