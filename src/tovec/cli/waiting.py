"""What a run is waiting for, from its events and a clock: no wait is silent."""

from __future__ import annotations

import time
from collections.abc import Callable

from tovec.events import Answered, Event, Held, Refused, Retried, Sent, Split
from tovec.wording import count_phrase

WAIT_SECONDS = 5.0  # a wait shorter than this is not worth a word
MAX_CAUSE = 160  # characters of the reason for a failure


class Waiting:
    """Follows a run's events; knows what has not come, since when, and when the next try is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way = 0
        self._since = clock()  # the last answer, or the first request after a pause
        self._tries = 0
        self._cause = ""
        self._next = 0.0

    def event(self, event: Event) -> None:
        """Take an event of the run."""
        match event:
            case Sent():
                if not self._under_way and not self._tries:
                    self._since = self._clock()
                self._under_way += 1
            case Answered() | Split() | Refused():
                self._under_way -= 1
                self._since, self._tries, self._next = self._clock(), 0, 0.0
            case Retried(_, detail, delay, _, _, _):
                self._under_way -= 1
                self._tries += 1
                self._cause = detail if len(detail) <= MAX_CAUSE else f"{detail[:MAX_CAUSE]}..."
                self._next = max(self._next, self._clock() + delay)
            case Held(seconds):
                self._next = max(self._next, self._clock() + seconds)

    @property
    def seconds(self) -> float:
        """Return for how long the run has waited: 0 where nothing is under way or due."""
        now = self._clock()
        busy = self._under_way > 0 or self._tries > 0 or self._next > now
        return now - self._since if busy else 0.0

    def describe(self) -> str:
        """Return what the run is waiting for; empty if it has not waited for long."""
        if self.seconds < WAIT_SECONDS:
            return ""
        left = self._next - self._clock()
        due = f"next in {left:.0f} s" if left >= 1 else "trying now"
        if self._tries:
            return f"{self._cause}, {count_phrase(self._tries, 'try', 'tries')}, {due}"
        if self._under_way > 0:
            return f"no answer for {self.seconds:.0f} s"
        return f"held back by the rate limit, {due}"
