"""Vectors read back from Parquet: row group by row group, the embedding column alone.

Any list of floats is taken, fixed in size (as tovec writes it) or not. Each thread opens the file
for itself, because a Parquet reader is not to be shared.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tovec.errors import FileError, InputError
from tovec.formats.stored import Lengths, Placed, Vectors, different
from tovec.formats.vectors import EMBEDDING

BLOCK_BYTES = 8 << 20  # decoded at a time
READ_BYTES = 1 << 20  # read at a time, not a whole column of a row group


class StoredParquet:
    """The `embedding` column of a Parquet file, and its other columns for single rows."""

    lengths: Lengths | None = None

    def __init__(self, path: str, file: Any, dimensions: int) -> None:
        self.source = path
        self.rows = file.metadata.num_rows
        self.dimensions = dimensions
        facts = file.schema_arrow.metadata or {}
        self.model: str | None = _text(facts.get(b"tovec.model"))
        self.provider: str | None = _text(facts.get(b"tovec.provider"))
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._others = [name for name in file.schema_arrow.names if name != EMBEDDING]
        self._local = threading.local()
        self._group: tuple[int, Any] | None = None

    @classmethod
    def open(cls, path: str) -> StoredParquet | None:
        """Open a file; None for one without an `embedding` column."""
        file = _opened(path)
        if EMBEDDING not in file.schema_arrow.names:
            return None
        kind = file.schema_arrow.field(EMBEDDING).type
        if not _is_list(kind) or not pa.types.is_floating(kind.value_type):
            raise InputError(f"its column {EMBEDDING} is {kind}, not a list of floats", where=path)
        return cls(path, file, _width(file, kind, path))

    @property
    def spans(self) -> Sequence[int]:
        """The row groups."""
        return range(len(self._starts) - 1)

    def blocks(self, span: int) -> Iterator[Placed]:
        """Give a row group's vectors."""
        first = int(self._starts[span])
        batch_rows = max(1, BLOCK_BYTES // (4 * self.dimensions))
        batches = self._file().iter_batches(
            batch_rows, row_groups=[span], columns=[EMBEDDING], use_threads=False
        )
        try:
            for batch in batches:
                matrix = self._matrix(batch.column(0), first)
                yield first, matrix
                first += len(matrix)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(error, self.source) from None

    def number(self, row: int) -> int:
        """Give the row's number."""
        return row

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Give these rows' other columns."""
        if not self._others:
            return [{} for _ in rows]
        found: list[dict[str, Any]] = [{} for _ in rows]
        groups = np.searchsorted(self._starts, rows, "right") - 1
        for group in np.unique(groups).tolist():
            places = np.flatnonzero(groups == group)
            inside = [rows[i] - int(self._starts[group]) for i in places.tolist()]
            some = self._read(group).take(pa.array(inside, pa.int64())).to_pylist()
            for place, row in zip(places.tolist(), some, strict=True):
                found[place] = row
        return found

    def _read(self, group: int) -> Any:
        if self._group is None or self._group[0] != group:
            try:
                table = self._file().read_row_group(group, columns=self._others)
            except (OSError, pa.ArrowException) as error:
                raise _damaged(error, self.source) from None
            self._group = (group, table)
        return self._group[1]

    def _file(self) -> Any:
        if not hasattr(self._local, "file"):
            self._local.file = _opened(self.source)
        return self._local.file

    def _matrix(self, column: Any, first: int) -> Vectors:
        """Give a column of lists as a matrix, without a copy where it is float32."""
        if column.null_count:
            row = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise InputError("the row has no embedding (null)", where=self._where(row))
        if not pa.types.is_fixed_size_list(column.type):
            lengths = np.diff(column.offsets.to_numpy())
            odd = np.flatnonzero(lengths != self.dimensions)
            if len(odd):
                where = self._where(first + int(odd[0]))
                raise different(int(lengths[odd[0]]), self.dimensions, where)
        values = column.flatten()
        if values.null_count:
            place = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            where = self._where(first + place // self.dimensions)
            raise InputError("the embedding holds null, not a number", where=where)
        matrix: Vectors = values.to_numpy().reshape(len(column), self.dimensions)
        return matrix.astype(np.float32, copy=False)

    def _where(self, row: int) -> str:
        return f"{self.source}, row {row} (from 0)"


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _width(file: Any, kind: Any, path: str) -> int:
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    for batch in file.iter_batches(1, columns=[EMBEDDING]):
        first = batch.column(0)[0].as_py()
        if first:
            return len(first)
        raise InputError("the row has no embedding", where=f"{path}, row 0 (from 0)")
    return 0


def _opened(path: str) -> Any:
    try:
        # Not mapped: pages of a file that is only passed through would count as memory.
        return pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False)
    except FileNotFoundError:
        raise InputError("the file is not there", where=path) from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error, path) from None


def _damaged(error: Exception, path: str) -> InputError | FileError:
    if isinstance(error, OSError) and error.errno:
        return FileError(f"the file cannot be read: {error.strerror}", where=path)
    first = str(error).partition("\n")[0][:200]
    return InputError(f"the Parquet file cannot be read: {first}", where=path)


def _text(value: bytes | None) -> str | None:
    return value.decode(errors="replace") if value else None
