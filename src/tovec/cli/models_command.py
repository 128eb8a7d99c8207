"""The command `tovec models`."""

import json
import os
import shutil
import sys
from typing import Annotated

from tovec.cli.arguments import load_settings
from tovec.cli.options import Common, EndpointOptions, ListingOptions, ModelOptions
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument
from tovec.cli.terminal import encodable, is_terminal, safe
from tovec.errors import UsageError

LABELS = {"dimensions": "dims", "usd_per_million": "usd/M", "pages_per_dollar": "pages/usd"}
MIN_CUT_WIDTH = 6  # characters that a column keeps when it is cut
UNCUT_COLUMNS = (
    "provider",
    "key",
    "id",
)  # columns that are never cut: their names are there to be copied
OPTIONAL_COLUMNS = ("address",)  # columns that a narrow terminal does without
# Columns for programs, which a table has no room for.
DETAIL_COLUMNS = ("unverified", "docs", "source", "note")


CHOOSING_OPTIONS = ("--provider",)
ASKING_OPTIONS = ("--base-url", "--url", "--timeout", "--max-retries", "--give-up-after")


def models(
    reporter: Reporter,
    common: Common,
    listed: ModelOptions,
    listing: ListingOptions,
    endpoint: EndpointOptions,
    name: Annotated[str | None, argument("[ID]", "Show one model.")] = None,
) -> None:
    """List models with their dimensions, limits and prices, or the providers that serve them.

    tovec models

    tovec models text-embedding-3-small --format json

    tovec models --remote -p aivene
    """
    from tovec import listing as tables

    _check_options(endpoint, name, listed)
    settings = load_settings(common, endpoint)
    if listed.providers:
        rows = tables.providers(settings, os.environ)
    else:
        rows = tables.models(settings, os.environ, listed.remote, reporter.event, reporter.hide)
        if name is not None:
            rows = [_find_model(rows, name)]
    show(rows, listing.format)


def _check_options(endpoint: EndpointOptions, name: str | None, listed: ModelOptions) -> None:
    """Raise UsageError for an option that cannot change the list."""
    given = [f"--{one.replace('_', '-')}" for one, value in endpoint._asdict().items() if value]
    if listed.providers:
        others = [*given, *(["--remote"] if listed.remote else []), *([name] if name else [])]
        if others:
            raise UsageError(f"--providers lists them all: {others[0]} does not act on it")
        return
    for option in given:
        if option not in (*CHOOSING_OPTIONS, *ASKING_OPTIONS):
            hint = "`tovec models ID` shows one model" if option == "--model" else ""
            raise UsageError(f"{option} does not act on a list of models", hint=hint)
        if option in ASKING_OPTIONS and not listed.remote:
            raise UsageError(f"{option} is for asking the endpoint", hint="add --remote")


def _find_model(rows: list[dict[str, object]], name: str) -> dict[str, object]:
    import difflib

    found = {str(row["id"]): row for row in rows}
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, n=1)
    raise UsageError(
        f"there is no known model {name!r}",
        hint=f"did you mean {near[0]}?" if near else "--remote asks the endpoint for its list",
    )


def show(rows: list[dict[str, object]], form: str) -> None:
    """Write rows to stdout as a table, a JSON array or tab-separated lines with a header."""
    if form == "json":
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    columns = list(rows[0]) if rows else []
    if form == "table":
        columns = [name for name in columns if name not in DETAIL_COLUMNS]
    cells = [[_cell_text(row.get(name)) for name in columns] for row in rows]
    lines = _table_lines(columns, cells) if form == "table" else map("\t".join, (columns, *cells))
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


def _cell_text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.10g}"
        case list():
            return safe(",".join(map(str, value)), 80)
    return safe(str(value), 200)
