"""Admission: may a request be sent now, as far as rates and the pause after a 429 go.

The clock is the caller's: every method is told the time. `Admission` is the seam at which a
version that several processes share stands in for the one here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from tovec.endpoint.rate_headers import Rates
from tovec.endpoint.rates import MAX_RESET_SECONDS, EndpointRate, OwnRate

MAX_WAIT_SECONDS = 600.0  # that an endpoint may ask for; more is "run again later"
RECHECK_SECONDS = 1.0  # what is learned meanwhile may shorten a wait
MIN_RATIO, MAX_RATIO = 0.25, 4.0  # of the endpoint's count of tokens to our estimate


class Ticket(NamedTuple):
    """The permission to send one request: what it was charged, and when."""

    tokens: float
    at: float
    is_limit_known: bool  # whether the endpoint's limits were known then
    ended: tuple[float, float]  # requests and tokens that had been answered by then


class Admission(Protocol):
    """Admits requests, and learns from what became of them."""

    @property
    def max_tokens(self) -> float | None:
        """The most tokens that any minute has room for; None while no limit is known."""
        ...

    def request(self, now: float, tokens: int) -> Ticket | float:
        """Return a ticket, and count the request as sent; or about how many seconds it must wait.

        A request that waits keeps its turn if it asks again every RECHECK_SECONDS, until it has its
        ticket or withdraws.
        """
        ...

    def withdraw(self) -> None:
        """Give up the turn of the request that waits, if one does."""
        ...

    def end(self, ticket: Ticket) -> None:
        """Count a request as ended, however it ended."""
        ...

    def answered(
        self, now: float, ticket: Ticket, rates: Rates, estimate: int, actual: int | None
    ) -> None:
        """Learn from an answer: its headers, and the tokens that the endpoint counted."""
        ...

    def throttled(self, now: float, ticket: Ticket, rates: Rates, hint: float | None) -> int:
        """Learn from a 429; return how many bursts of them came in a row."""
        ...

    def pause_until(self, then: float) -> None:
        """Admit nothing before `then`."""
        ...

    def pause(self, now: float) -> float:
        """Return the seconds for which nothing is admitted."""
        ...

    def close(self) -> None:
        """Release what is held outside of this process."""
        ...


class LearnedLimits:
    """What an endpoint has said of its limits by headers and by 429s."""

    def __init__(self) -> None:
        self.requests, self.tokens = EndpointRate(), EndpointRate()
        self.paused_until = 0.0
        self.throttles = 0  # bursts of 429s in a row
        self._throttled_at = -1e9

    def wait(self, now: float, tokens: float, requests: float = 1) -> float:
        """Return about how many seconds it takes until the rates have room for so much."""
        return max(self.requests.wait(now, requests), self.tokens.wait(now, tokens))

    def take(self, now: float, tokens: float) -> Ticket:
        """Count a request as sent."""
        self.requests.take(1)
        self.tokens.take(tokens)
        is_known = self.requests.limit is not None or self.tokens.limit is not None
        return Ticket(tokens, now, is_known, (self.requests.ended, self.tokens.ended))

    def end(self, requests: float, tokens: float) -> None:
        """Count requests as ended."""
        self.requests.end(requests)
        self.tokens.end(tokens)

    def learn(self, now: float, ticket: Ticket, rates: Rates) -> None:
        """Learn from headers; those that name no limit may still say that nothing is left."""
        limits = (
            (self.requests, 1.0, ticket.ended[0], rates.limit_requests,
             rates.remaining_requests, rates.reset_requests),
            (self.tokens, ticket.tokens, ticket.ended[1], rates.limit_tokens,
             rates.remaining_tokens, rates.reset_tokens),
        )  # fmt: skip
        for rate, charged, ended, limit, left, reset in limits:
            rate.learn(now, limit, left, reset, charged, ended)
            if limit is None and left == 0 and reset:
                until = now + min(reset, MAX_RESET_SECONDS)
                self.paused_until = max(self.paused_until, until)

    def throttled(self, now: float, ticket: Ticket, rates: Rates, hint: float | None) -> int:
        """Learn from a 429; return how many bursts of them came in a row."""
        if ticket.at > self._throttled_at:  # else it belongs to a burst that is counted already
            self.throttles += 1
            self._throttled_at = now
        self.learn(now, ticket, rates)
        for rate, amount in ((self.requests, 1.0), (self.tokens, ticket.tokens)):
            rate.is_paced = rate.is_paced or ticket.is_limit_known
            rate.refused(now, amount, hint or 0.0)
        return self.throttles

    def export(self) -> list[float]:
        """Return the state as numbers."""
        own = [self.paused_until, float(self.throttles), self._throttled_at]
        return [*own, *self.requests.export(), *self.tokens.export()]

    def restore(self, state: list[float]) -> None:
        """Take over a state that `export` has returned."""
        self.paused_until, throttles, self._throttled_at = state[:3]
        self.throttles = int(throttles)
        middle = 3 + (len(state) - 3) // 2
        self.requests.restore(state[3:middle])
        self.tokens.restore(state[middle:])


class ProcessAdmission:
    """Admission for one process: the user's own limits, and what the endpoint has said."""

    def __init__(self, rpm: float | None = None, tpm: float | None = None) -> None:
        self.limits = LearnedLimits()
        self._own_requests, self._own_tokens = OwnRate(rpm), OwnRate(tpm)
        self._ratio = 1.0  # of the endpoint's count of tokens to our estimate

    @property
    def max_tokens(self) -> float | None:
        """The most tokens that any minute has room for; None while no limit is known."""
        limits = (self._own_tokens.limit, self.limits.tokens.limit)
        known = [limit for limit in limits if limit is not None]
        return min(known) / max(1.0, self._ratio) if known else None

    def request(self, now: float, tokens: int) -> Ticket | float:
        """Return a ticket, or about how many seconds the request must wait."""
        charged = self.charge(tokens)
        rates = max(self.own_wait(now, charged), self.limits.wait(now, charged))
        wait = max(rates, self.limits.paused_until - now)
        return wait if wait > 0 else self.take(now, charged)

    def charge(self, tokens: int) -> float:
        """Return the tokens that the endpoint will probably count."""
        # Where the endpoint says what is left, a low estimate would be the worse mistake.
        has_limit = self.limits.tokens.limit is not None
        return tokens * (max(1.0, self._ratio) if has_limit else self._ratio)

    def own_wait(self, now: float, charged: float) -> float:
        """Return the seconds until the user's own limits have room."""
        return max(self._own_requests.wait(now, 1), self._own_tokens.wait(now, charged))

    def take(self, now: float, charged: float) -> Ticket:
        """Count a request as sent."""
        self._own_requests.take(now, 1)
        self._own_tokens.take(now, charged)
        return self.limits.take(now, charged)

    def withdraw(self) -> None:
        """Do nothing: the governor keeps the order within one process."""

    def end(self, ticket: Ticket) -> None:
        """Count a request as ended."""
        self.limits.end(1, ticket.tokens)

    def answered(
        self, now: float, ticket: Ticket, rates: Rates, estimate: int, actual: int | None
    ) -> None:
        """Learn from an answer."""
        self.limits.throttles = 0
        if actual is not None and estimate > 0:
            seen = min(MAX_RATIO, max(MIN_RATIO, actual / estimate))
            self._ratio += (seen - self._ratio) * 0.2
            self._own_tokens.take(now, actual - ticket.tokens)
        self.limits.learn(now, ticket, rates)

    def throttled(self, now: float, ticket: Ticket, rates: Rates, hint: float | None) -> int:
        """Learn from a 429; return how many bursts of them came in a row."""
        self._own_requests.is_paced = self._own_tokens.is_paced = True
        return self.limits.throttled(now, ticket, rates, hint)

    def pause_until(self, then: float) -> None:
        """Admit nothing before `then`."""
        self.limits.paused_until = max(self.limits.paused_until, then)

    def pause(self, now: float) -> float:
        """Return the seconds for which nothing is admitted."""
        return max(0.0, self.limits.paused_until - now)

    def close(self) -> None:
        """Do nothing: nothing is held outside of this process."""
