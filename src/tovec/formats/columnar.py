"""Rows of files that are Arrow inside, Parquet and Arrow IPC: what is read, and what it becomes.

Old writers (Impala, Hive, parquet-mr without logical types) store texts as bytes: the columns that
are embedded are read as UTF-8 then, and a row that is not is a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from tovec.formats import arrow
from tovec.formats.fields import TextField
from tovec.formats.protocols import ReadOptions
from tovec.records import Block, Problem

Batches = Callable[[list[str] | None], Iterator[pa.RecordBatch]]


def blocks(
    schema: pa.Schema, batches: Batches, path: str, options: ReadOptions, first: int
) -> Iterator[Block]:
    """Yield a table's rows as blocks, at least one.

    `batches` yields the columns that are asked for (None: all), in the file's order.
    """
    field = TextField(options)
    names = [*schema.names, *(p.name for p in options.partition if p.name not in schema.names)]
    columns = arrow.needed(options, names, path)
    if columns is not None:
        columns = [name for name in columns if name in schema.names]
    empty = _without_views(_empty(schema, columns))
    whole = arrow.with_partition(_decoded(empty, field.names)[0], options.partition, path)
    arrow.texts_only(whole.schema, field.names, path)
    rows = 0
    for batch in map(_without_views, batches(columns)):
        for start in range(0, len(batch), arrow.BLOCK_ROWS):
            some = batch.slice(start, arrow.BLOCK_ROWS)
            yield _block(some, field, path, options, np.arange(rows, rows + len(some)), first)
            rows += len(some)
    if not rows:
        none = np.empty(0, np.int64)
        yield arrow.block(whole, field, path, none, none, "row")


def _empty(schema: pa.Schema, columns: list[str] | None) -> pa.RecordBatch:
    names = schema.names if columns is None else columns
    return pa.record_batch([pa.array([], schema.field(name).type) for name in names], names=names)


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch without columns of views, from which pyarrow cannot take single rows."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_string_view(field.type):
            column = batch.column(place).cast(pa.large_string())
        elif pa.types.is_binary_view(field.type):
            column = batch.column(place).cast(pa.large_binary())
        else:
            continue
        batch = batch.set_column(place, field.name, column)
    return batch


def _block(
    batch: pa.RecordBatch,
    field: TextField,
    path: str,
    options: ReadOptions,
    places: arrow.Integers,
    first: int,
) -> Block:
    decoded, bad = _decoded(batch, field.names)
    decoded = arrow.with_partition(decoded, options.partition, path)
    if not bad:
        return arrow.block(decoded, field, path, first + places, places + 1, "row")
    raw = arrow.ArrowRows(batch, (first + places).tolist()).take(list(bad)).json()
    problems = [
        Problem(
            path, int(places[i]) + 1, first + int(places[i]), reason, "encoding",
            row[: arrow.RAW_KEPT], "row",
        )
        for (i, reason), row in zip(bad.items(), raw, strict=True)
    ]  # fmt: skip
    good = np.setdiff1d(np.arange(len(batch)), list(bad))
    kept = decoded.take(pa.array(good))
    block = arrow.block(kept, field, path, first + places[good], places[good] + 1, "row")
    return arrow.with_problems(block, problems, 0)


def _decoded(
    batch: pa.RecordBatch, names: tuple[str, ...]
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Return the batch with these columns of bytes as texts, and why rows are not UTF-8."""
    bad: dict[int, str] = {}
    for name in names:
        place = batch.schema.get_field_index(name)
        if place < 0 or not _is_bytes(batch.column(place).type):
            continue
        column = batch.column(place)
        try:
            texts = column.cast(pa.large_string())
        except pa.ArrowInvalid:
            texts, found = _decode_each(column, name)
            bad |= found
        batch = batch.set_column(place, name, texts)
    return batch, bad


def _is_bytes(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _decode_each(column: pa.Array, name: str) -> tuple[pa.Array, dict[int, str]]:
    texts: list[str | None] = []
    bad: dict[int, str] = {}
    for i, value in enumerate(column.to_pylist()):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            byte = value[error.start]
            bad[i] = f"byte {byte:#04x} at byte {error.start + 1} of {name!r} is not UTF-8"
    return pa.array(texts, pa.large_string()), bad
