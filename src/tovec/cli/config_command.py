"""The command `tovec config`."""

import os
import sys
from typing import Annotated, Literal

from tovec import startup
from tovec.cli.arguments import load_settings
from tovec.cli.options import CheckOptions, Common, EndpointOptions, ListingOptions
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument
from tovec.cli.terminal import encodable, safe
from tovec.errors import UsageError


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
        raise UsageError(
            "--vectors is for trying the endpoint", hint="tovec config check --vectors"
        )
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
