"""Blocks read in a thread, a few ahead of the event loop that takes them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tovec.records import Block

MAX_BLOCKS_AHEAD = 4


class Paused:
    """The input has nothing more for now."""


PAUSED = Paused()


class ReadAhead:
    """Reads blocks in a thread of its own, a few ahead.

    The thread is a daemon: one that waits for a terminal or a pipe must not keep a stopped
    program from ending.
    """

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._queue: asyncio.Queue[Block | BaseException | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(MAX_BLOCKS_AHEAD)
        self._waiting: asyncio.Task[Block | BaseException | None] | None = None
        threading.Thread(target=self._read, args=(blocks,), name="input", daemon=True).start()

    def _read(self, blocks: Iterator[Block]) -> None:
        try:
            for block in blocks:
                self._room.acquire()
                self._put(block)
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by `next`, in the loop
            self._put(error)

    def _put(self, item: Block | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def next(self, pause_seconds: float | None = None) -> Block | Paused | None:
        """Return the next block, None at the end, or PAUSED after so many seconds of nothing."""
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._queue.get())
        done, _ = await asyncio.wait({self._waiting}, timeout=pause_seconds)
        if not done:
            return PAUSED
        item, self._waiting = self._waiting.result(), None
        if isinstance(item, BaseException):
            raise item
        if item is not None:
            self._room.release()
        return item
