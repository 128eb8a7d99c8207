"""What a job may spend, over all its runs: tokens are set aside before a call can be billed.

A request is counted beforehand with the most tokens that it can have (exactly, where the model's
tokenizer is known; else its bytes, which are never fewer), and corrected by what the endpoint's
usage says. `Metered` watches the wire, because only there every attempt is seen: those that are
retried, those that a stop cuts off, and the ones that only try whether the endpoint is alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property

from tovec.endpoint import wire
from tovec.endpoint.refusal import TransportFailure, classify
from tovec.endpoint.transport import Call, Reply, Transport
from tovec.errors import PersonError
from tovec.pipeline.packing import utf8_bytes
from tovec.records import Inputs, Request
from tovec.wording import count_phrase

CountBatch = Callable[[list[str]], list[int]]

_UNBILLED = ("not_sent", "fatal")  # kinds of TransportFailure: the request was not sent whole


async def _store_nothing(_tokens: int) -> None:
    pass


class NoRoom(Exception):  # noqa: N818 - control flow between Metered and gather
    """Raised before another attempt of a request, for which the limit has no room now."""


class Budget:
    """The tokens of a job: at most `limit`, if there is one; `because` names what set it.

    `spent` were counted for answers that are stored. `unanswered` may have been billed for
    attempts that have no stored answer. `reserved` are set aside for requests under way.
    `store_exposure` stores, before anything is sent, how many tokens could be billed without an
    answer: a run that is killed leaves no other trace of them. That is done under a limit only.
    """

    def __init__(
        self,
        limit: int | None = None,
        spent: int = 0,
        unanswered: int = 0,
        because: str = "",
        count: CountBatch | None = None,
        *,
        store_exposure: Callable[[int], Awaitable[None]] = _store_nothing,
    ) -> None:
        self.limit, self.spent, self.unanswered = limit, spent, unanswered
        self.reserved = 0
        self._because, self._count = because, count
        self._store_exposure = store_exposure
        self._exposure = unanswered  # as it is stored
        self._storing = asyncio.Lock()

    def count(self, inputs: Inputs) -> int:
        """Return the most tokens that the endpoint can count for inputs."""
        return sum(token_counts(inputs, self._count))

    def reserve(self, tokens: int) -> bool:
        """Set tokens aside, if there are so many left."""
        if self.limit is None:
            return True
        if self.spent + self.unanswered + self.reserved + tokens > self.limit:
            return False
        self.reserved += tokens
        return True

    async def store_exposure(self) -> None:
        """Return when what may be billed without an answer is stored."""
        async with self._storing:
            exposure = self.unanswered + self.reserved
            if self.limit is not None and exposure > self._exposure:
                await self._store_exposure(exposure)
                self._exposure = exposure

    @contextmanager
    def exchange(self, request: Request, reserved: int) -> Iterator[None]:
        """Account for every call that is made for a request in this context."""
        exchange = Exchange(self, request, reserved)
        before = _EXCHANGE.set(exchange)
        try:
            yield
        finally:
            _EXCHANGE.reset(before)
            exchange.settle()

    def spent_error(self) -> PersonError:
        """Return the error that ends a run before it would exceed its limit."""
        lost = f", {self.unanswered:,} more may have been billed for attempts without an answer"
        return PersonError(
            f"{self._because} is reached: {count_phrase(self.spent, 'token')} spent"
            f"{lost if self.unanswered else ''}; the next request would exceed it",
            hint="what was received is stored; raise the limit and run the same command again",
        )


class Exchange:
    """The calls of one request, its parts and its retries: what each may have been billed.

    The common case, one call and its answer, counts nothing again.
    """

    def __init__(self, budget: Budget, request: Request, reserved: int) -> None:
        self._budget, self._request = budget, request
        self._tokens = self._reserved = reserved
        self._bills: list[_Bill] = []  # calls under way, and those that may have been billed
        self._stored: list[Request] = []  # parts whose answers are stored
        self._settled = False

    async def send(self, call: Call, transport: Transport) -> Reply:
        """Carry a call. Raises NoRoom where it could be billed beyond the limit."""
        bill = _Bill(self._budget, call.body)
        self._bills.append(bill)
        try:
            await self._make_room()
        except BaseException:
            self._bills.remove(bill)
            raise
        try:
            reply = await transport.send(call)
        except TransportFailure as failure:
            if failure.kind in _UNBILLED:
                self._bills.remove(bill)
            raise
        if not _may_be_billed(reply):
            self._bills.remove(bill)
        return reply

    async def _make_room(self) -> None:
        budget = self._budget
        if budget.limit is None or len(self._bills) == 1:
            return  # a request's first call is within what was set aside for it
        stored = sum(budget.count(one.inputs) for one in self._stored)
        lacking = sum(one.tokens for one in self._bills) - stored - self._reserved
        if lacking > 0:
            if not budget.reserve(lacking):
                raise NoRoom
            self._reserved += lacking
            await budget.store_exposure()

    def store(self, request: Request, tokens: int) -> None:
        """Take note that an answer is stored, and of the tokens that it took."""
        budget = self._budget
        budget.spent += tokens
        self._stored.append(request)
        if self._settled:  # its task was cancelled while the answer was on its way to the disk
            budget.unanswered = max(0, budget.unanswered - budget.count(request.inputs))
        elif budget.limit is not None:
            whole = len(request) == len(self._request)
            self._free(self._tokens if whole else budget.count(request.inputs))

    def settle(self) -> None:
        """End the request: what may have been billed without a stored answer is not free again."""
        budget = self._budget
        self._free(self._reserved)
        self._settled = True
        stored = sum(len(one) for one in self._stored)
        if self._bills and (len(self._bills) > 1 or stored < len(self._request)):
            answered = sum(budget.count(one.inputs) for one in self._stored)
            budget.unanswered += max(0, sum(one.tokens for one in self._bills) - answered)

    def _free(self, tokens: int) -> None:
        self._reserved -= tokens
        if self._budget.limit is not None:
            self._budget.reserved -= tokens


class _Bill:
    """A call that may be billed; its tokens are counted when somebody asks."""

    def __init__(self, budget: Budget, body: bytes) -> None:
        self._budget, self._body = budget, body

    @cached_property
    def tokens(self) -> int:
        """The most tokens that the endpoint can count for it."""
        import orjson

        return self._budget.count(orjson.loads(self._body)["input"])


_EXCHANGE: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def current_exchange() -> Exchange | None:
    """Return the exchange for whose request the running task works."""
    return _EXCHANGE.get()


class Metered:
    """A transport that accounts for each call to the exchange of its request, if it has one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, call: Call) -> Reply:
        """Carry one call to its end."""
        exchange = _EXCHANGE.get()
        if exchange is None or call.method != "POST":
            return await self._transport.send(call)
        return await exchange.send(call, self._transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()


def _may_be_billed(reply: Reply) -> bool:
    if reply.status == 200 and not wire.error_of(reply.body):
        return True
    # Whether the endpoint advises to try again says nothing of what it bills.
    headers = {name: one for name, one in reply.headers.items() if name != "x-should-retry"}
    return classify(reply._replace(headers=headers)).rule.maybe_paid


def token_counts(inputs: Inputs, count: CountBatch | None) -> list[int]:
    """Return each input's tokens: exactly with `count`, else its bytes, which are never fewer."""
    if inputs and not isinstance(inputs[0], str):
        return [len(one) for one in inputs]
    texts: list[str] = inputs  # type: ignore[assignment]
    return utf8_bytes(texts) if count is None else count(texts)
