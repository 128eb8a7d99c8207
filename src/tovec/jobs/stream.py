"""`embed`: rows stream from their source through the endpoint to a writer, in input order.

A request goes out when it is full, or when the input has paused, so that it works under
`tail -f`. Over a network, requests overlap and answers are put back in order within a bounded
window; in this process there is nothing to wait for, and no event loop is even imported.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tovec.jobs.assembly import Assembly, Finished, Prepared
from tovec.jobs.packing import TARGET_ITEMS, Packer
from tovec.records import Answer, Block, Problem, Request

if TYPE_CHECKING:
    import asyncio

    from tovec.jobs.connect import Connection

PAUSE = 0.05  # seconds without input after which a request goes out as it is
READ_AHEAD = 4  # blocks
WINDOW = 4  # full requests that may wait to be written, beside those that may be under way
LEAST = 16  # rows that a request counts for at least: a task takes memory too

T = TypeVar("T")
Prepare = Callable[[Block], Prepared]
Write = Callable[[Finished], None]


class Embedder(Protocol):
    """What turns a request into vectors: `api.client.Client`."""

    async def embed(self, request: Request) -> Answer:
        """Give the answer to one request, after whatever retries it takes."""
        ...


@dataclass(slots=True)
class Counts:
    """What a run did, for its summary."""

    rows: int = 0
    blank: int = 0
    rejected: int = 0
    problems: list[Problem] = field(default_factory=list)  # the first few


def through(
    connection: Connection,
    blocks: Iterator[Block],
    prepare: Prepare,
    packer: Packer,
    write: Write,
) -> None:
    """Embed blocks through a connection, in this process or over a network, and close it."""
    client = connection.client
    if connection.provider.in_process:
        in_process(blocks, prepare, packer, client, write)
        return
    import asyncio

    async def and_close() -> None:
        try:
            await over_network(blocks, prepare, packer, client, write, connection.concurrency)
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
) -> None:
    """Embed blocks with up to `concurrency` requests under way, rows written in input order."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    assembly = Assembly()
    loop = asyncio.get_running_loop()
    writer = ThreadPoolExecutor(1)  # one thread, so that its memory is used again
    window = _Window((WINDOW + concurrency) * TARGET_ITEMS)
    order: asyncio.Queue[tuple[Request, asyncio.Task[Answer]] | None] = asyncio.Queue()

    async def send_all(group: asyncio.TaskGroup) -> None:
        source = ReadAhead(blocks)
        while True:
            block = await source.next(PAUSE if len(packer) else None)
            if isinstance(block, Block):
                prepared = prepare(block)
                assembly.expect(prepared)
                requests = packer.add(prepared.inputs)
            else:
                requests = packer.flush()
            for request in requests:
                await window.enter(len(request))
                order.put_nowait((request, group.create_task(client.embed(request))))
            if block is None:
                break
        order.put_nowait(None)

    async def write_all() -> None:
        while (sent := await order.get()) is not None:
            request, task = sent
            for finished in assembly.fill(await task, len(request)):
                await loop.run_in_executor(writer, write, finished)
            window.leave(len(request))

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(group))
            group.create_task(write_all())
    except BaseExceptionGroup as failed:
        raise _first(failed) from None
    finally:
        writer.shutdown(wait=True)


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
