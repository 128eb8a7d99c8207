"""The command `tovec models`."""

import os
import shutil
import sys
from typing import Annotated, Any

import typer

from tovec.cli.options import Common, EndpointOptions, chosen, one_of
from tovec.cli.reporting import Reporter
from tovec.cli.terminal import encodable, is_terminal, safe
from tovec.errors import UsageError

LISTING = "Listing"
LABELS = {"dimensions": "dims", "usd_per_million": "usd/M", "pages_per_dollar": "pages/usd"}
NARROWEST = 6  # a column that is cut keeps so many characters


CHOOSING = ("--provider",)
ASKING = ("--base-url", "--url", "--timeout", "--max-retries", "--give-up-after")


def models(
    reporter: Reporter,
    common: Common,
    endpoint: EndpointOptions,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Show one model.", show_default=False),
    ] = None,
    providers: Annotated[
        bool,
        typer.Option(
            "--providers",
            help="List providers, their key variable and whether it is set.",
            rich_help_panel=LISTING,
        ),
    ] = False,
    remote: Annotated[
        bool,
        typer.Option(
            "--remote",
            help="Add what the endpoint's own list of models says.",
            rich_help_panel=LISTING,
        ),
    ] = False,
    format: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            "--format", metavar="table|json|tsv", help="How to show it.", rich_help_panel=LISTING
        ),
    ] = "table",
) -> None:
    """List models with their dimensions, limits and prices, or the providers that serve them.

    tovec models

    tovec models text-embedding-3-small --format json

    tovec models --remote -p aivene
    """
    from tovec.jobs import listing

    one_of("--format", format, ("table", "json", "tsv"))
    _check_options(endpoint, name, providers=providers, remote=remote)
    settings = chosen(common, endpoint)
    if providers:
        rows = listing.providers(settings, os.environ)
    else:
        rows = listing.models(settings, os.environ, remote, reporter.event, reporter.hide)
        if name is not None:
            rows = [_one(rows, name)]
    show(rows, format)


def _check_options(
    endpoint: EndpointOptions, name: str | None, *, providers: bool, remote: bool
) -> None:
    """Raise UsageError for an option that cannot change the list."""
    given = [f"--{one.replace('_', '-')}" for one, value in endpoint._asdict().items() if value]
    if providers:
        others = [*given, *(["--remote"] if remote else []), *([name] if name else [])]
        if others:
            raise UsageError(f"--providers lists them all: {others[0]} does not act on it")
        return
    for option in given:
        if option not in (*CHOOSING, *ASKING):
            hint = "`tovec models ID` shows one model" if option == "--model" else ""
            raise UsageError(f"{option} does not act on a list of models", hint=hint)
        if option in ASKING and not remote:
            raise UsageError(f"{option} is for asking the endpoint", hint="add --remote")


def _one(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    import difflib

    found = {row["id"]: row for row in rows}
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, found, n=1)
    raise UsageError(
        f"there is no known model {name!r}",
        hint=f"did you mean {near[0]}?" if near else "--remote asks the endpoint for its list",
    )


def show(rows: list[dict[str, Any]], form: str) -> None:
    """Write rows to stdout as a table, a JSON array or tab-separated lines with a header."""
    if form == "json":
        import json

        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    columns = list(rows[0]) if rows else []
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    if form == "tsv":
        lines = ["\t".join(line) for line in (columns, *cells)]
    else:
        lines = _aligned([[LABELS.get(name, name) for name in columns], *cells])
    for line in lines:
        sys.stdout.write(encodable(line, sys.stdout) + "\n")


def _aligned(cells: list[list[str]]) -> list[str]:
    """Give lines with the cells in columns; on a terminal the widest are cut until a line fits.

    The first column is never cut: its names are there to be copied.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if is_terminal() and len(widths) > 1:
        room = shutil.get_terminal_size().columns - 2 * len(widths)
        while sum(widths) > room and max(widths[1:]) > NARROWEST:
            widths[widths.index(max(widths[1:]), 1)] -= 1
    return ["  ".join(map(_padded, line, widths)).rstrip() for line in cells]


def _padded(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"


def _cell(value: Any) -> str:
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
