"""How much trouble is too much: the retry budget, the circuit, and when to give up.

Each retry costs, each success gives back a tenth: in the long run a tenth of all requests are
retries. After several failures in a row the circuit opens, and one request at a time probes
whether the endpoint is back. Source: the reliability notes, (c).
"""

from __future__ import annotations

MAX_RETRIES = 100.0  # that may be spent at once ...
SUCCESS_GAIN = 0.1  # ... and what each success gives back
MAYBE_PAID = 2  # the cost of a retry whose first attempt may have been billed
MAX_FAILURES = 5  # in a row, after which one request probes for all
PROBE_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)


class RetryBudget:
    """Counts failures and successes of the run."""

    def __init__(self, give_up_after: float) -> None:
        self.left = MAX_RETRIES
        self.has_succeeded = False
        self.tries = 0  # bursts of failures while nothing has ever succeeded
        self.paused_until = 0.0
        self._give_up_after = give_up_after
        self._failures = 0  # in a row
        self._failing_since: float | None = None
        self._open_since: float | None = None  # the circuit
        self._last_try = float("-inf")

    def succeeded(self) -> None:
        """Count an answer toward the budget."""
        self.left = min(MAX_RETRIES, self.left + SUCCESS_GAIN)

    def recovered(self, now: float) -> bool:
        """Forget failures, since the endpoint has answered; return whether the circuit was open."""
        was_open = self._open_since is not None
        if was_open:
            self.paused_until = min(self.paused_until, now)
        self.has_succeeded, self._open_since = True, None
        self._failures, self._failing_since = 0, None
        return was_open

    def throttled(self, now: float, sent_at: float) -> None:
        """Count a request that was refused with 429."""
        self._count(now, sent_at, 1)

    def failed(self, now: float, sent_at: float, cost: float) -> bool:
        """Count a failure; return whether only one request at a time may probe from now on.

        While nothing has ever succeeded, the first failure is enough.
        """
        self._count(now, sent_at, cost)
        if not self.has_succeeded:
            self._open_since = now
            return True
        if self._open_since is not None and sent_at <= self._open_since:
            return False  # it was sent before the circuit opened, and says nothing new
        self._failures += 1
        if self._failures < MAX_FAILURES and self.left > 0:
            return False
        self._open_since = now
        return True

    def _count(self, now: float, sent_at: float, cost: float) -> None:
        if self._failing_since is None:
            self._failing_since = now
        self.left = max(0.0, self.left - cost)
        if not self.has_succeeded and sent_at > self._last_try:
            self.tries += 1
            self._last_try = now

    @property
    def probe_seconds(self) -> float:
        """The pause before the next probe."""
        late = max(0, self._failures - MAX_FAILURES)
        return PROBE_SECONDS[min(late, len(PROBE_SECONDS) - 1)]

    def pause_until(self, then: float) -> None:
        """Send nothing before `then`."""
        self.paused_until = max(self.paused_until, then)

    def failing_seconds(self, now: float) -> float:
        """Return for how long nothing has succeeded."""
        return 0.0 if self._failing_since is None else now - self._failing_since

    def is_exhausted(self, until: float) -> bool:
        """Return whether nothing will have succeeded for too long at `until`."""
        return self.failing_seconds(until) > self._give_up_after
