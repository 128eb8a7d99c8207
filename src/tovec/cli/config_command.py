"""The command `tovec config`."""

import os
import sys
from typing import Annotated, Literal, NamedTuple

from tovec import startup
from tovec.cli.arguments import load_settings
from tovec.cli.options import Common, EndpointOptions, ListingOptions
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument, group, option
from tovec.cli.terminal import encodable, safe
from tovec.errors import UsageError


@group("Check")
class CheckOptions(NamedTuple):
    """What `tovec config check` tries beside one tiny request."""

    vectors: Annotated[
        bool,
        option(
            "--vectors",
            "With check: ask for the same texts alone, in batches, beside long ones, in parallel "
            "and in both encodings (some 60 small requests); their vectors must be the same.",
        ),
    ] = False


def config(
    reporter: Reporter,
    common: Common,
    listing: ListingOptions,
    endpoint: EndpointOptions,
    checks: CheckOptions,
    action: Annotated[
        Literal["check"] | None, argument("[check]", "Try the endpoint with one tiny request.")
    ] = None,
) -> None:
    """Show every setting in force and where it came from, keys only as set or not.

    tovec config -p openai

    tovec config check -p openai

    tovec config check --vectors -p openai
    """
    from tovec import configuration as job
    from tovec.cli.listing_view import show_rows

    settings = load_settings(common, endpoint)
    if action is None and checks.vectors:
        raise UsageError("--vectors needs check", hint="tovec config check --vectors")
    if action is None:
        show_rows(job.effective(settings, os.environ), listing.format)
        return
    if checks.vectors:
        startup.load_numpy()
    for step in job.check(
        settings, os.environ, reporter.event, reporter.hide, vectors=checks.vectors
    ):
        line = f"{step.step:<12} {step.result:<8} {safe(step.detail, 300)}"
        sys.stdout.write(encodable(line, sys.stdout) + "\n")
        sys.stdout.flush()  # a step that hangs is the one after the last that is shown
