"""Requests for what a job's store lacks: under way, stored, and ended in good order.

Blocks are read ahead, keyed and looked up; what is not stored and not under way is packed and
sent. Nothing of a row is held but its key. When something ends the run, nothing more is sent, and
what is under way has a few seconds to be stored: it is paid for. Under a limit of tokens, a request
is sent when the limit has room for it, and so is each further attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tovec.batch.budget import Budget, NoRoom
from tovec.errors import Stopped
from tovec.pipeline.dispatch import Store
from tovec.pipeline.packing import Packer
from tovec.pipeline.read_ahead import ReadAhead
from tovec.pipeline.reorder import Prepared
from tovec.pipeline.signals import handle_signals
from tovec.records import Answer, Block, Inputs, Request
from tovec.store.content_keys import keys_of
from tovec.store.index import ASKED
from tovec.store.job import Job

DRAIN_SECONDS = 10.0  # seconds that answers under way have to be stored when a run is stopped
MAX_COMPARED = 64  # stored inputs among which a short one is looked for
REQUESTS_AHEAD = 4  # requests that are ready beside those under way

Prepare = Callable[[Block], Prepared]
OnBlock = Callable[[int, int, int], None]
"""Called before a block's inputs are sent with the inputs in it, how many of them are asked for,
and how many an earlier run had stored."""


class Dispatcher(Protocol):
    """What has requests answered: `pipeline.dispatch.Dispatcher`."""

    async def embed(self, request: Request, store: Store) -> Answer:
        """Return the answer to one request; `store` is handed each part of it as it comes."""
        ...

    def remember(self, one: str | list[int]) -> None:
        """Take an input that had its vector in an earlier run as one that the endpoint accepts."""
        ...

    def stop(self) -> None:
        """Cancel what waits to be sent, or to be sent again; what is under way goes on."""
        ...


class Keep(Protocol):
    """What stores answers: `batch.commit.GroupCommit`."""

    async def store(
        self, ordinals: NDArray[np.int64], start: int, part: Request, answer: Answer
    ) -> None:
        """Store the answer to a part of a request whose inputs have these ordinals."""
        ...


class Lacking(NamedTuple):
    """Inputs that the store lacks, and their ordinals there."""

    request: Request
    ordinals: NDArray[np.int64]


class Gather:
    """One run's requests: what is under way, and what ended it."""

    def __init__(
        self,
        job: Job,
        dispatcher: Dispatcher,
        packer: Packer,
        keep: Keep,
        *,
        concurrency: int,
        budget: Budget,
        on_block: OnBlock = lambda _inputs, _asked, _reused: None,
        drain: float = DRAIN_SECONDS,
    ) -> None:
        self._job, self._dispatcher, self._packer, self._keep = job, dispatcher, packer, keep
        self._budget, self._on_block = budget, on_block
        self._concurrency, self._drain = concurrency, drain
        self._ordinals: deque[NDArray[np.int64]] = deque()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._short: set[asyncio.Task[Any] | None] = set()  # tasks that wait for tokens
        self._end: asyncio.Future[None] | None = None
        self._knows_good = False  # whether the dispatcher was given an input of an earlier run

    async def run(self, blocks: Iterator[Block], prepare: Prepare) -> None:
        """Ask for what is lacking; raises what ended the run early, after the drain."""
        self._end = asyncio.get_running_loop().create_future()
        self._room = asyncio.Semaphore(self._concurrency + REQUESTS_AHEAD)
        feeding: asyncio.Future[None] = asyncio.ensure_future(self._feed(blocks, prepare))
        with handle_signals(self._signalled):
            await _first(feeding, self._end)
            if not self._end.done():
                if (error := feeding.exception()) is not None:
                    self._fail(error)
                elif self._under_way:
                    everything = asyncio.gather(*self._under_way, return_exceptions=True)
                    await _first(everything, self._end)
            if self._end.done():
                feeding.cancel()
                await self._let_go()
                self._end.result()  # raises what ended the run

    async def _feed(self, blocks: Iterator[Block], prepare: Prepare) -> None:
        source = ReadAhead(blocks)
        while isinstance(block := await source.next(), Block):
            inputs = prepare(block).inputs
            ordinals, wanted, inherited = self._job.look_up(keys_of(inputs, self._job.digest))
            self._remember(inputs, inherited)
            if len(wanted) < len(inputs):
                inputs = [inputs[i] for i in wanted.tolist()]
            self._ordinals.append(ordinals[wanted])
            self._on_block(len(ordinals), len(wanted), int(inherited.sum()))
            await self._send(self._packer.add(inputs))
        await self._send(self._packer.flush())

    def _remember(self, inputs: Inputs, inherited: NDArray[np.bool_]) -> None:
        """Have a short input remembered that had its vector in an earlier run, if there is one."""
        if not self._knows_good and inherited.any():
            some = np.flatnonzero(inherited)[:MAX_COMPARED].tolist()
            self._dispatcher.remember(min((inputs[i] for i in some), key=len))
            self._knows_good = True

    async def _send(self, requests: list[Request]) -> None:
        for request in requests:
            await self._room.acquire()
            lacking = Lacking(request, self._next(len(request)))
            reserved = await self._reserve(request)
            task = asyncio.ensure_future(self._ask(lacking, reserved))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    async def _reserve(self, request: Request) -> int:
        """Set a request's tokens aside once there is room for them; return how many.

        Requests under way give back what they were counted too high. Raises PersonError where
        none is under way that could.
        """
        budget, task = self._budget, asyncio.current_task()
        if budget.limit is None:
            return 0
        tokens = budget.count(request.inputs)
        self._short.add(task)
        try:
            while not budget.reserve(tokens):
                others = self._under_way - self._short
                if not others:
                    raise budget.spent_error()
                await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._short.discard(task)
        await budget.store_exposure()
        return tokens

    async def _ask(self, lacking: Lacking, reserved: int) -> None:
        """Have a request answered and stored, with as many attempts as the limit has room for."""
        while len(lacking.request):
            with contextlib.suppress(NoRoom), self._budget.exchange(lacking.request, reserved):
                store = partial(self._keep.store, lacking.ordinals)
                await self._dispatcher.embed(lacking.request, store)
                return
            lacking = self._what_is_left(lacking)
            reserved = await self._reserve(lacking.request)

    def _what_is_left(self, lacking: Lacking) -> Lacking:
        """Return the part of a request that is neither stored nor refused."""
        request = lacking.request
        left = np.flatnonzero(self._job.index.places(lacking.ordinals) == ASKED)
        inputs: Inputs = [request.inputs[i] for i in left.tolist()]  # type: ignore[assignment]
        tokens = -(-request.tokens * len(left) // len(request))
        return Lacking(Request(inputs, tokens), lacking.ordinals[left])

    def _next(self, count: int) -> NDArray[np.int64]:
        """Return the ordinals of the next `count` inputs: requests keep the order of inputs."""
        parts, missing = [], count
        while missing:
            first = self._ordinals.popleft()
            if len(first) > missing:
                self._ordinals.appendleft(first[missing:])
            parts.append(first[:missing])
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        assert self._end is not None
        if not self._end.done():
            self._end.set_exception(error)
            self._end.exception()  # asked for, whether or not it is raised in the end

    def _signalled(self, number: int) -> None:
        """End the run at the first signal; at the second, at once."""
        assert self._end is not None
        if self._end.done():
            raise Stopped(number)
        self._fail(Stopped(number))

    async def _let_go(self) -> None:
        self._dispatcher.stop()
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=self._drain)
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(set(self._under_way))


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
