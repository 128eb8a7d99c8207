"""The command `tovec models`."""

import os
from typing import Annotated, NamedTuple

from tovec.cli.arguments import load_settings
from tovec.cli.options import Common, EndpointOptions, ListingOptions
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument, group, option
from tovec.errors import UsageError
from tovec.suggest import did_you_mean

CHOOSING_OPTIONS = ("--provider",)
ASKING_OPTIONS = ("--base-url", "--url", "--timeout", "--max-retries", "--give-up-after")


@group("Listing")
class ModelOptions(NamedTuple):
    """What `tovec models` lists."""

    providers: Annotated[
        bool,
        option("--providers", "List providers, their key variable and whether it is set."),
    ] = False
    remote: Annotated[
        bool,
        option("--remote", "Ask the endpoint for its list; served says whether it has a model."),
    ] = False


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
            raise UsageError(f"--providers lists all providers: {others[0]} does not apply to it")
        return
    for named in given:
        if named not in (*CHOOSING_OPTIONS, *ASKING_OPTIONS):
            hint = "`tovec models ID` shows one model" if named == "--model" else ""
            raise UsageError(f"{named} does not apply to a list of models", hint=hint)
        if named in ASKING_OPTIONS and not listed.remote:
            raise UsageError(f"{named} needs --remote", hint="--remote asks the endpoint")


def _find_model(rows: list[dict[str, object]], name: str) -> dict[str, object]:
    found = {str(row["id"]): row for row in rows}
    if name in found:
        return found[name]
    raise UsageError(
        f"unknown model {name!r}",
        hint=did_you_mean(name, found, "--remote asks the endpoint for its list"),
    )
