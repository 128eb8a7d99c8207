"""How far a job is: a bar on a terminal, a line a minute elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

from tovec.cli.reporting import Reporter
from tovec.cli.terminal import is_terminal
from tovec.events import Event, Progress

KINDS = ("auto", "bar", "lines", "none")
LINE_SECONDS = 60.0
BAR_SECONDS = 0.1


class Display(Protocol):
    """Shows progress, and takes itself away at the end or when something else is said."""

    def show(self, progress: Progress) -> None:
        """Show how far the job is."""
        ...

    def clear(self) -> None:
        """Leave the line to others."""
        ...


class Watch:
    """An observer that shows progress and hands everything else to the reporter."""

    def __init__(self, reporter: Reporter, display: Display | None) -> None:
        self._reporter, self._display = reporter, display
        # Only what is really said may take the bar away: most events are not.
        reporter.before = self.clear

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Progress):
            if self._display is not None:
                self._display.show(event)
            return
        self._reporter.event(event)

    def clear(self) -> None:
        """Take the bar away."""
        if self._display is not None:
            self._display.clear()


def display(kind: str, reporter: Reporter) -> Display | None:
    """Give the display that the user asked for, or that suits where stderr goes."""
    if kind == "auto":
        if reporter.verbosity < 0:
            kind = "none"
        else:
            kind = "bar" if is_terminal(sys.stderr) and not reporter.json else "lines"
    if kind == "bar":
        return Bar()
    return Lines(reporter) if kind == "lines" else None


class Lines:
    """A line a minute."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter, self._clock = reporter, clock
        self._said = clock()

    def show(self, progress: Progress) -> None:
        """Say how far the job is, if a minute has passed."""
        now = self._clock()
        if now - self._said < LINE_SECONDS:
            return
        self._said = now
        fields = {name: value for name, value in progress._asdict().items() if value is not None}
        self._reporter.say("progress", described(progress), **fields)

    def clear(self) -> None:
        """Nothing is in the way."""


class Bar:
    """One line that is drawn again and again; on a dumb terminal it would be many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._drawn = 0.0
        self._phase = ""
        self._began = clock()
        self._first = 0
        self._visible = False

    def show(self, progress: Progress) -> None:
        """Draw, at most ten times a second."""
        import shutil

        now = self._clock()
        if progress.phase != self._phase:
            self._phase, self._began, self._first = progress.phase, now, progress.rows
            self._drawn = 0.0
        if now - self._drawn < BAR_SECONDS:
            return
        self._drawn = now
        elapsed = max(now - self._began, 1e-3)
        rate = (progress.rows - self._first) / elapsed
        width = shutil.get_terminal_size().columns - 1
        self._write("\r\x1b[2K" + line(progress, rate, width))
        self._visible = True

    def clear(self) -> None:
        """Take the bar away."""
        if self._visible:
            self._write("\r\x1b[2K")
            self._visible = False

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError, UnicodeEncodeError):
            return  # nobody reads it: the work goes on


def parts_of(progress: Progress) -> dict[str, str]:
    """Give what there is to say, by name, in the order in which it is said."""
    about = "about " if progress.phase == "asking" else ""
    of = f" of {about}{progress.total:,}" if progress.total else ""
    parts = {
        "rows": f"{progress.phase} {progress.rows:,}{of} rows",
        "tokens": f"{progress.tokens:,} tokens",
    }
    if progress.cost:
        parts["cost"] = f"${progress.cost:.4f}"
    if progress.retries:
        parts["retries"] = "1 retry" if progress.retries == 1 else f"{progress.retries:,} retries"
    return parts


def described(progress: Progress) -> str:
    """Give progress in words."""
    return ", ".join(parts_of(progress).values())


def line(progress: Progress, rate: float, width: int) -> str:
    """Give the bar's line, at most `width` columns: what matters least is left out first."""
    parts = parts_of(progress) | {"rate": f"{rate:,.0f} rows/s"}
    if progress.total and rate > 0:
        parts["left"] = f"{clock(max(0, progress.total - progress.rows) / rate)} left"
    for least in ("tokens", "rate", "retries", "cost", "left"):
        if len(", ".join(parts.values())) > width:
            parts.pop(least, None)
    text = ", ".join(parts.values())
    if progress.total:
        bar = _bar(progress.rows / progress.total, max(8, min(30, width - len(text) - 2)))
        if len(bar) + len(text) + 1 <= width:
            text = f"{bar} {text}"
    return text[:width]


def _bar(share: float, width: int) -> str:
    filled = round(min(1.0, share) * (width - 2))
    return "[" + "#" * filled + "-" * (width - 2 - filled) + "]"


def clock(seconds: float) -> str:
    """Give a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
