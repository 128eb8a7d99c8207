"""Requests to answers: whole where the endpoint takes them so, else in parts, down to one input."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import numpy as np

from tovec.endpoint import capacity, retry
from tovec.endpoint.address import shown
from tovec.endpoint.client import Client, Outgrown, Rejected
from tovec.endpoint.outcomes import Reject, Step, Stop, Tally
from tovec.errors import PersonError
from tovec.events import Note, Observer, Refused, Split
from tovec.records import Answer, Limits, Request, Usage
from tovec.wording import count_phrase

Store = Callable[[int, Request, Answer], Awaitable[None]]
"""Stores the answer to a part of a request, which begins at its input of that number."""


async def store_nothing(_start: int, _part: Request, _answer: Answer) -> None:
    """Leave an answer to whoever asked for it."""


class Dispatcher:
    """Has requests answered by a client, divided where it refuses them.

    An input that is refused by itself is in the answer's `refused`. While nothing has succeeded, it
    may be the settings that are refused: such answers are stored after a success, or by `settle`.
    """

    def __init__(self, client: Client, observer: Observer) -> None:
        self._client, self._observe = client, observer
        self._tally = Tally(0, 0)
        self._unsettled: list[Callable[[], Awaitable[None]]] = []  # store refusals

    async def embed(self, request: Request, store: Store = store_nothing) -> Answer:
        """Return the answer to a request.

        `store` is handed each answer as it comes, before its place among the requests under way
        is free: what is answered and not stored is never more than what may be under way.
        Raises PersonError or LaterError when the endpoint cannot be used (any more).
        """
        return await self._part(request, 0, store)

    def remember(self, one: str | list[int]) -> None:
        """Take an input that had its vector in an earlier run as one that the endpoint accepts."""
        self._client.remember(one)

    def check_accepted(self) -> None:
        """Raise PersonError where all requests were refused, for one reason that names no input."""
        stop = retry.conclude(self._tally._replace(successes=self._client.tally.successes))
        if stop is not None:
            raise self._stopped(stop)

    async def settle(self) -> None:
        """Store what is not stored yet, once all requests are through; see `check_accepted`."""
        self.check_accepted()
        while self._unsettled:
            await self._unsettled.pop()()

    def stop(self) -> None:
        """Cancel what waits to be sent, or to be sent again; what is under way goes on."""
        self._client.stop()

    async def _part(self, request: Request, start: int, store: Store) -> Answer:
        client = self._client
        try:
            if not client.fits(request):
                raise Outgrown
            async with client.answer(request) as answer:
                await self._stored(start, request, answer, store)
                if self._unsettled:
                    await self.settle()
                return answer
        except Outgrown:
            if len(request) > 1:
                return await self._in_parts(request, start, store)
            tokens = count_phrase(request.tokens, "token")
            why = f"it needs about {tokens}, more than the limit per minute"
            is_settled = True
        except Rejected as rejected:
            why = rejected.why.reason
            if self._judge(request, rejected.why) is Step.DIVIDE:
                cause, maybe_paid = rejected.why.cause, rejected.why.maybe_paid
                self._observe(Split(len(request), cause, maybe_paid, request.tokens))
                return await self._in_parts(request, start, store)
            self._observe(Refused(why))
            is_settled = rejected.why.too_large or client.tally.successes > 0
        nothing = np.empty((0, client.dialect.dimensions or 0), np.float32)
        alone = Answer(nothing, client.dialect.model or "", Usage(), (), (), ((0, why),))
        if is_settled:
            await self._stored(start, request, alone, store)
        else:
            self._unsettled.append(partial(self._stored, start, request, alone, store))
        return alone

    async def _stored(self, start: int, part: Request, answer: Answer, store: Store) -> None:
        try:
            await store(start, part, answer)
        except Exception:
            self._client.stop()  # what cannot be stored must not be asked for (fault 100)
            raise

    async def _in_parts(self, request: Request, start: int, store: Store) -> Answer:
        works: list[Coroutine[Any, Any, Answer]] = []
        sizes: list[int] = []
        for part in parts(request, self._client.limits):
            works.append(self._part(part, start + sum(sizes), store))
            sizes.append(len(part))
        return joined(await _all(works), sizes)

    def _judge(self, request: Request, why: Reject) -> Step:
        """Return what becomes of a rejected request; raises where they have become too many."""
        client = self._client
        if why.too_large and len(request) > 1:
            self._learn_limit(request, why.words)
        tally = self._tally._replace(successes=client.tally.successes, sent=client.tally.sent)
        step, self._tally = retry.judge(why, len(request), tally)
        if isinstance(step, Stop):
            raise self._stopped(step)
        return step

    def _stopped(self, stop: Stop) -> PersonError:
        return PersonError(stop.what, where=shown(self._client.endpoint.url), hint=stop.hint)

    def _learn_limit(self, request: Request, words: str) -> None:
        learned, what = capacity.learned(request, self._client.limits, words)
        if learned != self._client.limits:
            self._client.limits = learned
            self._observe(Note(f"the endpoint takes {what} in one request", "info"))


async def _all(works: list[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Return what all works return: side by side in an event loop, else one after the other."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return [await work for work in works]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None  # what came after came because of it
    return [task.result() for task in tasks]


def parts(request: Request, limits: Limits) -> list[Request]:
    """Return the parts of a request that is too large: as many inputs as may be, or its halves."""
    size, most = len(request), limits.items
    step = most if most is not None and most < size else -(-size // 2)
    weights = [len(one) for one in request.inputs]
    whole = sum(weights) or 1
    return [
        Request(
            request.inputs[start : start + step],
            max(1, request.tokens * sum(weights[start : start + step]) // whole),
        )
        for start in range(0, size, step)
    ]


def joined(answers: list[Answer], sizes: list[int]) -> Answer:
    """Return the answers to consecutive parts of a request as one."""
    kept: list[int] = []
    refused: list[tuple[int, str]] = []
    before = 0
    for part, size in zip(answers, sizes, strict=True):
        places = range(size) if part.kept is None else part.kept
        kept += [before + place for place in places]
        refused += [(before + place, why) for place, why in part.refused]
        before += size
    filled = [part.vectors for part in answers if len(part.vectors)] or [answers[0].vectors]
    usages = [part.usage.prompt_tokens for part in answers]
    total = None if None in usages else sum(u for u in usages if u is not None)
    return Answer(
        np.concatenate(filled),
        next((part.model for part in answers if part.model), ""),
        Usage(total, total),
        tuple(name for part in answers for name in part.request_ids),
        None if len(kept) == before else tuple(kept),
        tuple(refused),
    )
