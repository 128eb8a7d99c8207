"""How far a job is: a bar on a terminal, one line per minute elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from tovec.cli.options import ProgressKind
from tovec.cli.reporting import Reporter
from tovec.cli.terminal import is_terminal, safe
from tovec.cli.waiting import WAIT_SECONDS, Waiting
from tovec.events import Event, Progress, Sent
from tovec.wording import count_phrase

LINE_SECONDS = 60.0
BAR_SECONDS = 0.1
TICK_SECONDS = 1.0


class Display(Protocol):
    """Shows progress, and takes itself away at the end or when something else is said."""

    def show(self, progress: Progress) -> None:
        """Show how far the job is."""
        ...

    def tick(self, waiting: str) -> None:
        """Show what the run is waiting for ("" if nothing); called once per second."""
        ...

    def clear(self) -> None:
        """Leave the line to others."""
        ...


class Watch:
    """An observer that shows progress and hands everything else to the reporter.

    Used as a context: while it is open, a thread ticks once per second from the first request on,
    so that a wait is reported although no event comes. A signal that ends a wait says so.
    """

    def __init__(
        self, reporter: Reporter, display: Display | None, waiting: Waiting | None = None
    ) -> None:
        self._reporter, self._display = reporter, display
        self._waiting = waiting or Waiting()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None
        # Only what is really said may take the bar away: most events are not.
        reporter.before = self.clear

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.clear()
        waiting = self._waiting.describe()
        if waiting and kind is not None and issubclass(kind, KeyboardInterrupt):
            self._reporter.say("warning", f"stopped while waiting: {waiting}")

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            if isinstance(event, Progress):
                if self._display is not None:
                    self._display.show(event)
                return
            self._waiting.event(event)
            self._reporter.event(event)
            if isinstance(event, Sent) and self._ticker is None and self._display is not None:
                self._ticker = threading.Thread(target=self._tick, daemon=True)
                with contextlib.suppress(RuntimeError):  # no more threads: the work goes on
                    self._ticker.start()

    def tick(self) -> None:
        """Show what is being waited for."""
        with self._lock:
            if self._display is not None and not self._over.is_set():
                self._display.tick(safe(self._waiting.describe()))

    def clear(self) -> None:
        """Take the bar away."""
        with self._lock:
            if self._display is not None:
                self._display.clear()

    def _tick(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            self.tick()


def display(kind: ProgressKind, reporter: Reporter) -> Display | None:
    """Return the display that the user asked for, or that suits where stderr goes."""
    if kind == "auto":
        if reporter.verbosity < 0:
            kind = "none"
        else:
            kind = "bar" if is_terminal(sys.stderr) and not reporter.json else "lines"
    if kind == "bar":
        return Bar()
    return Lines(reporter) if kind == "lines" else None


def stream_display(reporter: Reporter, *, to_file: bool) -> Display | None:
    """Return the display of a command that streams: it is silent unless it has to wait.

    A bar stands only where the rows go to a file: on a terminal it would cut into them.
    """
    if reporter.verbosity < 0:
        return None
    if to_file and is_terminal(sys.stderr) and not reporter.json:
        return Bar()
    return Lines(reporter, first=WAIT_SECONDS, only_waits=True)


class Lines:
    """One line per minute. With `only_waits`, only while the run waits, the first time at once."""

    def __init__(
        self,
        reporter: Reporter,
        clock: Callable[[], float] = time.monotonic,
        *,
        first: float = LINE_SECONDS,
        only_waits: bool = False,
    ) -> None:
        self._reporter, self._clock = reporter, clock
        self._only_waits = only_waits
        self._due = clock() + first
        self._progress: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Report how far the job is, if a minute has passed."""
        self._progress = progress
        if not self._only_waits:
            self._say("")

    def tick(self, waiting: str) -> None:
        """Report what the run is waiting for, if a minute has passed."""
        if waiting:
            self._say(waiting)

    def clear(self) -> None:
        """Nothing is in the way."""

    def _say(self, waiting: str) -> None:
        now = self._clock()
        if now < self._due:
            return
        self._due = now + LINE_SECONDS
        known = self._progress._asdict() if self._progress else {}
        fields = {name: value for name, value in known.items() if value is not None}
        text = [progress_in_words(self._progress)] if self._progress else []
        if waiting:
            fields["waiting"] = waiting
            text.append(waiting)
        self._reporter.say("progress", "; ".join(text), **fields)


class Bar:
    """One line that is drawn again and again; on a dumb terminal it would be many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._drawn = 0.0
        self._phase = ""
        self._began = clock()
        self._first = 0
        self._visible = False
        self._progress: Progress | None = None
        self._waiting = ""

    def show(self, progress: Progress) -> None:
        """Draw, at most ten times a second."""
        now = self._clock()
        if progress.phase != self._phase:
            self._phase, self._began, self._first = progress.phase, now, progress.rows
            self._drawn = 0.0
        self._progress = progress
        if now - self._drawn >= BAR_SECONDS:
            self._draw()

    def tick(self, waiting: str) -> None:
        """Draw while the run waits, and once more when the wait is over."""
        if waiting or self._waiting:
            self._waiting = waiting
            self._draw()

    def clear(self) -> None:
        """Take the bar away."""
        if self._visible:
            self._write("\r\x1b[2K")
            self._visible = False

    def _draw(self) -> None:
        self._drawn = now = self._clock()
        width = shutil.get_terminal_size().columns - 1
        if self._progress is None:
            text = self._waiting[:width]
        else:
            rate = (self._progress.rows - self._first) / max(now - self._began, 1e-3)
            text = line(self._progress, rate, width, self._waiting)
        self._write("\r\x1b[2K" + text)
        self._visible = True

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError, UnicodeEncodeError):
            return  # nobody reads it: the work goes on


def parts_of(progress: Progress) -> dict[str, str]:
    """Return the parts of a progress line by name, in their order."""
    about = "about " if progress.phase == "asking" else ""
    rows = count_phrase(progress.total or progress.rows, "row")
    rows = f"{progress.rows:,} of {about}{rows}" if progress.total else rows
    parts = {"rows": f"{progress.phase} {rows}"}
    if progress.tokens or progress.phase == "asking":
        parts["tokens"] = count_phrase(progress.tokens, "token")
    if progress.cost:
        parts["cost"] = f"${progress.cost:.4f}"
    if progress.retries:
        parts["retries"] = count_phrase(progress.retries, "retry", "retries")
    return parts


def progress_in_words(progress: Progress) -> str:
    """Return progress in words."""
    return ", ".join(parts_of(progress).values())


def line(progress: Progress, rate: float, width: int, waiting: str = "") -> str:
    """Return the bar's line, at most `width` columns: what matters least is left out first."""
    parts = parts_of(progress) | {"rate": f"{rate:,.0f} rows/s"}
    if waiting:  # what is done matters less now than why no more is
        parts = {"rows": parts["rows"], "waiting": waiting}
    elif progress.total and rate > 0:
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
    """Return a duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
