"""Rows that have no vector, one JSON object a line."""

from __future__ import annotations

import contextlib
from typing import BinaryIO

import orjson

from tovec import formats
from tovec.batch.specification import Batch
from tovec.formats.compression import CompressedFile
from tovec.pipeline.reorder import Finished
from tovec.records import Problem, as_text
from tovec.store.durable import OutputFile, Published


class Rejects:
    """The file of a job's rejected rows, made for the first of them.

    Each names its place (source, line, index), the kind and reason, and the row as it came. The
    file of an earlier run is replaced: it is tovec's own.
    """

    def __init__(self, work: Batch, ours: Published) -> None:
        self.count = 0
        self._work, self._ours = work, ours
        self._compression = formats.output_compression(work.rejects)
        self._output: OutputFile | None = None
        self._file: BinaryIO | CompressedFile | None = None

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """Return the file, if there is one."""
        return () if self._output is None else (self._output,)

    def problem(self, problem: Problem) -> None:
        """Take a row that could not be read or sent."""
        row: object = problem.raw.decode(errors="backslashreplace")
        with contextlib.suppress(ValueError):
            row = orjson.loads(problem.raw)
        self._write(problem.source, problem.line, problem.index, problem.kind, problem.reason, row)

    def refused(self, finished: Finished) -> None:
        """Take the rows of a block that the endpoint refused."""
        rows = finished.left_out
        if rows is None:
            return
        parts = zip(finished.refused, rows.index, rows.json(), strict=True)
        for (source, line, reason), index, row in parts:
            self._write(source, line, int(index), "refused", reason, orjson.loads(row))

    def finish(self) -> None:
        """Complete the file, if there is one."""
        if isinstance(self._file, CompressedFile):
            self._file.close()

    def discard(self) -> None:
        """Leave nothing behind."""
        for output in self.outputs:
            output.discard()

    def _write(
        self, source: str, line: int, index: int, kind: str, reason: str, row: object
    ) -> None:
        self.count += 1
        place = {"source": as_text(source), "line": line, "index": index}
        written = {**place, "kind": kind, "reason": reason, "row": row}
        self._opened().write(orjson.dumps(written) + b"\n")

    def _opened(self) -> BinaryIO | CompressedFile:
        if self._file is None:
            work = self._work
            self._output = OutputFile(work.rejects_path, force=work.force, ours=self._ours)
            self._file = self._output.file
            if self._compression is not None:
                self._file = CompressedFile(self._file, self._compression)
        return self._file
