"""The command `tovec serve`."""

import os
import re
import sys

from tovec.cli.options import Common, ServerOptions
from tovec.cli.reporting import Reporter
from tovec.errors import UsageError
from tovec.startup import load_numpy


def serve(
    reporter: Reporter,
    common: Common,  # noqa: ARG001 - set up by `flatten`
    options: ServerOptions,
) -> None:
    """Serve the embedded model behind the API of the others, for tests and development.

    tovec serve &

    curl -s 127.0.0.1:8080/v1/models

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python app.py

    Prints its base URL once it listens; with -v a line for each request, never its text.
    """
    for origin in options.cors or ():
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
            raise UsageError(
                f"--cors takes an origin, not {origin!r}",
                hint="an origin is a scheme, a host and a port, if any: https://app.example",
            )
    load_numpy()
    from tovec.local import server

    if options.host not in ("127.0.0.1", "localhost", "::1") and options.api_key_env is None:
        reporter.say("warning", "anyone who can reach this machine can use this server")

    def listening(url: str) -> None:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()

    server.run(
        options.host,
        options.port,
        options.api_key_env,
        cors=options.cors or (),
        environ=os.environ,
        listening=listening,
        log=lambda served: reporter.say("info", str(served)),
    )
