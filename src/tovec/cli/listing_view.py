"""Rows of facts, of `tovec models` and `tovec config`: a table, JSON or tab-separated lines."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence

from tovec.cli.options import ListingForm
from tovec.cli.terminal import encodable, is_terminal, safe

LABELS = {"dimensions": "dims", "usd_per_million": "usd/M", "pages_per_dollar": "pages/usd"}
MIN_CUT_WIDTH = 6  # characters that a column keeps when it is cut
UNCUT_COLUMNS = ("provider", "key", "id")  # their values are there to be copied
OPTIONAL_COLUMNS = ("address",)  # columns that a narrow terminal does without
MAX_LIST, MAX_TEXT = 80, 200  # characters of a cell in a table; programs get all


def show_rows(
    rows: list[dict[str, object]], form: ListingForm, details: Sequence[str] = ()
) -> None:
    """Write rows to stdout as a table, a JSON array or tab-separated lines with a header.

    `details` are columns for programs, which a table has no room for.
    """
    if form == "json":
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    is_table = form == "table"
    columns = [name for name in (rows[0] if rows else ()) if not is_table or name not in details]
    cells = [[_cell_text(row.get(name), cut=is_table) for name in columns] for row in rows]
    lines = _table_lines(columns, cells) if is_table else map("\t".join, (columns, *cells))
    for line in lines:
        sys.stdout.write(encodable(line, sys.stdout) + "\n")


def _table_lines(columns: list[str], cells: list[list[str]]) -> list[str]:
    """Return lines with the cells in columns.

    On a terminal that is too narrow, columns that it can do without are left out, and then the
    widest are cut until a line fits; those whose names are there to be copied never are.
    """
    room = shutil.get_terminal_size().columns if is_terminal() else None
    widths = _widths(columns, cells)
    shown = [
        i for i, name in enumerate(columns)
        if room is None or name not in OPTIONAL_COLUMNS or _line_width(widths) <= room
    ]  # fmt: skip
    columns = [columns[i] for i in shown]
    cells = [[line[i] for i in shown] for line in cells]
    widths = _widths(columns, cells)
    flexible = [i for i, name in enumerate(columns) if i and name not in UNCUT_COLUMNS]
    while room is not None and flexible and _line_width(widths) > room:
        widest = max(flexible, key=lambda i: widths[i])
        if widths[widest] <= MIN_CUT_WIDTH:
            break
        widths[widest] -= 1
    head = [LABELS.get(name, name) for name in columns]
    return ["  ".join(map(_fit_cell, line, widths)).rstrip() for line in (head, *cells)]


def _widths(columns: list[str], cells: list[list[str]]) -> list[int]:
    head = [LABELS.get(name, name) for name in columns]
    return [max(map(len, column)) for column in zip(head, *cells, strict=True)]


def _line_width(widths: list[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _fit_cell(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"


def _cell_text(value: object, *, cut: bool) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.10g}"
        case list():
            text = ",".join(map(str, value))
            return safe(text, MAX_LIST if cut else len(text))
    text = str(value)
    return safe(text, MAX_TEXT if cut else len(text))
