"""The command `tovec models`."""

import os
from typing import Annotated

from tovec.cli.arguments import load_settings
from tovec.cli.options import Common, EndpointOptions, ListingOptions, ModelOptions
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument
from tovec.errors import UsageError
from tovec.suggest import did_you_mean

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
    from tovec.cli.listing_view import show_rows

    _check_options(endpoint, name, listed)
    settings = load_settings(common, endpoint)
    if listed.providers:
        rows = tables.providers(settings, os.environ)
        show_rows(rows, listing.format, tables.PROVIDER_DETAILS)
        return
    rows = tables.models(settings, os.environ, listed.remote, reporter.event, reporter.hide)
    if name is not None:
        rows = [_find_model(rows, name)]
    show_rows(rows, listing.format, tables.MODEL_DETAILS)


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
    found = {str(row["id"]): row for row in rows}
    if name in found:
        return found[name]
    raise UsageError(
        f"there is no known model {name!r}",
        hint=did_you_mean(name, found, "--remote asks the endpoint for its list"),
    )
