"""What is said on stderr: errors in three lines, notes, and with -v what happens on the wire."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tovec.cli.terminal import encodable, is_terminal, safe
from tovec.errors import TovecError
from tovec.events import Answered, Event, Held, Level, Note, Refused, Retried, Sent, Split
from tovec.startup import forbid_core_files
from tovec.wording import count_phrase, rfc3339

if TYPE_CHECKING:
    from tovec.store.removal import FinishedJob

# The verbosity from which each is shown.
LEVELS: Mapping[Level, int] = {
    "error": -1, "warning": 0, "summary": 0, "progress": 0, "info": 1, "debug": 2,
}  # fmt: skip
# Their lines begin with the program's name alone.
_UNLABELLED_LEVELS = ("error", "summary", "progress")


class Reporter:
    """Writes messages to stderr, as text or as one JSON object per line.

    Every message has its time (UTC, RFC 3339), except as text on a terminal.
    `hide` is told each secret: whatever is said afterwards, in an error of a library or in a
    traceback, comes out with it blotted.
    """

    def __init__(self, verbosity: int = 0, *, json: bool = False) -> None:
        self.verbosity = verbosity
        self.json = json
        self._blot: list[Callable[[str], str]] = []
        self.before: Callable[[], None] = lambda: None  # called before each line that is written
        self.finished: FinishedJob | None = None  # to be removed when the process ends

    def hide(self, blot: Callable[[str], str]) -> None:
        """Pass everything said from now on through `blot`, which takes a secret out of a text."""
        forbid_core_files()
        self._blot.append(blot)

    def say(self, level: Level, message: str, **fields: object) -> None:
        """Report one thing, if it is loud enough."""
        if LEVELS[level] > self.verbosity:
            return
        if self.json:
            entry = {"time": rfc3339(), "level": level, "message": message, **fields}
            self._write(_json_line(entry))
            return
        lead = "tovec: " if level in _UNLABELLED_LEVELS else f"tovec: {level}: "
        at = "" if sys.stderr is None or is_terminal(sys.stderr) else f"{rfc3339()} "
        self._write(at + lead + safe(message, 2_000))

    def error(self, error: TovecError) -> None:
        """Report what happened, where, and what to do next."""
        if self.json:
            self.say(
                "error",
                error.what,
                code=error.exit_code,
                name=type(error).__name__,
                where=error.where,
                hint=error.hint,
            )
            return
        self.say("error", error.what)
        if error.where:
            self._write(f"  at {safe(error.where)}")
        if error.hint:
            self._write(f"  {safe(error.hint)}")

    def page(self, text: str) -> None:
        """Show a text of several lines that is ours, as help is."""
        for line in text.splitlines():
            self._write(line)

    def event(self, event: Event) -> None:
        """Report what happened on the way, as far as the verbosity asks for it."""
        match event:
            case Note(text, level):
                self.say(level, text)
            case Retried(cause, detail, delay, attempt, maybe_paid, _):
                paid = ", may have been billed" if maybe_paid else ""
                self.say(
                    "info",
                    f"{cause}: attempt {attempt} failed{paid}; again in {delay:.1f} s. {detail}",
                )
            case Split(items, cause, _, _):
                self.say(
                    "info", f"{cause}: a request of {count_phrase(items, 'input')} is split in two"
                )
            case Refused(reason):
                self.say("info", f"one input was refused: {reason}")
            case Held(seconds):
                self.say("debug", f"the next request waits {seconds:.1f} s")
            case Sent(items, tokens, attempt):
                sent = f"sent {_amount(items, tokens, 'about ')} (attempt {attempt})"
                self.say("debug", sent)
            case Answered(items, tokens, seconds, request_id):
                said = f"answer to {_amount(items, tokens)}, {seconds:.3f} s"
                self.say("debug", f"{said}, request {request_id or 'without id'}")

    def bug(self, error: BaseException) -> None:
        """Report that tovec itself failed: the traceback has no local variables in it."""
        import traceback

        where = "".join(traceback.format_exception(error))
        if self.json:
            self.say("error", "this is a bug in tovec", code=70, name="bug", traceback=where)
            return
        for line in where.splitlines():
            self._write(safe(line, 2_000))
        self._write("tovec: this is a bug. Please report it with the lines above (first")
        self._write("  remove your own texts from them) and the output of: tovec --version")

    def _write(self, line: str) -> None:
        for blot in self._blot:
            line = blot(line)
        stream = sys.stderr
        if stream is None or stream.closed:
            return
        self.before()
        try:
            stream.write(encodable(line, stream) + "\n")
            stream.flush()
        except OSError:
            # Nobody reads stderr any more (closed, or its disk is full): the work goes on.
            return


def _json_line(fields: Mapping[str, object]) -> str:
    import json

    return json.dumps(fields, ensure_ascii=True)


def _amount(items: int, tokens: int | None, about: str = "") -> str:
    size = "tokens not reported" if tokens is None else about + count_phrase(tokens, "token")
    return f"{count_phrase(items, 'input')}, {size}"
