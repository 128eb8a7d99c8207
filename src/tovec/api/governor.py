"""One governor for all requests of a process: rates, a shared pause, concurrency, retry budget.

Requests are admitted first come, first served, so that a large one is never starved. Rates follow
the generic cell rate algorithm (ITU-T I.371): one theoretical arrival time for requests, one for
tokens. Concurrency grows by doubling until the endpoint first objects, then by one a round and
down by a third (AIMD). Clock and randomness come from outside, so that tests run hours in
milliseconds. Nothing here suspends while a slot is free, and asyncio is imported only to wait.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tovec.api.headers import Rates

if TYPE_CHECKING:
    import asyncio

DEFAULT_CONCURRENCY = 16
START_CONCURRENCY = 4
BURST_SECONDS = 1.0  # of each rate may be used at once
MAX_RESET = 60.0  # seconds to wait on an exhausted remainder; a longer reset is not believed
BUDGET = 100.0  # retries that may be spent at once ...
BUDGET_GAIN = 0.1  # ... and what each success gives back: a tenth of the requests in the long run
CIRCUIT = 5  # failures in a row after which one request probes for all
PROBE_DELAYS = (5.0, 10.0, 20.0, 40.0, 60.0)
GIVE_UP_AFTER = 900.0  # seconds without any success


@dataclass(slots=True)
class _Rate:
    """A rate a minute as a theoretical arrival time."""

    per_minute: float | None
    arrival: float = 0.0

    def wait(self, now: float) -> float:
        if self.per_minute is None:
            return 0.0
        return self.arrival - now - BURST_SECONDS

    def take(self, now: float, amount: float) -> None:
        if self.per_minute is not None:
            self.arrival = max(self.arrival, now) + amount * 60 / self.per_minute


class Governor:
    """Says when a request may go out, and learns from how it fared."""

    def __init__(
        self,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        rpm: float | None = None,
        tpm: float | None = None,
        give_up_after: float = GIVE_UP_AFTER,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self.concurrency = concurrency
        self._clock = clock
        self._random = randomness
        self._requests = _Rate(rpm)
        self._tokens = _Rate(tpm)
        self._limit = float(min(START_CONCURRENCY, concurrency))
        self._under_way = 0
        self._not_before = 0.0
        self._doubling = True
        self._clean = 0
        self._last_cut = float("-inf")
        self._failures = 0
        self._budget = BUDGET
        self._give_up_after = give_up_after
        self._last_success: float | None = None
        self._turn: asyncio.Lock | None = None
        self._changed: asyncio.Event | None = None

    async def admit(self, tokens: int) -> None:
        """Wait until a request of so many tokens may go out, and count it as under way."""
        if self._turn is None or not self._turn.locked():
            if self._last_success is None:
                self._last_success = self._clock()  # the job's start
            if self._wait() <= 0:
                self._take(tokens)
                return
        import asyncio

        if self._turn is None:
            self._turn, self._changed = asyncio.Lock(), asyncio.Event()
        changed = self._changed
        assert changed is not None
        async with self._turn:  # a Lock is first come, first served
            while (wait := self._wait()) > 0:
                changed.clear()
                try:
                    async with asyncio.timeout(None if wait == float("inf") else wait):
                        await changed.wait()
                except TimeoutError:
                    continue
            self._take(tokens)

    def _wait(self) -> float:
        """Give the seconds until a request may go out: 0 now, infinity when one must end first."""
        if self._under_way >= max(1, int(self._limit)):
            return float("inf")
        now = self._clock()
        return max(self._not_before - now, self._requests.wait(now), self._tokens.wait(now), 0.0)

    def _take(self, tokens: int) -> None:
        now = self._clock()
        self._under_way += 1
        self._requests.take(now, 1)
        self._tokens.take(now, tokens)

    def release(self) -> None:
        """Count a request as ended, however it ended."""
        self._under_way -= 1
        self._wake()

    def succeeded(self, rates: Rates, *, estimate: int, actual: int | None) -> None:
        """Learn from a good answer: what it says of rates, and what it really counted."""
        now = self._clock()
        self._last_success = now
        self._failures = 0
        self._budget = min(BUDGET, self._budget + BUDGET_GAIN)
        self._learn(rates, now)
        if actual is not None and self._tokens.per_minute is not None:
            self._tokens.arrival += (actual - estimate) * 60 / self._tokens.per_minute
        self._clean += 1
        if self._under_way * 2 >= self._limit and self._clean >= self._limit:
            self._clean = 0
            grown = self._limit * 2 if self._doubling else self._limit + 1
            self._limit = min(float(self.concurrency), grown)
        self._wake()

    def _learn(self, rates: Rates, now: float) -> None:
        for rate, limit, left, reset in (
            (self._requests, rates.limit_requests, rates.remaining_requests, rates.reset_requests),
            (self._tokens, rates.limit_tokens, rates.remaining_tokens, rates.reset_tokens),
        ):
            if limit is not None and (rate.per_minute is None or limit < rate.per_minute):
                rate.per_minute = float(limit)
                rate.arrival = max(rate.arrival, now)
            if left == 0 and reset:
                self._not_before = max(self._not_before, now + min(reset, MAX_RESET))

    def throttled(self, hint: float | None, attempt: int) -> float:
        """Make every request wait after a 429; give the seconds. A hint is a floor."""
        now = self._clock()
        self._spend(1)
        self._cut(now)
        delay = self.backoff(attempt, base=1.0, cap=60.0, floor=hint)
        if hint is not None or attempt > 1:
            self._not_before = max(self._not_before, now + delay)
        return delay

    def failed(self, *, cost: float) -> None:
        """Count a failure; after CIRCUIT of them in a row only one request at a time probes."""
        now = self._clock()
        self._spend(cost)
        self._failures += 1
        if self._failures >= CIRCUIT or self._budget <= 0:
            late = min(max(0, self._failures - CIRCUIT), len(PROBE_DELAYS) - 1)
            self._limit = 1.0
            self._doubling = True
            self._not_before = max(self._not_before, now + PROBE_DELAYS[late])

    def backoff(
        self, attempt: int, *, base: float, cap: float, floor: float | None = None
    ) -> float:
        """Give a delay that doubles with each attempt, half of it random; `floor` is honoured."""
        delay = float(min(cap, base * 2.0 ** min(attempt - 1, 30)))
        delay = delay / 2 + self._random() * delay / 2
        return delay if floor is None else max(delay, floor * (1 + self._random() / 10))

    def exhausted(self) -> bool:
        """Say whether so much time has passed without success that going on makes no sense."""
        since = self._last_success
        return since is not None and self._clock() - since > self._give_up_after

    def _spend(self, cost: float) -> None:
        self._budget = max(0.0, self._budget - cost)

    def _cut(self, now: float) -> None:
        self._doubling = False
        self._clean = 0
        if now - self._last_cut > 1.0:  # answers to one burst must not cut many times
            self._last_cut = now
            self._limit = max(1.0, self._limit * 0.7)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
