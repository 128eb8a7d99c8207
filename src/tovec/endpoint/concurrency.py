"""How many requests may be under way at once.

The limit doubles each round until the endpoint first objects, and then grows by one a round at
most; it shrinks by a third when the endpoint objects (AIMD), and by one a round where answers are
slow. Source: the reliability notes, (a3).
"""

from __future__ import annotations

DEFAULT_CONCURRENCY = 16  # measured: at 200 ms, 8 take a fifth longer, 32 and 64 do no better
START_CONCURRENCY = 8  # measured: from 4 on, a job of 40 requests takes a third longer
RESTART_CONCURRENCY = 2  # after a probe has shown that the endpoint is back
MAX_GROWTH = 0.5  # requests more under way a second, once the endpoint has objected
SLOW_SECONDS = 2.0  # an answer faster than this is no sign of a queue at the endpoint
MIN_CUT_SECONDS = 1.0  # from one cut to the next: answers to one burst must not cut many times


class Concurrency:
    """Counts the requests under way, and adapts how many there may be."""

    def __init__(self, cap: int) -> None:
        self.under_way = 0
        self._cap = cap
        self._limit = float(min(START_CONCURRENCY, cap))
        self._is_doubling = True
        self._slots_were_full = False  # whether a request has waited for another to end
        self._fastest = float("inf")  # seconds of an answer ...
        self._fastest_tokens = 0  # ... to a request of about so many tokens
        self._cut_at = float("-inf")
        self._grown_at = 0.0
        self._throttled_at = float("-inf")

    def is_full(self) -> bool:
        """Return whether another request must end first; remember that one has waited."""
        if self.under_way < max(1, int(self._limit)):
            return False
        self._slots_were_full = True
        return True

    def take(self) -> None:
        """Count a request as under way."""
        self.under_way += 1
        is_half_full = self.under_way * 2 >= self._limit
        self._slots_were_full = self._slots_were_full and is_half_full

    def release(self) -> None:
        """Count a request as ended."""
        self.under_way -= 1

    def answered(self, now: float, seconds: float, tokens: int) -> None:
        """Allow more requests where that helps, fewer where they only queue at the endpoint."""
        if tokens > 2 * self._fastest_tokens:  # a small request does not show how fast others are
            self._fastest, self._fastest_tokens = seconds, tokens
        elif tokens * 2 >= self._fastest_tokens:
            self._fastest = min(seconds, self._fastest * 1.001)
        if not self._slots_were_full:
            return  # more would not be used
        if seconds > max(SLOW_SECONDS, 4 * self._fastest):
            self._is_doubling = False
            self._limit = max(min(2.0, self._limit), self._limit - 1.0 / self._limit)
            return
        before, self._grown_at = self._grown_at, now
        growth = 1.0 if self._is_doubling else min(1.0 / self._limit, MAX_GROWTH * (now - before))
        self._limit = min(float(self._cap), self._limit + growth)

    def throttled(self, now: float, sent_at: float) -> None:
        """Cut the limit after a 429, once for all that were sent before it came."""
        if sent_at > self._throttled_at:
            self._throttled_at = now
            self.cut(now)

    def cut(self, now: float) -> None:
        """Cut the limit by a third."""
        self._is_doubling = False
        if now - self._cut_at > MIN_CUT_SECONDS:
            self._cut_at = now
            self._limit = max(1.0, self._limit * 0.7)

    def probe(self) -> None:
        """Allow one request at a time: the endpoint seems down."""
        self._limit = 1.0

    def restart(self) -> None:
        """Allow a few requests again, and grow fast from there: the endpoint is back."""
        self._is_doubling = True
        self._limit = float(min(RESTART_CONCURRENCY, self._cap))
