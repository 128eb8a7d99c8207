"""One governor for all requests of a process: rates, a shared pause, concurrency, retry budget.

Requests are admitted first come, first served, so that a large one is never starved. Three things
bound them: the user's own limits, never exceeded in any minute; the endpoint's, kept as a mirror
of its own count from what each answer's headers say; and a number of requests under way, which
doubles each round until the endpoint first objects and then grows by one a round at most, while it
shrinks by a third when the endpoint objects (AIMD) and by one a round where answers are slow.
Source: the reliability notes, (a3) and (c).

Clock and randomness come from outside, so that tests run hours in milliseconds. Nothing here
suspends while a slot is free, and asyncio is imported only to wait.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tovec.endpoint.rate_headers import Rates
from tovec.endpoint.rates import MAX_RESET, EndpointRate, OwnRate

if TYPE_CHECKING:
    import asyncio

DEFAULT_CONCURRENCY = 16  # measured: at 200 ms, 8 take a fifth longer, 32 and 64 do no better
START_CONCURRENCY = 8  # measured: from 4 on, a job of 40 requests takes a third longer
BUDGET = 100.0  # retries that may be spent at once ...
BUDGET_GAIN = 0.1  # ... and what each success gives back: a tenth of the requests in the long run
MAYBE_PAID = 2  # what a retry costs whose first attempt may have been billed
HINTS = 3  # refusals in a row after each of which the wait that is asked for is taken for true
CIRCUIT = 5  # failures in a row after which one request probes for all
PROBE_DELAYS = (5.0, 10.0, 20.0, 40.0, 60.0)
GIVE_UP_AFTER = 900.0  # seconds of trouble without any success
MAX_WAIT = 600.0  # seconds an endpoint may ask for; more is "run again later"
GROWTH = 0.5  # requests more under way a second, at most, once the endpoint has objected
SLOW = 2.0  # seconds: an answer faster than this is no sign of a queue at the endpoint
START_SECONDS = 0.5  # the pause after the first failure while nothing has ever succeeded ...
START_CAP = 30.0  # ... doubles with each try, up to this
HOLD_SECONDS = 1.0  # a request held back for longer than this is reported
FOREVER = float("inf")


class Ticket(NamedTuple):
    """The leave to send one request: what it was charged, and when."""

    tokens: float
    at: float
    known: bool  # whether the endpoint's limits were known then
    ended: tuple[float, float]  # requests and tokens that had been answered by then


class Governor:
    """Says when a request may go out, and learns from how it fared."""

    def __init__(
        self,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        rpm: float | None = None,
        tpm: float | None = None,
        give_up_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self.concurrency = concurrency
        self.under_way = 0
        self.tries = 0  # bursts of failures while nothing has ever succeeded
        self.on_hold: Callable[[float], None] = lambda _seconds: None
        self._proven = False  # whether anything has ever succeeded
        self._last_try = -FOREVER
        self._clock = clock
        self._random = randomness
        self._own_requests, self._own_tokens = OwnRate(rpm), OwnRate(tpm)
        self._requests, self._tokens = EndpointRate(), EndpointRate()
        self._ratio = 1.0  # tokens counted by the endpoint, to our estimate
        self._limit = float(min(START_CONCURRENCY, concurrency))
        self._doubling = True
        self._pressed = False  # whether requests have waited for one to end
        self._fastest = FOREVER  # seconds of an answer ...
        self._measured = 0  # ... to a request of about so many tokens
        self._not_before = 0.0
        self._last_cut = -FOREVER
        self._grown = 0.0
        self._throttled_at = -FOREVER
        self._throttles = 0
        self._failures = 0
        self._opened: float | None = None  # when the circuit was last set to probing
        self._budget = BUDGET
        self._give_up_after = GIVE_UP_AFTER if give_up_after is None else give_up_after
        self.longest_wait = MAX_WAIT if give_up_after is None else give_up_after
        self._trouble: float | None = None  # since when nothing has succeeded
        self._waiting = 0
        self._stopped = False
        self._idle: set[asyncio.Task[Any]] = set()  # those that wait for leave, or rest
        self._turn: asyncio.Lock | None = None
        self._changed: asyncio.Event | None = None

    @property
    def most_tokens(self) -> float | None:
        """Give the most tokens that any minute has room for, or None: no limit is known."""
        known = [one for one in (self._own_tokens.limit, self._tokens.limit) if one is not None]
        return min(known) / max(1.0, self._ratio) if known else None

    @property
    def probing(self) -> bool:
        """Say whether the endpoint seems down, so that one request at a time asks again."""
        return self._opened is not None

    # Admission --------------------------------------------------------------------------------

    async def admit(self, tokens: int) -> Ticket:
        """Wait until a request of so many tokens may go out, and count it as under way."""
        if not self._waiting and not self._stopped and self._wait(tokens) <= 0:
            return self._take(tokens)
        import asyncio

        if self._turn is None or self._changed is None:
            self._turn, self._changed = asyncio.Lock(), asyncio.Event()
        self._waiting += 1
        try:
            with self._stoppable():
                async with self._turn:  # a Lock is first come, first served
                    while (wait := self._wait(tokens)) > 0:
                        self._changed.clear()
                        if HOLD_SECONDS < wait < FOREVER:
                            self.on_hold(wait)
                        try:
                            async with asyncio.timeout(None if wait == FOREVER else wait + 0.001):
                                await self._changed.wait()
                        except TimeoutError:
                            continue
                    return self._take(tokens)
        finally:
            self._waiting -= 1

    async def rest(self, seconds: float) -> None:
        """Wait before another attempt."""
        import asyncio

        with self._stoppable():
            await asyncio.sleep(seconds)

    def stop(self) -> None:
        """Let nothing more out: tasks that wait to send, or to send again, are cancelled."""
        self._stopped = True
        for task in self._idle:
            task.cancel()

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Have `stop` cancel the task while it is in here."""
        import asyncio

        if self._stopped:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        self._idle.add(task)
        try:
            yield
        finally:
            self._idle.discard(task)

    def _wait(self, tokens: int) -> float:
        """Give the seconds until a request may go out: 0 now, infinity when one must end first."""
        if self.under_way >= max(1, int(self._limit)):
            self._pressed = True
            return FOREVER
        now, amount = self._clock(), self._charge(tokens)
        return max(
            self._not_before - now,
            self._own_requests.wait(now, 1),
            self._own_tokens.wait(now, amount),
            self._requests.wait(now, 1),
            self._tokens.wait(now, amount),
        )

    def _charge(self, tokens: int) -> float:
        # Where the endpoint itself says what is left, an estimate too low would be the mistake.
        return tokens * (self._ratio if self._tokens.limit is None else max(1.0, self._ratio))

    def _take(self, tokens: int) -> Ticket:
        now, amount = self._clock(), self._charge(tokens)
        self.under_way += 1
        self._pressed = self._pressed and self.under_way * 2 >= self._limit
        self._own_requests.take(now, 1)
        self._own_tokens.take(now, amount)
        self._requests.take(1)
        self._tokens.take(amount)
        known = self._requests.limit is not None or self._tokens.limit is not None
        return Ticket(amount, now, known, (self._requests.ended, self._tokens.ended))

    def release(self, ticket: Ticket) -> None:
        """Count a request as ended, however it ended; after what it taught has been said."""
        self.under_way -= 1
        self._requests.end(1)
        self._tokens.end(ticket.tokens)
        self._wake()

    # Lessons ----------------------------------------------------------------------------------

    def succeeded(
        self, ticket: Ticket, rates: Rates, *, estimate: int, actual: int | None, seconds: float
    ) -> None:
        """Learn from a good answer: what it says of rates, what it counted, how long it took."""
        now = self._clock()
        self.recovered()
        self._throttles = 0
        self._budget = min(BUDGET, self._budget + BUDGET_GAIN)
        if actual is not None and estimate > 0:
            seen = min(4.0, max(0.25, actual / estimate))
            self._ratio += (seen - self._ratio) * 0.2
            self._own_tokens.take(now, actual - ticket.tokens)
        self._learn(ticket, rates, now)
        self._adapt(seconds, estimate)
        self._wake()

    def recovered(self) -> None:
        """Take the endpoint for well again: it has answered."""
        self._proven = True
        if self._opened is not None:
            self._opened, self._doubling = None, True
            self._limit = min(2.0, float(self.concurrency))
            self._not_before = min(self._not_before, self._clock())
        self._failures = 0
        self._trouble = None
        self._wake()

    def _learn(self, ticket: Ticket, rates: Rates, now: float) -> None:
        kinds = (
            (self._requests, 1.0, ticket.ended[0], rates.limit_requests,
             rates.remaining_requests, rates.reset_requests),
            (self._tokens, ticket.tokens, ticket.ended[1], rates.limit_tokens,
             rates.remaining_tokens, rates.reset_tokens),
        )  # fmt: skip
        for mirror, charged, ended, limit, left, reset in kinds:
            mirror.learn(now, limit, left, reset, charged, ended)
            if limit is None and left == 0 and reset:
                self._not_before = max(self._not_before, now + min(reset, MAX_RESET))

    def _adapt(self, seconds: float, tokens: int) -> None:
        """Let more requests under way where that helps, fewer where they only wait there."""
        if tokens > 2 * self._measured:  # a small request says nothing of how fast others can be
            self._fastest, self._measured = seconds, tokens
        elif tokens * 2 >= self._measured:
            self._fastest = min(seconds, self._fastest * 1.001)
        if not self._pressed:
            return  # more would not be used
        if seconds > max(SLOW, 4 * self._fastest):
            self._doubling = False
            self._limit = max(min(2.0, self._limit), self._limit - 1.0 / self._limit)
            return
        now, before = self._clock(), self._grown
        self._grown = now
        self._limit += 1.0 if self._doubling else min(1.0 / self._limit, GROWTH * (now - before))
        self._limit = min(float(self.concurrency), self._limit)

    def throttled(self, ticket: Ticket, rates: Rates, hint: float | None) -> float:
        """Make every request wait after a 429; give the seconds. A hint is a floor."""
        now = self._clock()
        self._trouble = now if self._trouble is None else self._trouble
        self._spend(1)
        self._count_try(ticket, now)
        if ticket.at > self._throttled_at:  # not one more answer to the same burst
            self._throttles += 1
            self._throttled_at = now
            self._cut(now)
        if hint is not None and self._throttles <= HINTS:
            delay = hint * (1 + self._random() / 10)
        else:
            late, cap = (self._throttles, 60.0) if hint is None else (self._throttles - HINTS, 30.0)
            delay = self.backoff(late, base=2.0, cap=cap, floor=hint)
        self._learn(ticket, rates, now)
        self._own_requests.paced = self._own_tokens.paced = True
        for mirror, amount in ((self._requests, 1.0), (self._tokens, ticket.tokens)):
            mirror.paced = mirror.paced or ticket.known
            mirror.refused(now, amount, hint or 0.0)
        self._not_before = max(self._not_before, now + delay)
        return delay

    def failed(self, ticket: Ticket, *, cost: float, overload: bool = False) -> None:
        """Count a failure; after CIRCUIT of them in a row only one request at a time probes.

        While nothing has ever succeeded, the first failure is enough.
        """
        now = self._clock()
        self._trouble = now if self._trouble is None else self._trouble
        self._spend(cost)
        if overload:
            self._cut(now)
        if not self._proven:
            self._count_try(ticket, now)
            delay = self.backoff(self.tries, base=START_SECONDS, cap=START_CAP)
            self._opened, self._limit = now, 1.0
            self._not_before = max(self._not_before, now + delay)
            return
        if self._opened is not None and ticket.at <= self._opened:
            return  # it left before the circuit opened, and says nothing new
        self._failures += 1
        if self._failures >= CIRCUIT or self._budget <= 0:
            late = min(max(0, self._failures - CIRCUIT), len(PROBE_DELAYS) - 1)
            delay = PROBE_DELAYS[late] * (1 + self._random() / 10)
            self._opened, self._limit = now, 1.0
            self._not_before = max(self._not_before, now + delay)

    def _count_try(self, ticket: Ticket, now: float) -> None:
        if not self._proven and ticket.at > self._last_try:
            self.tries += 1
            self._last_try = now

    @property
    def pause(self) -> float:
        """Return the seconds for which every request is held back after a failure or a 429."""
        return max(0.0, self._not_before - self._clock())

    @property
    def failing_seconds(self) -> float:
        """Return for how long nothing has succeeded."""
        return 0.0 if self._trouble is None else self._clock() - self._trouble

    def backoff(
        self, attempt: int, *, base: float, cap: float, floor: float | None = None
    ) -> float:
        """Give a delay that doubles with each attempt, half of it random; `floor` is honoured."""
        delay = float(min(cap, base * 2.0 ** min(max(attempt, 1) - 1, 30)))
        delay = delay / 2 + self._random() * delay / 2
        return delay if floor is None else max(delay, floor * (1 + self._random() / 10))

    def exhausted(self) -> bool:
        """Say whether trouble will have lasted too long when the next request may go out."""
        until = max(self._clock(), self._not_before)
        return self._trouble is not None and until - self._trouble > self._give_up_after

    def _spend(self, cost: float) -> None:
        self._budget = max(0.0, self._budget - cost)

    def _cut(self, now: float) -> None:
        self._doubling = False
        if now - self._last_cut > 1.0:  # answers to one burst must not cut many times
            self._last_cut = now
            self._limit = max(1.0, self._limit * 0.7)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
