"""The program: every outcome of a command line becomes an exit code in one place."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tovec import __version__, startup
from tovec.cli.reporting import Reporter
from tovec.errors import FileError, Stopped, TovecError, UsageError

BUG_EXIT_CODE = 70
_SPARE = "raise the limit (see ulimit -a) or lower --concurrency; a batch resumes when run again"


def main() -> NoReturn:
    """Run the process's command line and end with its exit code, or by the signal that came."""
    startup.open_standard_files()
    if sys.argv[1:] == ["--version"]:  # answered before Typer is imported
        sys.stdout.write(f"tovec {__version__}\n")
        raise SystemExit(0)
    reporter = Reporter()
    code = run(sys.argv[1:], reporter, os._exit)
    if code > 128:
        _end_by_signal(code - 128)
    raise SystemExit(code)


def run(
    arguments: Sequence[str], reporter: Reporter, end: Callable[[int], object] | None = None
) -> int:
    """Run one command line; every outcome becomes an exit code here and nowhere else.

    `end` ends the process at once, after the directory of a finished job is removed.
    """
    startup.stop_on_signals()
    try:
        from tovec.cli.commands import build

        app = build()
        startup.collect_garbage()
        code = app(args=list(arguments), obj=reporter, prog_name="tovec", standalone_mode=False)
        _flush_stdout()
        code = code if isinstance(code, int) else 0
        if reporter.finished is not None:
            with startup.signals_ignored():
                reporter.finished.remove_directory()
                if end is not None:  # a run killed from here on leaves no word of what was done
                    end(code)
                reporter.finished.close()
        return code
    except TovecError as error:
        reporter.error(error)
        return error.exit_code
    except Stopped as stopped:
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except OSError as error:
        reporter.error(FileError(error.strerror or str(error), where=str(error.filename or "")))
        return FileError.exit_code
    except Exception as error:  # noqa: BLE001 - the last place that can say anything
        if hasattr(error, "format_message"):  # the command line's own errors
            if type(error).__name__ == "NoArgsIsHelpError":  # nothing was asked: show how to start
                reporter.page(error.format_message())
                return UsageError.exit_code
            reporter.error(_usage_error(error))
            return UsageError.exit_code
        if isinstance(error, ImportError) and not (error.name or "tovec").startswith("tovec"):
            reporter.error(_missing_library(error.name or ""))
            return UsageError.exit_code
        if isinstance(error, MemoryError) or "start new thread" in str(error):
            lacking = "memory" if isinstance(error, MemoryError) else "threads"
            reporter.error(TovecError(f"the system has no {lacking} left", hint=_SPARE))
            return BUG_EXIT_CODE
        reporter.bug(error)
        return BUG_EXIT_CODE


def _missing_library(module: str) -> UsageError:
    package = module.partition(".")[0]
    return UsageError(
        f"the library {package} cannot be loaded", hint=f"pip install --force-reinstall {package}"
    )


def _usage_error(error: Any) -> UsageError:
    """Word the command line's own error as ours."""
    from tovec.cli.hints import option_hint

    context = getattr(error, "ctx", None)
    help_line = f"see: {context.command_path if context else 'tovec'} -h"
    mistyped = getattr(error, "option_name", None)
    if mistyped and context and type(error).__name__ == "NoSuchOption":
        known = [name for one in context.command.get_params(context) for name in one.opts]
        meant = option_hint(mistyped, known)
        return UsageError(
            f"there is no option {mistyped.partition('=')[0]}",
            hint=f"{meant}; {help_line}" if meant else help_line,
        )
    said = error.format_message().rstrip(".")
    for theirs, ours in (("int", "whole number"), ("float", "number")):
        for kind in (f"{theirs} range", theirs):
            said = said.replace(f"is not a valid {kind}", f"is not a {ours}")
    return UsageError(said[:1].lower() + said[1:], hint=help_line)


def _end_by_signal(number: int) -> None:
    """End by the signal itself, so that the shell sees it (a loop in a script then stops too)."""
    # What stdout still holds has no reader, or must not look like a whole result.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _flush_stdout() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()
