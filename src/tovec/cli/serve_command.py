"""The command `tovec serve`."""

import os
import re
import sys
from typing import Annotated

import typer

from tovec.cli.options import Common
from tovec.cli.reporting import Reporter
from tovec.errors import UsageError
from tovec.startup import load_numpy

SERVER = "Server"


def serve(
    reporter: Reporter,
    common: Common,  # noqa: ARG001 - set up by `flattened`
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where to listen.", rich_help_panel=SERVER),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="N", help="0 takes any free port.", rich_help_panel=SERVER
        ),
    ] = 8080,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            metavar="VAR",
            help="Answer only requests that bring the key in this environment variable.",
            rich_help_panel=SERVER,
            show_default=False,
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Let pages of ORIGIN use the server from a browser (* is any); may be repeated.",
            rich_help_panel=SERVER,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the embedded model behind the API of the others, for tests and development.

    tovec serve &

    curl -s 127.0.0.1:8080/v1/models

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python app.py

    Prints its base URL once it listens; with -v a line for each request, never its text.
    """
    for origin in cors or ():
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
            raise UsageError(
                f"--cors takes an origin, not {origin!r}",
                hint="an origin is a scheme, a host and a port, if any: https://app.example",
            )
    load_numpy()
    from tovec.local import server

    if host not in ("127.0.0.1", "localhost", "::1") and api_key_env is None:
        reporter.say("warning", "anyone who can reach this machine can use this server")

    def listening(url: str) -> None:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    server.run(
        host,
        port,
        api_key_env,
        cors=cors or (),
        environ=os.environ,
        listening=listening,
        log=lambda served: reporter.say("info", str(served)),
    )
