"""Arrow IPC in: files (.arrow, .feather of version 2) and streams, one record batch at a time.

A file is a stream between two marks, and is read as one, so that it may come through a pipe or be
compressed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader, RawIOBase

import pyarrow as pa

from tovec.errors import InputError
from tovec.formats import columnar
from tovec.formats.compression import CHUNK
from tovec.formats.protocols import ReadOptions
from tovec.formats.recognition import binary_kind
from tovec.formats.source import ChunkStream, chunks, shown
from tovec.records import Block
from tovec.wording import count_phrase

_MARK = b"ARROW1"
_HEADER_BYTES = 8  # the mark, padded


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a file's rows as blocks; `first` is the index of its first row in the whole input.

    Raises InputError for what is not Arrow IPC, is damaged or cut short.
    """
    table = IpcTable(path, stdin)

    def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        return (one if columns is None else one.select(columns) for one in table.batches())

    yield from columnar.blocks(table.schema, batches, shown(path), options, first)


class IpcTable:
    """A file or stream on its way: its schema, then its batches, once."""

    def __init__(self, path: str, stdin: RawIOBase | None = None) -> None:
        self._source = shown(path)
        self._raw = BufferedReader(ChunkStream(chunks(path, stdin)), CHUNK)
        head = self._raw.peek(_HEADER_BYTES)
        self._is_file = head.startswith(_MARK)
        if self._is_file:
            self._raw.read(_HEADER_BYTES)
        elif found := binary_kind(head):
            what, hint = found
            if not head.startswith(b"\xff\xff\xff\xff"):
                raise InputError(f"this is {what}, not Arrow IPC", where=self._source, hint=hint)
        self._rows = 0
        try:
            self._reader = pa.ipc.open_stream(pa.PythonFile(self._raw, "r"))
        except (pa.ArrowException, OSError, MemoryError) as error:
            raise self._damaged(error) from None
        self.schema: pa.Schema = self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the record batches."""
        while True:
            try:
                batch = self._reader.read_next_batch()
                batch.validate(full=True)
            except StopIteration:
                break
            except (pa.ArrowException, OSError, MemoryError) as error:  # a length is damaged
                raise self._damaged(error) from None
            self._rows += len(batch)
            yield batch
        if self._is_file and not self._ends():
            raise InputError(
                f"the Arrow file is cut short, after {count_phrase(self._rows, 'row')}",
                where=self._source,
            )

    def _ends(self) -> bool:
        last = b""
        while part := self._raw.read(CHUNK):
            last = (last + part)[-len(_MARK) :]
        return last == _MARK

    def _damaged(self, error: Exception) -> InputError:
        reason = str(error).partition("\n")[0].rstrip(".")[:200] or "a length is damaged"
        return InputError(
            f"damaged Arrow IPC, after {count_phrase(self._rows, 'row')}: {reason}",
            where=self._source,
        )
