"""Vectors read back from Parquet, row group by row group, and from Arrow IPC.

Any list of floats is taken, fixed in size (as tovec writes it) or not. Each thread opens the file
for itself, because a Parquet reader is not to be shared.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tovec.errors import FileError, InputError
from tovec.formats.arrow import ArrowRows, with_partition
from tovec.formats.arrow_ipc import IpcTable
from tovec.formats.directories import SourceFile
from tovec.formats.embedding_column import EMBEDDING, vector_columns
from tovec.formats.quantised import BITS, parse_scale, unsigned
from tovec.formats.source import open_regular
from tovec.search.vector_files.gathered import Gathered
from tovec.search.vector_files.stored import (
    Encoding,
    Lengths,
    Placed,
    PlacedBits,
    Vectors,
    different,
    encoding_of,
)

BLOCK_BYTES = 8 << 20  # decoded at a time
READ_BYTES = 1 << 20  # read at a time, not a whole column of a row group


class StoredParquet:
    """The `embedding` column of a Parquet file, and its other columns for single rows."""

    lengths: Lengths | None = None
    has_columns = True

    def __init__(self, path: str, file: Any, width: int) -> None:
        self.source = path
        self.rows = file.metadata.num_rows
        facts = file.schema_arrow.metadata or {}
        self.model: str | None = _text(facts.get(b"tovec.model"))
        self.provider: str | None = _text(facts.get(b"tovec.provider"))
        self._encoding = _encoding(file.schema_arrow, width, path)
        self.dtype = self._encoding.dtype
        self.dimensions = 8 * width if self.dtype in BITS else width
        self._width = width
        self.truncated_from = _count(facts.get(b"tovec.truncated_from"))
        self._bits = self._bits_column(_text(facts.get(b"tovec.also")), file.schema_arrow)
        self.has_bits = self._bits is not None
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._others = [
            name for name in file.schema_arrow.names if name not in (EMBEDDING, self._bits)
        ]
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
        for first, stored in self._column(span, EMBEDDING, self._width, 4 * self.dimensions):
            yield first, self._encoding.decode(stored)

    def bits(self, span: int) -> Iterator[PlacedBits]:
        """Yield a row group's bits."""
        width = self.dimensions // 8
        for first, stored in self._column(span, str(self._bits), width, 4 * width):
            yield first, unsigned(stored)

    def take(self, rows: Sequence[int]) -> Vectors:
        """Return these rows' vectors, in the order asked for."""
        found = np.empty((len(rows), self.dimensions), np.float32)
        wanted = np.asarray(rows, np.int64)
        for group in np.unique(np.searchsorted(self._starts, wanted, "right") - 1).tolist():
            for first, stored in self._column(group, EMBEDDING, self._width, 4 * self.dimensions):
                here = np.flatnonzero((wanted >= first) & (wanted < first + len(stored)))
                found[here] = self._encoding.decode(stored[wanted[here] - first])
        return found

    def _column(
        self, span: int, name: str, width: int, row_bytes: int
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield a column of a row group, with the first row's place."""
        first = int(self._starts[span])
        batches = self._file().iter_batches(
            max(1, BLOCK_BYTES // row_bytes), row_groups=[span], columns=[name], use_threads=False
        )
        try:
            for batch in batches:
                matrix = as_matrix(batch.column(0), width, self.source, first)
                yield first, matrix
                first += len(matrix)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(error, self.source) from None

    def _bits_column(self, also: str | None, schema: pa.Schema) -> str | None:
        """Return the column that holds the vectors as bits, if one does."""
        if self.dtype in BITS:
            return EMBEDDING
        name = vector_columns(also)[-1]
        if also not in BITS or name not in schema.names:
            return None
        kind = schema.field(name).type
        return name if _is_list(kind) and str(kind.value_type) in ("int8", "uint8") else None

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


def as_matrix(column: Any, dimensions: int, source: str, first: int) -> NDArray[Any]:
    """Return a column of lists as a matrix, without a copy.

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
    matrix: NDArray[Any] = values.to_numpy().reshape(len(column), dimensions)
    return matrix


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
            _gather_batch(batch, table.schema, file, gathered)
    return gathered


def _gather_batch(
    batch: pa.RecordBatch, schema: pa.Schema, file: SourceFile, gathered: Gathered
) -> None:
    if not len(batch):
        return
    first = gathered.rows
    column = batch.column(EMBEDDING)
    width = len(column[0].as_py() or ())
    if not width:
        raise InputError("the row has no embedding", where=f"{file.path}, row {first} (from 0)")
    encoding = _encoding(schema, width, file.path)
    matrix = encoding.decode(as_matrix(column, width, file.path, first))
    gathered.check_type(encoding.dtype, file.path)
    gathered.check_width(matrix.shape[1], f"{file.path}, row {first} (from 0)")
    others = with_partition(batch.drop_columns([EMBEDDING]), file.partition, file.path)
    numbers = range(first, first + len(batch))
    gathered.add(matrix, ArrowRows(others, numbers).json(), numbers)


def _check_kind(kind: Any, path: str) -> None:
    if not _is_list(kind) or not _is_number(kind.value_type):
        raise InputError(
            f"its column {EMBEDDING} is {kind}, not a list of floats, int8 or uint8", where=path
        )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or str(kind) in ("int8", "uint8")


def _encoding(schema: pa.Schema, width: int, path: str) -> Encoding:
    """Return how the vectors are stored, by the type of their column and the schema's metadata."""
    facts = schema.metadata or {}
    scale = None
    with contextlib.suppress(ValueError):
        scale = parse_scale(orjson.loads(facts.get(b"tovec.quantisation", b"")), width)
    kind = str(schema.field(EMBEDDING).type.value_type)
    hint = "tovec writes it into the schema's metadata: tovec.dtype, tovec.quantisation"
    return encoding_of(kind, _text(facts.get(b"tovec.dtype")), scale, path, hint)


def _count(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) < 9 else None


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
