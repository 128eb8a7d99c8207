"""The command in the test's own process: some ms where a process takes 190."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from functools import cache
from typing import Any, NamedTuple
from unittest import mock

import typer

from tovec.cli import app
from tovec.cli.commands import build
from tovec.cli.reporting import Reporter

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Done(NamedTuple):
    """What a command line gave."""

    code: int
    out: bytes
    err: bytes


@cache
def _command() -> Any:
    """Return the command tree, which takes most of the time of a small command to build."""
    return typer.main.get_command(build())


def run(*arguments: object, stdin: bytes = b"") -> Done:
    """Run a command line with files as its standard input, output and error."""
    kept = [os.dup(number) for number in range(3)]
    streams, environment = (sys.stdin, sys.stdout, sys.stderr), dict(os.environ)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(stdin)
        given.seek(0)
        try:
            for number, file in enumerate((given, out, err)):
                os.dup2(file.fileno(), number)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115
            sys.stdout, sys.stderr = (
                io.TextIOWrapper(open(number, "wb", closefd=False), encoding="utf-8")  # noqa: SIM115
                for number in (1, 2)
            )
            with mock.patch("tovec.cli.commands.build", _command):
                code = app.run([str(one) for one in arguments], Reporter())
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            sys.stdin, sys.stdout, sys.stderr = streams
            for number, descriptor in enumerate(kept):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.environ.clear()
            os.environ.update(environment)
            for number, handler in zip(SIGNALS, handlers, strict=True):
                signal.signal(number, handler)
        out.seek(0)
        err.seek(0)
        return Done(code, out.read(), err.read())
