"""Blocks through an endpoint over a network: requests overlap, rows leave in input order.

An event loop in a thread of its own sends, receives and puts in order; the generator hands the
blocks to whoever loops over it, in the main thread, which also takes the signals. A loop that is
slow, or a reader that takes nothing, keeps no answer from being received.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import CancelledError
from queue import SimpleQueue

from tovec.errors import Stopped
from tovec.pipeline.background import END_SECONDS, BackgroundLoop
from tovec.pipeline.packing import TARGET_ITEMS
from tovec.pipeline.read_ahead import ReadAhead
from tovec.pipeline.reorder import Finished
from tovec.pipeline.signals import stop_on_signals
from tovec.pipeline.stream import Work
from tovec.records import Answer, Block, Request

PAUSE_SECONDS = 0.05  # without input after which a request goes out as it is
WINDOW_REQUESTS = 4  # full requests that may wait to be taken, beside those that may be under way
MIN_ROWS = 16  # that a request counts for at least: a task takes memory too
MAX_UNTAKEN_BLOCKS = 2
LAST_WRITE_SECONDS = 1.0  # for what is left to be written when a signal has stopped a run


def embed_over_network(
    work: Work, background: BackgroundLoop, concurrency: int, *, takes_signals: bool = True
) -> Generator[Finished, None, None]:
    """Yield blocks with up to `concurrency` requests under way.

    Raises Stopped at a signal, where the run `takes_signals`, and what ended it early, after the
    blocks that were answered.
    """
    flow = _Flow(work, background.loop, concurrency)
    with stop_on_signals(flow.stop_at, wanted=takes_signals) as signals:
        running = asyncio.run_coroutine_threadsafe(flow.run(), background.loop)
        try:
            while isinstance(item := flow.finished.get(), Finished):
                yield item
                flow.taken()
        finally:
            flow.stop()
            with contextlib.suppress(TimeoutError, CancelledError):
                running.result(END_SECONDS)
    if signals:
        raise Stopped(signals[0])
    if item.error is not None:
        raise item.error


class _End:
    """The end of a run, and what ended it early."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Flow:
    """Requests under way, and answers on their way out, in input order."""

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop, concurrency: int) -> None:
        self.finished: SimpleQueue[Finished | _End] = SimpleQueue()
        self._work, self._loop = work, loop
        self._window = _Window((WINDOW_REQUESTS + concurrency) * TARGET_ITEMS)
        self._unfinished: deque[tuple[Request, asyncio.Task[Answer]]] = deque()
        self._ready: deque[Finished] = deque()
        self._more: asyncio.Queue[bool] = asyncio.Queue()  # one more in _unfinished, or no more
        self._untaken = asyncio.Semaphore(MAX_UNTAKEN_BLOCKS)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._is_over = False  # whether nobody takes blocks any more

    def taken(self) -> None:
        """Make room for one more block. For any thread."""
        self._loop.call_soon_threadsafe(self._untaken.release)

    def stop(self) -> None:
        """Cancel what is under way. For any thread."""
        self._is_over = True
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._cancel)

    def stop_at(self, signal_number: int) -> None:
        """Cancel what is under way, and remind the main thread when it takes too long to end.

        For a signal's handler.
        """
        self._stopped = True
        self._loop.call_soon_threadsafe(self._cancel)
        self._loop.call_soon_threadsafe(
            self._loop.call_later, LAST_WRITE_SECONDS, self._remind, signal_number
        )

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _remind(self, signal_number: int) -> None:
        """Send the signal again: a reader that takes nothing is not waited for."""
        if not self._is_over:
            signal.pthread_kill(threading.main_thread().ident or 0, signal_number)

    async def run(self) -> None:
        """Embed everything; what ends it early is handed over last."""
        self._task = asyncio.current_task()
        error: BaseException | None = None
        try:
            if self._stopped or self._is_over:
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send_all(group))
                group.create_task(self._hand_over_all())
        except BaseException as failed:  # noqa: BLE001 - raised again where the blocks are taken
            error = _first(failed)
            self._hand_over_rest()
        finally:
            self.finished.put(_End(error))

    async def _send_all(self, group: asyncio.TaskGroup) -> None:
        work, source = self._work, ReadAhead(self._work.blocks)
        while True:
            block = await source.next(PAUSE_SECONDS if len(work.packer) else None)
            if isinstance(block, Block):
                prepared = work.prepare(block)
                work.assembly.expect(prepared)
                requests = work.packer.add(prepared.inputs)
            else:
                requests = work.packer.flush()
            for request in requests:
                await self._window.enter(len(request))
                answer = group.create_task(work.embedder.embed(request))
                self._unfinished.append((request, answer))
                self._more.put_nowait(True)
            if block is None:
                break
        self._more.put_nowait(False)

    async def _hand_over_all(self) -> None:
        while await self._more.get():
            request, task = self._unfinished[0]
            answer = await task
            self._unfinished.popleft()
            self._ready.extend(self._work.assembly.fill(answer, len(request)))
            while self._ready:
                await self._untaken.acquire()
                self.finished.put(self._ready.popleft())
            self._window.leave(len(request))

    def _hand_over_rest(self) -> None:
        """Hand over what was answered when something stopped the run, as far as it is in order."""
        while self._unfinished and _has_answer(self._unfinished[0][1]):
            request, task = self._unfinished.popleft()
            self._ready.extend(self._work.assembly.fill(task.result(), len(request)))
        for finished in self._ready:
            self.finished.put(finished)
        if self._work.keep_partial and (part := self._work.assembly.partial()):
            self.finished.put(part)


def _has_answer(task: asyncio.Task[Answer]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _first(failed: BaseException) -> BaseException:
    """Return the first cause: what came after it came because of it."""
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]
    return failed


class _Window:
    """Room for rows that are under way or wait to be taken in their order.

    In rows, because they are what takes memory: where requests are small, many more of them may
    overtake one that is being retried.
    """

    def __init__(self, rows: int) -> None:
        self._most = self._free = rows
        self._changed = asyncio.Event()

    async def enter(self, rows: int) -> None:
        """Wait until there is room; for one task at a time."""
        rows = self._counted(rows)
        while self._free < rows:
            self._changed.clear()
            await self._changed.wait()
        self._free -= rows

    def leave(self, rows: int) -> None:
        """Make the room free again."""
        self._free += self._counted(rows)
        self._changed.set()

    def _counted(self, rows: int) -> int:
        return min(max(rows, MIN_ROWS), self._most)
