"""The command `tovec config`."""

import os
import sys
from typing import Annotated

import typer

from tovec.cli.models_command import show
from tovec.cli.options import Common, EndpointOptions, chosen, one_of
from tovec.cli.reporting import Reporter
from tovec.cli.terminal import encodable, safe


def config(
    reporter: Reporter,
    common: Common,
    endpoint: EndpointOptions,
    action: Annotated[
        str | None,
        typer.Argument(
            metavar="[check]", help="Try the endpoint with one tiny request.", show_default=False
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option(
            "--format",
            metavar="table|json|tsv",
            help="How settings are shown.",
            rich_help_panel="Listing",
        ),
    ] = "table",
) -> None:
    """Show every setting in force and where it came from, keys only as set or not.

    tovec config -p openai

    tovec config check -p openai
    """
    from tovec import configuration as job

    one_of("--format", format, ("table", "json", "tsv"))
    settings = chosen(common, endpoint)
    if action is None:
        show(job.effective(settings, os.environ), format)
        return
    one_of("tovec config", action, ("check",))
    for step in job.check(settings, os.environ, reporter.event, reporter.hide):
        line = f"{step.step:<12} {step.result:<8} {safe(step.detail, 300)}"
        sys.stdout.write(encodable(line, sys.stdout) + "\n")
        sys.stdout.flush()  # a step that hangs is the one after the last that is shown
