"""Blocks written in a thread, in order, a few behind the one that finds them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from tovec.pipeline.reorder import Finished

MAX_BLOCKS_BEHIND = 16
MAX_BYTES_BEHIND = 36 << 20  # of vectors: more than a Parquet writer takes in before it pauses


class Output(Protocol):
    """What takes finished blocks: a `pipeline.destination.Destination`."""

    def write(self, finished: Finished) -> None:
        """Write a block of rows."""
        ...


class WriteBehind:
    """Writes in a thread; what goes wrong there is raised by a later call.

    At the end of a `with` the thread has ended; blocks that wait then are not written.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._thread = ThreadPoolExecutor(1, "output")
        self._waiting: deque[tuple[int, int, Future[None]]] = deque()  # rows, bytes, write
        self._bytes = 0
        self._failed = False

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def write(self, finished: Finished) -> int:
        """Have a block written after those before it; return how many rows were meanwhile."""
        rows = 0
        while len(self._waiting) >= MAX_BLOCKS_BEHIND or self._bytes >= MAX_BYTES_BEHIND:
            rows += self._wait()
        size = finished.vectors.nbytes
        self._waiting.append((len(finished.rows), size, self._thread.submit(self._write, finished)))
        self._bytes += size
        return rows

    def finish(self) -> int:
        """Wait until every block is written; return how many rows were meanwhile."""
        rows = 0
        while self._waiting:
            rows += self._wait()
        return rows

    def _write(self, finished: Finished) -> None:
        if self._failed:  # rows after a gap would be wrong, and may be on a pipe for good
            return
        try:
            self._output.write(finished)
        except BaseException:
            self._failed = True
            raise

    def _wait(self) -> int:
        rows, size, write = self._waiting.popleft()
        write.result()
        self._bytes -= size
        return rows
