"""`embed`: rows stream from their source through the endpoint to a writer, in input order.

A request goes out when it is full, or when the input has paused, so that it works under
`tail -f`. Over a network, requests overlap and answers are put back in order within a bounded
window; in this process there is nothing to wait for, and no event loop is even imported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tovec.pipeline.packing import TARGET_ITEMS, Packer
from tovec.pipeline.reorder import Assembly, Finished, Prepared
from tovec.records import Answer, Block, Request

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from tovec.pipeline.connect import Connection

PAUSE = 0.05  # seconds without input after which a request goes out as it is
READ_AHEAD = 4  # blocks
WINDOW = 4  # full requests that may wait to be written, beside those that may be under way
LEAST = 16  # rows that a request counts for at least: a task takes memory too
LAST_WRITE_SECONDS = 1.0  # for a reader to take what is left when a run stops

T = TypeVar("T")
Prepare = Callable[[Block], Prepared]
Write = Callable[[Finished], None]


class Embedder(Protocol):
    """What turns a request into vectors: `endpoint.client.Client`."""

    async def embed(self, request: Request) -> Answer:
        """Give the answer to one request, after whatever retries it takes."""
        ...


def through(
    connection: Connection,
    blocks: Iterator[Block],
    prepare: Prepare,
    packer: Packer,
    write: Write,
    *,
    keep_partial: bool = False,
) -> None:
    """Embed blocks through a connection, in this process or over a network, and close it.

    When something stops it, every block that is answered whole has been written; with
    `keep_partial`, so have the first rows of the next block, as far as they are answered.
    """
    client = connection.client
    if connection.provider.in_process:
        in_process(blocks, prepare, packer, client, write)
        return
    import asyncio

    async def and_close() -> None:
        try:
            await over_network(
                blocks, prepare, packer, client, write, connection.concurrency,
                keep_partial=keep_partial,
            )  # fmt: skip
        finally:
            await client.close()

    asyncio.run(and_close())


def in_process(
    blocks: Iterator[Block], prepare: Prepare, packer: Packer, client: Embedder, write: Write
) -> None:
    """Embed blocks as they come, with a client that never waits for anything."""
    assembly = Assembly()

    def send(requests: list[Request]) -> None:
        for request in requests:
            for finished in assembly.fill(drive(client.embed(request)), len(request)):
                write(finished)

    for block in blocks:
        prepared = prepare(block)
        assembly.expect(prepared)
        send(packer.add(prepared.inputs))
        # A request costs nothing here, so what a pipe has delivered is answered at once.
        send(packer.flush())


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, without an event loop (asyncio takes 40 ms to load)."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError("an in-process request waited for something")


async def over_network(
    blocks: Iterator[Block],
    prepare: Prepare,
    packer: Packer,
    client: Embedder,
    write: Write,
    concurrency: int,
    *,
    keep_partial: bool = False,
) -> None:
    """Embed blocks with up to `concurrency` requests under way, rows written in input order."""
    import asyncio

    from tovec.errors import Stopped
    from tovec.pipeline.signals import handle_signals

    task = asyncio.current_task()
    assert task is not None
    signals: list[int] = []

    def stop(number: int) -> None:
        if signals:
            raise Stopped(number)
        signals.append(number)
        task.cancel()

    flow = _Flow(blocks, prepare, packer, client, write, concurrency)
    with handle_signals(stop):
        try:
            await flow.run()
        except BaseException as failed:
            await flow.write_rest(keep_partial=keep_partial)
            if signals:
                raise Stopped(signals[0]) from None
            if isinstance(failed, BaseExceptionGroup):
                raise _first(failed) from None
            raise


class _Flow:
    """Requests under way, and answers on their way to the writer, in input order."""

    def __init__(
        self,
        blocks: Iterator[Block],
        prepare: Prepare,
        packer: Packer,
        client: Embedder,
        write: Write,
        concurrency: int,
    ) -> None:
        import asyncio

        self._blocks, self._prepare, self._packer = blocks, prepare, packer
        self._client = client
        self._assembly = Assembly()
        self._writer = _Writer(write)
        self._window = _Window((WINDOW + concurrency) * TARGET_ITEMS)
        self._unwritten: deque[tuple[Request, asyncio.Task[Answer]]] = deque()
        self._ready: deque[Finished] = deque()
        self._more: asyncio.Queue[bool] = asyncio.Queue()  # one more in _unwritten, or no more

    async def run(self) -> None:
        """Embed and write everything."""
        import asyncio

        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_all(group))
            group.create_task(self._write_all())
        self._writer.close()

    async def write_rest(self, *, keep_partial: bool) -> None:
        """Write what was answered when something stopped the run, as far as it goes in order.

        A reader that takes nothing is not waited for, nor is anything written after a failure.
        """
        while self._unwritten and _has_answer(self._unwritten[0][1]):
            request, task = self._unwritten.popleft()
            self._ready.extend(self._assembly.fill(task.result(), len(request)))
        rest = list(self._ready)
        part = self._assembly.partial() if keep_partial else None
        await self._writer.write_last(rest if part is None else [*rest, part])

    async def _send_all(self, group: asyncio.TaskGroup) -> None:
        source, packer = ReadAhead(self._blocks), self._packer
        while True:
            block = await source.next(PAUSE if len(packer) else None)
            if isinstance(block, Block):
                prepared = self._prepare(block)
                self._assembly.expect(prepared)
                requests = packer.add(prepared.inputs)
            else:
                requests = packer.flush()
            for request in requests:
                await self._window.enter(len(request))
                answer = group.create_task(self._client.embed(request))
                self._unwritten.append((request, answer))
                self._more.put_nowait(True)
            if block is None:
                break
        self._more.put_nowait(False)

    async def _write_all(self) -> None:
        while await self._more.get():
            request, task = self._unwritten[0]
            answer = await task
            self._unwritten.popleft()
            self._ready.extend(self._assembly.fill(answer, len(request)))
            while self._ready:
                await self._writer.write(self._ready.popleft())
            self._window.leave(len(request))


def _has_answer(task: asyncio.Task[Answer]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


class _Writer:
    """Writes in one thread, so that its memory is used again; a write is never broken off."""

    def __init__(self, write: Write) -> None:
        from concurrent.futures import Future, ThreadPoolExecutor

        self._write = write
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] = Future()
        self._last.set_result(None)

    async def write(self, finished: Finished) -> None:
        """Write rows; raises what the write raises. The write outlives a cancelled task."""
        self._last = self._thread.submit(self._write, finished)
        await _ended(self._last)
        self._last.result()

    async def write_last(self, rest: list[Finished]) -> None:
        """Write what is left after the write under way, unless it fails or takes too long."""
        import asyncio

        last = self._thread.submit(self._write_in_order, self._last, rest)
        await asyncio.wait({asyncio.ensure_future(_ended(last))}, timeout=LAST_WRITE_SECONDS)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write_in_order(self, before: Future[None], rest: list[Finished]) -> None:
        if before.exception() is None:
            for finished in rest:
                self._write(finished)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


async def _ended(work: Future[None]) -> None:
    """Return when a thread's work has ended, however it ended."""
    import asyncio
    import contextlib

    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def tell(_work: Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    work.add_done_callback(tell)
    await ended.wait()


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the first cause: what came after it came because of it."""
    cause = failed.exceptions[0]
    return _first(cause) if isinstance(cause, BaseExceptionGroup) else cause


class _Window:
    """Room for rows that are under way or wait to be written in their order.

    In rows, because they are what takes memory: where requests are small, many more of them may
    overtake one that is being retried.
    """

    def __init__(self, rows: int) -> None:
        import asyncio

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
        """Give the room back."""
        self._free += self._counted(rows)
        self._changed.set()

    def _counted(self, rows: int) -> int:
        return min(max(rows, LEAST), self._most)


class _Paused:
    """The input has nothing more for now."""


_PAUSED = _Paused()


class ReadAhead:
    """Reads blocks in a thread of its own, a few ahead.

    The thread is a daemon: one that waits for a terminal or a pipe must not keep a stopped
    program from ending.
    """

    def __init__(self, blocks: Iterator[Block]) -> None:
        import asyncio
        import threading

        self._queue: asyncio.Queue[Block | BaseException | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(READ_AHEAD)
        self._waiting: asyncio.Task[Block | BaseException | None] | None = None
        threading.Thread(target=self._read, args=(blocks,), daemon=True).start()

    def _read(self, blocks: Iterator[Block]) -> None:
        try:
            for block in blocks:
                self._room.acquire()
                self._put(block)
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by `next`, in the loop
            self._put(error)

    def _put(self, item: Block | BaseException | None) -> None:
        import contextlib

        with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def next(self, pause: float | None) -> Block | _Paused | None:
        """Give the next block, None at the end, or _PAUSED after `pause` seconds of nothing."""
        import asyncio

        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._queue.get())
        done, _ = await asyncio.wait({self._waiting}, timeout=pause)
        if not done:
            return _PAUSED
        item, self._waiting = self._waiting.result(), None
        if isinstance(item, BaseException):
            raise item
        if item is not None:
            self._room.release()
        return item
