"""The second half of a batch: one pass over the input writes the output, in input order.

The output is a pure function of input and store: every row's key must be there. A key that is not
shows that the input changed between the passes. A thread writes what another has found.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Protocol

import numpy as np
import orjson

from tovec.batch.inputs import changed
from tovec.formats.compression import CompressedFile
from tovec.formats.protocols import Writer
from tovec.pipeline.reorder import Extra, Finished, Prepared, finish
from tovec.records import Block, Problem, Rows, as_text
from tovec.store.content_keys import keys_of
from tovec.store.job import Job

BEHIND = 16  # blocks that may wait to be written
BEHIND_BYTES = 36 << 20  # of vectors: more than a Parquet writer takes in before it pauses to write

Prepare = Callable[[Block], Prepared]


class Output(Protocol):
    """Takes finished rows: one file, or part files."""

    def write(self, finished: Finished) -> None:
        """Write rows."""
        ...


class Rejects:
    """Collects rows that have no vector, one JSON object a line; `open` is called for the first.

    Each names its place (source, line, index), the kind and reason, and the row as it came.
    """

    def __init__(self, opened: Callable[[], BinaryIO], compression: str | None = None) -> None:
        self._opened = opened
        self._compression = compression
        self._file: BinaryIO | CompressedFile | None = None
        self.count = 0

    def finish(self) -> None:
        """Complete the file, if there is one."""
        if isinstance(self._file, CompressedFile):
            self._file.close()

    def problem(self, problem: Problem) -> None:
        """Take a row that could not be read or sent."""
        row: Any = problem.raw.decode(errors="backslashreplace")
        with contextlib.suppress(ValueError):
            row = orjson.loads(problem.raw)
        self._write(problem.source, problem.line, problem.index, problem.kind, problem.reason, row)

    def refused(self, finished: Finished) -> None:
        """Take the rows that the endpoint refused."""
        rows = finished.left_out
        if rows is None:
            return
        parts = zip(finished.refused, rows.index, rows.json(), strict=True)
        for (source, line, reason), index, row in parts:
            self._write(source, line, int(index), "refused", reason, orjson.loads(row))

    def _write(
        self, source: str, line: int, index: int, kind: str, reason: str, row: object
    ) -> None:
        if self._file is None:
            self._file = self._opened()
            if self._compression is not None:
                self._file = CompressedFile(self._file, self._compression)
        self.count += 1
        source = as_text(source)
        fields = {"source": source, "line": line, "index": index, "kind": kind, "reason": reason}
        self._file.write(orjson.dumps({**fields, "row": row}) + b"\n")


class SingleOutput:
    """Everything into one writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, finished: Finished) -> None:
        """Write rows."""
        self._writer.write(finished.rows, finished.extra, finished.vectors)

    def finish(self) -> None:
        """Complete the file."""
        self._writer.finish()


class PartOutput:
    """`rows` rows into each of as many writers as it takes, made by `opened`."""

    def __init__(self, rows: int, opened: Callable[[int], Writer]) -> None:
        self._rows, self._opened = rows, opened
        self._writer: Writer | None = None
        self._filled = 0
        self.parts = 0

    def write(self, finished: Finished) -> None:
        """Write rows, cut where a part is full."""
        start, count = 0, len(finished.rows)
        while start < count or self._writer is None:
            if self._writer is None or self._filled == self._rows:
                self._next()
            step = min(count - start, self._rows - self._filled)
            _write_slice(self._writer, finished, start, start + step)
            self._filled += step
            start += step

    def finish(self) -> None:
        """Complete the last part."""
        if self._writer is not None:
            self._writer.finish()

    def _next(self) -> None:
        self.finish()
        self._writer = self._opened(self.parts)
        self.parts += 1
        self._filled = 0


def _write_slice(writer: Writer | None, finished: Finished, start: int, end: int) -> None:
    assert writer is not None
    if (start, end) == (0, len(finished.rows)):
        writer.write(finished.rows, finished.extra, finished.vectors)
        return
    writer.write(
        finished.rows.take(range(start, end)),
        {name: column[start:end] for name, column in finished.extra.items()},
        finished.vectors[start:end],
    )


def deliver(
    blocks: Iterator[Block],
    prepare: Prepare,
    job: Job,
    output: Output,
    rejects: Rejects,
    on_rows: Callable[[int], None],
    dimensions: int | None,
    no_extra: Extra,
) -> None:
    """Write every row; raises InputError when the input is not what it was."""
    nothing: Rows | None = None
    with _Behind(output, on_rows) as behind:
        for block in blocks:
            prepared = prepare(block)
            if nothing is None:
                nothing = prepared.rows.take([])
            if not len(prepared.inputs):
                continue
            finished = _found(prepared, job)
            rejects.refused(finished)
            if len(finished.rows):
                behind.write(finished)
    if not behind.rows and nothing is not None:
        # An empty output still says what its columns are.
        output.write(Finished(nothing, no_extra, np.zeros((0, dimensions or 0), np.float32)))


def _found(prepared: Prepared, job: Job) -> Finished:
    """Give a block's rows with the vectors that are stored for them."""
    ordinals = job.index.find(keys_of(prepared.inputs, job.digest))
    if (ordinals < 0).any():
        raise changed(prepared.source)
    vectors, refused, unknown = job.vectors(ordinals)
    if len(unknown):
        raise changed(prepared.source)
    return finish(prepared, vectors, refused)


class _Behind:
    """Writes in a thread, in order, a few blocks behind; its errors come out of later calls."""

    def __init__(self, output: Output, on_rows: Callable[[int], None]) -> None:
        self._output, self._on_rows = output, on_rows
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[tuple[int, int, Future[None]]] = deque()
        self._bytes = 0
        self._failed = False
        self.rows = 0

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._wait()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def write(self, finished: Finished) -> None:
        """Have rows written after those before them."""
        while len(self._waiting) >= BEHIND or self._bytes >= BEHIND_BYTES:
            self._wait()
        size = finished.vectors.nbytes
        job = self._thread.submit(self._write, finished)
        self._waiting.append((len(finished.rows), size, job))
        self._bytes += size

    def _write(self, finished: Finished) -> None:
        if self._failed:  # rows after a gap would be wrong, and may be on a pipe for good
            return
        try:
            self._output.write(finished)
        except BaseException:
            self._failed = True
            raise

    def _wait(self) -> None:
        rows, size, job = self._waiting.popleft()
        job.result()
        self._bytes -= size
        self.rows += rows
        self._on_rows(rows)
