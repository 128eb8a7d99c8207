"""One governor for all requests of a process: when may the next one be sent.

It combines three parts, and does the waiting for them:

    admission      rates and the pause after a 429: may this request be sent now
    concurrency    how many may be under way at once
    retry_budget   how many failures are too many, and when to give up

Requests are admitted first come, first served, so that a large one is never starved. Clock and
randomness come from outside, so that tests run hours in milliseconds. Nothing here suspends while
a slot is free, and asyncio is imported only to wait.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tovec.endpoint.admission import (
    MAX_WAIT_SECONDS,
    RECHECK_SECONDS,
    Admission,
    ProcessAdmission,
    Ticket,
)
from tovec.endpoint.concurrency import DEFAULT_CONCURRENCY, Concurrency
from tovec.endpoint.rate_headers import Rates
from tovec.endpoint.retry_budget import RetryBudget

if TYPE_CHECKING:
    import asyncio

MAX_TRUSTED_RETRY_AFTER = 3  # 429s in a row for which we obey Retry-After; then we also back off
GIVE_UP_SECONDS = 900.0  # of trouble without any success
START_SECONDS = 0.5  # the pause after the first failure while nothing has ever succeeded ...
MAX_START_SECONDS = 30.0  # ... doubles with each try, up to this
HELD_SECONDS = 1.0  # a request that is held back for longer than this is reported
FOREVER = float("inf")


class Governor:
    """Decides when a request may be sent, and learns from what became of it."""

    def __init__(
        self,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        rpm: float | None = None,
        tpm: float | None = None,
        give_up_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
        admission: Admission | None = None,
    ) -> None:
        self.on_hold: Callable[[float], None] = lambda _seconds: None
        self.longest_wait = MAX_WAIT_SECONDS if give_up_after is None else give_up_after
        self.admission = ProcessAdmission(rpm, tpm) if admission is None else admission
        self.slots = Concurrency(concurrency)
        seconds = GIVE_UP_SECONDS if give_up_after is None else give_up_after
        self.retries = RetryBudget(seconds)
        self._clock = clock
        self._random = randomness
        self._waiting = 0
        self._is_stopped = False
        self._idle: set[asyncio.Task[object]] = set()  # those that wait to send, or rest
        self._turn: asyncio.Lock | None = None
        self._changed: asyncio.Event | None = None

    @property
    def under_way(self) -> int:
        """The requests that have been sent and not answered."""
        return self.slots.under_way

    @property
    def tries(self) -> int:
        """Bursts of failures while nothing has ever succeeded."""
        return self.retries.tries

    @property
    def most_tokens(self) -> float | None:
        """The most tokens that any minute has room for; None while no limit is known."""
        return self.admission.max_tokens

    # Admission --------------------------------------------------------------------------------

    async def admit(self, tokens: int) -> Ticket:
        """Wait until a request of so many tokens may be sent, and count it as under way."""
        if not self._waiting and not self._is_stopped:
            ticket = self._try(tokens)
            if isinstance(ticket, Ticket):
                return ticket
        import asyncio

        if self._turn is None or self._changed is None:
            self._turn, self._changed = asyncio.Lock(), asyncio.Event()
        self._waiting += 1
        try:
            with self._stoppable():
                async with self._turn:  # a Lock is first come, first served
                    return await self._wait_for_ticket(tokens, self._changed)
        finally:
            self._waiting -= 1

    async def _wait_for_ticket(self, tokens: int, changed: asyncio.Event) -> Ticket:
        import asyncio

        began = announced = self._clock()
        try:
            while not isinstance(found := self._try(tokens), Ticket):
                changed.clear()
                seconds = None
                if found < FOREVER:
                    announced = self._announce(found, began, announced)
                    seconds = min(found, RECHECK_SECONDS) + 0.001
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await changed.wait()
        except BaseException:
            self.admission.withdraw()
            raise
        return found

    def _announce(self, wait: float, began: float, announced: float) -> float:
        """Report a wait that is long, or has become so; return until when one is reported."""
        now = self._clock()
        if wait <= HELD_SECONDS and now - began < HELD_SECONDS:
            return announced
        until = now + max(wait, HELD_SECONDS)
        if announced > now and until <= announced + HELD_SECONDS:
            return announced
        self.on_hold(until - now)
        return until

    def _try(self, tokens: int) -> Ticket | float:
        """Return a ticket; or about how long it takes, FOREVER where a request must end first."""
        if self.slots.is_full():
            self.admission.withdraw()
            return FOREVER
        now = self._clock()
        wait = self.retries.paused_until - now
        if wait > 0:
            self.admission.withdraw()
            return max(wait, self.admission.pause(now))
        ticket = self.admission.request(now, tokens)
        if isinstance(ticket, Ticket):
            self.slots.take()
        return ticket

    async def rest(self, seconds: float) -> None:
        """Wait before another attempt."""
        import asyncio

        with self._stoppable():
            await asyncio.sleep(seconds)

    def stop(self) -> None:
        """Send nothing more: tasks that wait to send, or to send again, are cancelled."""
        self._is_stopped = True
        for task in self._idle:
            task.cancel()

    def close(self) -> None:
        """Release what other processes may be waiting for."""
        self.admission.close()

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let `stop` cancel the task while it is in here."""
        import asyncio

        if self._is_stopped:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        self._idle.add(task)
        try:
            yield
        finally:
            self._idle.discard(task)

    def release(self, ticket: Ticket) -> None:
        """Count a request as ended, however it ended; call it after the lessons of its outcome."""
        self.slots.release()
        self.admission.end(ticket)
        self._wake()

    # Lessons ----------------------------------------------------------------------------------

    def succeeded(
        self, ticket: Ticket, rates: Rates, *, estimate: int, actual: int | None, seconds: float
    ) -> None:
        """Learn from a good answer: its headers, the tokens it counted, how long it took."""
        self.recovered()
        self.retries.succeeded()
        now = self._clock()
        self.admission.answered(now, ticket, rates, estimate, actual)
        self.slots.answered(now, seconds, estimate)
        self._wake()

    def recovered(self) -> None:
        """Treat the endpoint as working again: it has answered."""
        if self.retries.recovered(self._clock()):
            self.slots.restart()
        self._wake()

    def throttled(self, ticket: Ticket, rates: Rates, hint: float | None) -> float:
        """Make every request wait after a 429; return the seconds. A hint is a floor."""
        now = self._clock()
        self.retries.throttled(now, ticket.at)
        self.slots.throttled(now, ticket.at)
        bursts = self.admission.throttled(now, ticket, rates, hint)
        if hint is None:
            delay = self.backoff(bursts, base=2.0, cap=60.0)
        elif bursts <= MAX_TRUSTED_RETRY_AFTER:
            delay = hint * (1 + self._random() / 10)
        else:
            late = bursts - MAX_TRUSTED_RETRY_AFTER
            delay = self.backoff(late, base=2.0, cap=30.0, floor=hint)
        self.admission.pause_until(now + delay)
        return delay

    def failed(self, ticket: Ticket, *, cost: float, overload: bool = False) -> None:
        """Count a failure; after several in a row only one request at a time probes."""
        now = self._clock()
        if overload:
            self.slots.cut(now)
        if not self.retries.failed(now, ticket.at, cost):
            return
        if self.retries.has_succeeded:
            delay = self.retries.probe_seconds * (1 + self._random() / 10)
        else:
            delay = self.backoff(self.tries, base=START_SECONDS, cap=MAX_START_SECONDS)
        self.slots.probe()
        self.retries.pause_until(now + delay)

    @property
    def pause(self) -> float:
        """The seconds for which every request is held back after a failure or a 429."""
        now = self._clock()
        return max(self.retries.paused_until - now, self.admission.pause(now))

    @property
    def failing_seconds(self) -> float:
        """For how long nothing has succeeded."""
        return self.retries.failing_seconds(self._clock())

    def backoff(
        self, attempt: int, *, base: float, cap: float, floor: float | None = None
    ) -> float:
        """Return a delay that doubles with each attempt, half of it random; at least `floor`."""
        delay = float(min(cap, base * 2.0 ** min(max(attempt, 1) - 1, 30)))
        delay = delay / 2 + self._random() * delay / 2
        return delay if floor is None else max(delay, floor * (1 + self._random() / 10))

    def exhausted(self) -> bool:
        """Return whether trouble will have lasted too long when the next request may be sent."""
        return self.retries.is_exhausted(self._clock() + self.pause)

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
