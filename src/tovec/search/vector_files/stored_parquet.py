"""Vectors read back from Parquet, row group by row group, and from Arrow IPC.

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
from tovec.formats.arrow import ArrowRows, with_partition
from tovec.formats.arrow_ipc import IpcTable
from tovec.formats.directories import SourceFile
from tovec.formats.embedding_column import EMBEDDING
from tovec.formats.source import open_regular
from tovec.search.vector_files.gathered import Gathered
from tovec.search.vector_files.stored import Lengths, Placed, Vectors, different

BLOCK_BYTES = 8 << 20  # decoded at a time
READ_BYTES = 1 << 20  # read at a time, not a whole column of a row group


class StoredParquet:
    """The `embedding` column of a Parquet file, and its other columns for single rows."""

    lengths: Lengths | None = None
    has_columns = True

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
        file = _open_file(path)
        if EMBEDDING not in file.schema_arrow.names:
            return None
        kind = file.schema_arrow.field(EMBEDDING).type
        _check_kind(kind, path)
        return cls(path, file, _width(file, kind, path))

    @property
    def spans(self) -> Sequence[int]:
        """The row groups."""
        return range(len(self._starts) - 1)

    def blocks(self, span: int) -> Iterator[Placed]:
        """Yield a row group's vectors."""
        first = int(self._starts[span])
        batch_rows = max(1, BLOCK_BYTES // (4 * self.dimensions))
        batches = self._file().iter_batches(
            batch_rows, row_groups=[span], columns=[EMBEDDING], use_threads=False
        )
        try:
            for batch in batches:
                matrix = as_matrix(batch.column(0), self.dimensions, self.source, first)
                yield first, matrix
                first += len(matrix)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(error, self.source) from None

    def number(self, row: int) -> int:
        """Return the row's number."""
        return row

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return these rows' other columns."""
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
            self._local.file = _open_file(self.source)
        return self._local.file


def as_matrix(column: Any, dimensions: int, source: str, first: int) -> Vectors:
    """Return a column of lists as a matrix, without a copy where it is float32.

    `first` is the number of its first row, for errors.
    """

    def where(row: int) -> str:
        return f"{source}, row {first + row} (from 0)"

    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError("the row has no embedding (null)", where=where(row))
    if not pa.types.is_fixed_size_list(column.type):
        lengths = np.diff(column.offsets.to_numpy())
        odd = np.flatnonzero(lengths != dimensions)
        if len(odd):
            raise different(int(lengths[odd[0]]), dimensions, where(int(odd[0])))
    elif column.type.list_size != dimensions:
        raise different(column.type.list_size, dimensions, where(0))
    values = column.flatten()
    if values.null_count:
        place = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError("the embedding holds null, not a number", where=where(place // dimensions))
    matrix: Vectors = values.to_numpy().reshape(len(column), dimensions)
    return matrix.astype(np.float32, copy=False)


def gather_arrow(files: Sequence[SourceFile], source: str) -> Gathered | None:
    """Read the rows of Arrow IPC files that have an `embedding`; None where the first has none."""
    gathered = Gathered(source)
    for file in files:
        table = IpcTable(file.path)
        if EMBEDDING not in table.schema.names:
            if not gathered.rows:
                return None
            raise InputError(f"there is no column {EMBEDDING!r}", where=file.path)
        _check_kind(table.schema.field(EMBEDDING).type, file.path)
        facts = table.schema.metadata or {}
        gathered.model = gathered.model or _text(facts.get(b"tovec.model"))
        gathered.provider = gathered.provider or _text(facts.get(b"tovec.provider"))
        for batch in table.batches():
            _gather_batch(batch, file, gathered)
    return gathered


def _gather_batch(batch: pa.RecordBatch, file: SourceFile, gathered: Gathered) -> None:
    if not len(batch):
        return
    first = gathered.rows
    column = batch.column(EMBEDDING)
    width = gathered.dimensions or len(column[0].as_py() or ())
    if not width:
        raise InputError("the row has no embedding", where=f"{file.path}, row {first} (from 0)")
    matrix = as_matrix(column, width, file.path, first)
    others = with_partition(batch.drop_columns([EMBEDDING]), file.partition, file.path)
    numbers = range(first, first + len(batch))
    gathered.add(matrix, ArrowRows(others, numbers).json(), numbers)


def _check_kind(kind: Any, path: str) -> None:
    if not _is_list(kind) or not pa.types.is_floating(kind.value_type):
        raise InputError(f"its column {EMBEDDING} is {kind}, not a list of floats", where=path)


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


def _open_file(path: str) -> Any:
    with open_regular(path):  # in our own words where it is not there or not a file
        pass
    try:
        # Not mapped: pages of a file that is only passed through would count as memory.
        return pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error, path) from None


def _damaged(error: Exception, path: str) -> InputError | FileError:
    if isinstance(error, OSError) and error.errno:
        return FileError(f"the file cannot be read: {error.strerror}", where=path)
    first = str(error).partition("\n")[0][:200]
    return InputError(f"the Parquet file cannot be read: {first}", where=path)


def _text(value: bytes | None) -> str | None:
    return value.decode(errors="replace") if value else None
