"""The command `tovec serve`."""

import os
import re
import sys
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from tovec.cli.options import Common
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import group, option
from tovec.errors import UsageError
from tovec.settings import text_problem
from tovec.startup import load_numpy

if TYPE_CHECKING:
    from tovec.local.request_body import ServedModel


@group("Server")
class ServerOptions(NamedTuple):
    """Which model `tovec serve` serves, under which names, where it listens, and to whom."""

    provider: Annotated[
        Literal["local", "onnx", "model2vec"],
        option("-p, --provider", "Model to serve: the embedded one (local), or one in a folder."),
    ] = "local"
    model: Annotated[
        str | None, option("-m, --model DIR", "The model's folder, with -p onnx or model2vec.")
    ] = None
    prompt: Annotated[
        str | None,
        option("--prompt NAME|TEXT", "Prompt for requests that name none."),
    ] = None
    alias: Annotated[
        list[str] | None,
        option(
            "--alias NAME",
            "Answer to this model's name too (* is any), for clients that insist on one; may be "
            "repeated.",
        ),
    ] = None
    host: Annotated[str, option("--host ADDRESS", "Address to listen on.", show_default=True)] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, option("--port N", "0 takes any free port.", show_default=True, min=0, max=65535)
    ] = 8080
    api_key_env: Annotated[
        str | None,
        option(
            "--api-key-env VAR",
            "Answer only requests that send the key in this environment variable.",
        ),
    ] = None
    cors: Annotated[
        list[str] | None,
        option(
            "--cors ORIGIN",
            "Let pages of ORIGIN use the server from a browser (* is any); may be repeated.",
        ),
    ] = None


def serve(
    reporter: Reporter,
    common: Common,  # noqa: ARG001 - set up by `flatten`
    options: ServerOptions,
) -> None:
    """Serve a local model behind the API of the others, for tests and development.

    tovec serve &

    tovec serve -p onnx -m DIR --alias text-embedding-3-small

    curl -s 127.0.0.1:8080/v1/models

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python app.py

    Prints its base URL once it listens; with -v a line for each request, never its text.
    """
    for origin in options.cors or ():
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
            raise UsageError(
                f"--cors takes an origin, not {origin!r}",
                hint="an origin is a scheme, a host and an optional port: https://app.example",
            )
    load_numpy()
    from tovec.local import server

    served = _open(options)
    if served.model.note:
        reporter.say("warning", served.model.note)

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
        served=served,
        environ=os.environ,
        listening=listening,
        log=lambda served: reporter.say("info", str(served)),
    )


def _open(options: ServerOptions) -> "ServedModel":
    """Return the model to be served. Raises UsageError for what cannot be meant."""
    from tovec.local.open_model import EMBEDDED, open_model
    from tovec.local.request_body import ServedModel

    for alias in options.alias or ():
        if not alias or text_problem(alias):
            raise UsageError("--alias takes the name of a model")
    if options.provider == EMBEDDED:
        for name, value in (("-m", options.model), ("--prompt", options.prompt)):
            if value is not None:
                raise UsageError(
                    f"{name} does not apply to the embedded model",
                    hint="-p onnx or -p model2vec serves the model of a folder: -m DIR",
                )
    model = open_model(options.provider, options.model)
    model.max_text_tokens(options.prompt)  # an unknown prompt is an error now, not per request
    return ServedModel(model, tuple(options.alias or ()), options.prompt)
