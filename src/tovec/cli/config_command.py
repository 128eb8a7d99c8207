"""The command `tovec config`."""

import os
import sys
from typing import Annotated, Literal

from tovec.cli.arguments import load_settings
from tovec.cli.options import Common, EndpointOptions, ListingOptions
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument
from tovec.cli.terminal import encodable, safe


def config(
    reporter: Reporter,
    common: Common,
    listing: ListingOptions,
    endpoint: EndpointOptions,
    action: Annotated[
        Literal["check"] | None, argument("[check]", "Try the endpoint with one tiny request.")
    ] = None,
) -> None:
    """Show every setting in force and where it came from, keys only as set or not.

    tovec config -p openai

    tovec config check -p openai
    """
    from tovec import configuration as job
    from tovec.cli.listing_view import show_rows

    settings = load_settings(common, endpoint)
    if action is None:
        show_rows(job.effective(settings, os.environ), listing.format)
        return
    for step in job.check(settings, os.environ, reporter.event, reporter.hide):
        line = f"{step.step:<12} {step.result:<8} {safe(step.detail, 300)}"
        sys.stdout.write(encodable(line, sys.stdout) + "\n")
        sys.stdout.flush()  # a step that hangs is the one after the last that is shown
