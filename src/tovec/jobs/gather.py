"""The first half of a batch: ask for every vector that the store lacks.

Blocks are read ahead, keyed and looked up; what is not stored and not under way is packed and
sent. Nothing of a row is held but its key. When something ends the run, nothing more is sent, and
what is under way has a few seconds to be stored: it is paid for.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tovec.errors import Stopped
from tovec.jobs.assembly import Prepared
from tovec.jobs.budget import Budget
from tovec.jobs.packing import Packer
from tovec.jobs.stream import Embedder, ReadAhead
from tovec.records import Answer, Block, Request
from tovec.store.job import Job
from tovec.store.keys import keys_of

DRAIN = 10.0  # seconds that answers under way have to be stored when a run is stopped
AHEAD = 4  # requests that are ready beside those under way
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Prepare = Callable[[Block], Prepared]
OnBlock = Callable[[int, int, int], None]
"""Called after each block with the inputs in it, how many of them are asked for, and how many
an earlier run had stored."""


class Stoppable(Embedder, Protocol):
    """An embedder that can be told to send nothing more."""

    def stop(self) -> None:
        """Cancel what waits to be sent, or to be sent again; what is under way goes on."""
        ...


class Gather:
    """One run's requests: what is under way, and what ended it."""

    def __init__(
        self,
        job: Job,
        client: Stoppable,
        packer: Packer,
        *,
        concurrency: int,
        budget: Budget | None = None,
        on_block: OnBlock = lambda _inputs, _asked, _reused: None,
        drain: float = DRAIN,
    ) -> None:
        self._job, self._client, self._packer = job, client, packer
        self._budget, self._on_block = budget, on_block
        self._concurrency, self._drain = concurrency, drain
        self._ordinals: deque[NDArray[np.int64]] = deque()
        self._under_way: set[asyncio.Task[Answer]] = set()
        self._end: asyncio.Future[None] | None = None

    async def run(self, blocks: Iterator[Block], prepare: Prepare) -> None:
        """Ask for what is lacking; raises what ended the run early, after the drain."""
        self._end = asyncio.get_running_loop().create_future()
        self._room = asyncio.Semaphore(self._concurrency + AHEAD)
        feeding: asyncio.Future[None] = asyncio.ensure_future(self._feed(blocks, prepare))
        with _signals(self._signalled):
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
        while isinstance(block := await source.next(None), Block):
            inputs = prepare(block).inputs
            ordinals, wanted, inherited = self._job.look_up(keys_of(inputs, self._job.digest))
            if len(wanted) < len(inputs):
                inputs = [inputs[i] for i in wanted.tolist()]
            self._ordinals.append(ordinals[wanted])
            await self._send(self._packer.add(inputs))
            self._on_block(len(ordinals), len(wanted), int(inherited.sum()))
        await self._send(self._packer.flush())

    async def _send(self, requests: list[Request]) -> None:
        for request in requests:
            await self._room.acquire()
            placed = Request(request.inputs, request.tokens, self._next(len(request)))
            reserved = 0
            if self._budget is not None:
                reserved = self._budget.most(placed)
                while not self._budget.reserve(reserved):
                    if not self._under_way:
                        raise self._budget.spent_error()
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.ensure_future(self._client.embed(placed))
            self._under_way.add(task)
            task.add_done_callback(partial(self._ended, reserved))

    def _next(self, count: int) -> NDArray[np.int64]:
        """Give the ordinals of the next `count` inputs: requests keep the order of inputs."""
        parts, missing = [], count
        while missing:
            first = self._ordinals.popleft()
            if len(first) > missing:
                self._ordinals.appendleft(first[missing:])
            parts.append(first[:missing])
            missing -= len(parts[-1])
        return np.concatenate(parts)

    def _ended(self, reserved: int, task: asyncio.Task[Answer]) -> None:
        self._under_way.discard(task)
        self._room.release()
        if self._budget is not None:
            answer = None if task.cancelled() or task.exception() else task.result()
            self._budget.settle(reserved, answer.usage.prompt_tokens if answer else reserved)
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
        self._client.stop()
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=self._drain)
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(set(self._under_way))


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


@contextlib.contextmanager
def _signals(call: Callable[[int], Any]) -> Iterator[None]:
    """Have `call` take the signals that end a run, but for those that are ignored (nohup)."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    try:
        for number in taken:
            loop.add_signal_handler(number, call, number)
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
