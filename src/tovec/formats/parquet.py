"""Parquet: rows in as Arrow batches, and out with `embedding` as a fixed-size list, zero-copy.

Reading streams through each row group, and takes only the columns that are needed.

The embedding column takes no dictionary, no statistics and no compression: vectors do not repeat
and do not shrink (2048 x 1536: 20 ms to write so, 50 ms with the defaults; DESIGN section 7). The
footer is written by `finish` alone, so a run that fails leaves nothing that opens.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tovec.errors import FileError, InputError, UsageError
from tovec.formats import arrow, columnar
from tovec.formats.compression import has_suffix
from tovec.formats.directories import STDIN
from tovec.formats.embedding_column import as_stored, quantisation, vector_columns
from tovec.formats.protocols import ReadOptions, Sink, VectorMeta, WriteOptions
from tovec.formats.quantised import stored_width
from tovec.formats.recognition import binary_kind
from tovec.formats.source import open_source, shown
from tovec.records import Block, Rows
from tovec.wording import count_phrase

GROUP_BYTES = 16 << 20
GROUP_ROWS = 65_536
BATCH_BYTES = 4 << 20  # of rows read at once
BATCH_ROWS = 8 * arrow.BLOCK_ROWS
PAGES_BYTES = 1 << 20  # of a column chunk read at once
HEAD_BYTES = 4096  # looked at to see what else a file may be


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a Parquet file's rows as blocks; `first` is the index of its first row in the input.

    Raises UsageError for a pipe, InputError for what is not Parquet or is damaged.
    """
    del stdin
    with _open_file(path) as raw:
        read = 0
        try:
            file = pq.ParquetFile(raw, pre_buffer=False, buffer_size=PAGES_BYTES)
            for block in columnar.blocks(file.schema_arrow, _Batches(file), path, options, first):
                yield block
                read += len(block.inputs) + len(block.problems)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise FileError(f"reading failed: {error.strerror}", where=shown(path)) from None
            reason = str(error).partition("\n")[0].rstrip(".")
            after = f", after {count_phrase(read, 'row')}" if read else ""
            raise InputError(
                f"cannot be read as Parquet: {reason}{after}",
                where=shown(path),
                hint="decompress it first: Parquet is compressed inside" * has_suffix(path),
            ) from None


def _open_file(path: str) -> BufferedReader:
    pipe = UsageError(
        "Parquet cannot be read from a pipe: its table of contents stands at the end",
        where=shown(path),
        hint="name the file with -f",
    )
    if path == STDIN:
        raise pipe
    with contextlib.suppress(OSError):  # opening will say what is wrong
        if stat.S_ISFIFO(Path(path).stat().st_mode):
            raise pipe
    raw = open_source(path)
    found = binary_kind(raw.peek(HEAD_BYTES)[:HEAD_BYTES])
    if found is not None and not found[0].startswith("a Parquet"):
        raw.close()
        raise InputError(f"this is {found[0]}, not Parquet", where=shown(path), hint=found[1])
    return raw


class _Batches:
    """Reads a file's batches; its columns are asked for by name."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __call__(self, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        rows = _batch_rows(self._file.metadata)
        for batch in self._file.iter_batches(rows, columns=columns, use_threads=False):
            yield batch if columns is None else batch.select(columns)


def _batch_rows(metadata: Any) -> int:
    """Return how many rows are read at once: some MiB of them, so that long ones take no memory."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    longest = max((one.total_byte_size / max(one.num_rows, 1) for one in groups), default=1)
    return int(min(max(BATCH_BYTES / max(longest, 1), 1), BATCH_ROWS))


class _Gate:
    """The sink, as long as this module is writing.

    pyarrow writes a footer when a writer is thrown away, so that half a file would open as a
    whole one; what comes while the gate is shut is dropped.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._open = False

    def __enter__(self) -> None:
        self._open = True

    def __exit__(self, *_: object) -> None:
        self._open = False

    def write(self, data: bytes) -> int:
        """Pass on, or drop."""
        return self._file.write(data) if self._open else len(data)

    def flush(self) -> None:
        """Leave it to the sink."""

    def close(self) -> None:
        """Leave it to the sink."""


class ParquetWriter:
    """Gathers rows to row groups of a sensible size and writes each as it is full."""

    def __init__(self, sink: Sink, meta: VectorMeta, options: WriteOptions) -> None:
        self._gate = _Gate(sink.file)
        self._meta = meta
        self._columns = options.columns
        self._also = options.also
        self._ours = vector_columns(options.also)
        self._is_plain = options.parquet_list == "plain"
        self._dimensions = meta.dimensions
        self._writer: Any = None
        self._batches: list[Any] = []
        self._rows = 0
        self._bytes = 0

    def write(
        self, rows: Rows, extra: Mapping[str, NDArray[np.int64]], vectors: NDArray[np.float32]
    ) -> None:
        """Take rows; they are written when a row group is full."""
        for part in _parts(rows, self._columns) if extra else (slice(0, len(rows)),):
            some = rows if part == slice(0, len(rows)) else rows.take(range(part.start, part.stop))
            its = {name: column[part] for name, column in extra.items()}
            self._write(some, its, vectors[part])

    def _write(
        self, rows: Rows, extra: Mapping[str, NDArray[np.int64]], vectors: NDArray[np.float32]
    ) -> None:
        batch = rows.arrow(self._columns)
        columns = {
            name: batch.column(i)
            for i, name in enumerate(batch.schema.names)
            if name not in self._ours and name not in extra
        }
        columns |= {name: pa.array(column) for name, column in extra.items()}
        for name, dtype in zip(self._ours, (self._meta.dtype, self._also), strict=False):
            columns[name] = self._column(vectors, str(dtype))
        if not len(rows) and self._batches:
            return
        self._batches.append(
            pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        )
        self._rows += len(rows)
        self._bytes += vectors.nbytes + batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        """Write what is left and the footer."""
        if self._batches or self._writer is None:
            self._write_group()
        with self._gate:
            self._writer.close()

    def _column(self, vectors: NDArray[np.float32], dtype: str) -> Any:
        """Return the matrix as a column of lists, without copying what is float32."""
        stored = as_stored(vectors, dtype, self._meta.scale)
        if len(vectors):
            self._dimensions = vectors.shape[1]
        width = stored.shape[1] or stored_width(self._meta.dimensions or 0, dtype)
        flat = pa.array(stored.ravel())
        if not width:  # nothing was embedded and the model is not known
            return pa.array([], pa.list_(flat.type))
        if not self._is_plain:
            return pa.FixedSizeListArray.from_arrays(flat, int(width))
        offsets = width * np.arange(len(vectors) + 1, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat)

    def _facts(self) -> dict[str, str]:
        """Return what the schema's metadata says of the vectors."""
        meta = self._meta
        facts = {
            "tovec.model": meta.model,
            "tovec.provider": meta.provider,
            "tovec.dimensions": str(self._dimensions or ""),
            "tovec.dtype": meta.dtype,
            "tovec.version": meta.tool,
        }
        if (scale := quantisation(meta)) is not None:
            facts["tovec.quantisation"] = orjson.dumps(scale).decode()
        if meta.truncated_from is not None:
            facts["tovec.truncated_from"] = str(meta.truncated_from)
        if self._also is not None:
            facts["tovec.also"] = self._also
        return facts

    def _write_group(self) -> None:
        table = _joined(self._batches, self._writer and self._writer.schema, self._ours)
        if table is None:
            none = np.empty((0, self._meta.dimensions or 0), np.float32)
            dtypes = (self._meta.dtype, self._also)
            columns = zip(self._ours, dtypes, strict=False)
            table = pa.table({name: self._column(none, str(d)) for name, d in columns})
        with self._gate:
            if self._writer is None:
                self._writer = _opened(self._gate, table.schema, self._facts(), self._ours)
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self._batches, self._rows, self._bytes = [], 0, 0


def _parts(rows: Rows, columns: Sequence[str] | None) -> Iterator[slice]:
    """Return stretches of rows that fit a row group, where rows repeat (chunks of long texts)."""
    first = {place: i for i, place in reversed(list(enumerate(rows.index)))}
    once = rows.take(sorted(first.values())).arrow(columns)
    step = max(1, GROUP_BYTES * len(first) // max(once.nbytes, 1))
    yield from (slice(at, min(at + step, len(rows))) for at in range(0, max(len(rows), 1), step))


def _opened(gate: _Gate, schema: Any, facts: Mapping[str, str], ours: Sequence[str]) -> Any:
    others = [name for name in schema.names if name not in ours]
    elements = {f"{name}.list.element": schema.field(name).type.value_type for name in ours}
    packed = [name for name, kind in elements.items() if not pa.types.is_floating(kind)]
    # Parquet has no number below 32 bits: plain, an int8 takes four bytes. With delta packing it
    # takes 0.8 (bits 1.2), and every reader of Parquet 2 knows it (65,536 x 256, pyarrow 25).
    return pq.ParquetWriter(
        gate,
        schema.with_metadata(facts),
        compression=dict.fromkeys(others, "zstd")
        | {name: "zstd" if name in packed else "none" for name in elements},
        use_dictionary=False,  # texts do not repeat; what does, zstd finds
        column_encoding=dict.fromkeys(packed, "DELTA_BINARY_PACKED") or None,
        write_statistics=others,
    )


def _joined(batches: list[Any], schema: Any, ours: Sequence[str]) -> Any:
    """Return the batches as one table, in the file's schema once that is fixed; None of none.

    Before, columns widen to a type that holds all their values (null to anything, integers to
    floats). Raises InputError for a column that fits no one type, or comes after the first group.
    """
    if not batches:
        return None
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise _mixed(str(error)) from None
    names = [name for name in table.schema.names if name not in ours] + list(ours)
    table = table.select(names)
    return table if schema is None else _fitted(table, schema)


def _fitted(table: Any, schema: Any) -> Any:
    late = [name for name in table.schema.names if name not in schema.names]
    if late:
        raise _mixed(f"the field {late[0]!r} appears only after the first rows were written")
    columns = []
    for field in schema:
        if field.name not in table.schema.names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table.column(field.name)
        try:  # a cast that changes nothing still costs 20 ms: it imports pyarrow.compute
            columns.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            raise _mixed(
                f"the field {field.name!r} is {field.type} in the first rows, not so later"
            ) from None
    return pa.table(columns, schema=schema)


def _mixed(reason: str) -> InputError:
    return InputError(
        f"a Parquet column has one type: {reason}",
        hint="choose columns with --columns, or write --format jsonl",
    )
