"""The tree of commands, as Typer reads it."""

import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from tovec import __version__
from tovec.cli import command_tree
from tovec.cli.arguments import set_up
from tovec.cli.batch_command import batch
from tovec.cli.completion_command import completion
from tovec.cli.config_command import config
from tovec.cli.embed_command import embed
from tovec.cli.help import HelpingCommand, HelpingGroup
from tovec.cli.models_command import models
from tovec.cli.options import Common
from tovec.cli.serve_command import serve
from tovec.cli.signatures import flatten, option, wrap
from tovec.cli.similarity_command import similarity
from tovec.errors import Stopped


def build() -> typer.Typer:
    """Return the Typer application with every command."""
    app = typer.Typer(
        name="tovec",
        no_args_is_help=True,
        add_completion=False,
        # Off although locals are hidden by now: a traceback must never show a key.
        pretty_exceptions_enable=False,
        cls=HelpingGroup,
        context_settings={"help_option_names": []},  # -h and --help are cli.help's
    )
    app.callback(invoke_without_command=True)(flatten(tovec, Common, set_up))
    for command in (embed, batch, similarity, models, serve, config, completion):
        flat = wrap(flatten(command, Common, set_up), _end_as_signalled)
        app.command(command.__name__, cls=HelpingCommand)(flat)
    return app


def program() -> command_tree.Command:
    """Return the program and its commands as records, for what is made from them."""
    return command_tree.read(typer.main.get_command(build()), "tovec")


def tovec(
    common: Common,  # noqa: ARG001 - set up by `flatten`, for the command that follows
    version: Annotated[bool, option("--version", "Show the version.")] = False,
) -> None:
    """Turn text into embedding vectors, with any OpenAI-compatible endpoint or offline.

    echo hello | tovec embed -p local         # to start: no key, no network

    tovec embed -f rows.jsonl -o vectors.parquet -p openai

    tovec config check -p openai              # does my key work?
    """
    if version:
        sys.stdout.write(f"tovec {__version__}\n")
        raise typer.Exit


def _end_as_signalled(command: Callable[[], None]) -> None:
    """Call a command so that signals and broken pipes keep their exit codes.

    Typer itself only uses 1 and 130.
    """
    try:
        command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise typer.Exit(128 + signal.SIGPIPE) from None
    except Stopped as stopped:
        raise typer.Exit(128 + stopped.number) from None
