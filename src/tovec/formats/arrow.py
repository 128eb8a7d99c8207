"""Rows that stay Arrow from the file to the writer, and how such a row looks as JSON.

Of a batch only the texts become Python objects. As JSON: times are ISO 8601 with all their
digits, durations too, decimals are strings with all their digits, bytes are base64, a map is an
array of pairs; NaN and infinity, which JSON has no words for, are null.
"""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tovec.errors import InputError
from tovec.formats.fields import TextField, prefixes
from tovec.formats.protocols import Partition, ReadOptions
from tovec.formats.rows import checked
from tovec.records import Block, Problem

with contextlib.suppress(NotImplementedError):  # it is not part of pyarrow on every system
    # Arrow's other allocators copy what grows, and keep 50 MB more.
    pa.set_memory_pool(pa.jemalloc_memory_pool())

BLOCK_ROWS = 512  # a block's vectors are held until it is whole
RAW_KEPT = 64 << 10  # bytes of a bad row kept for the rejects file

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ArrowRows:
    """Rows of an Arrow batch, types kept.

    With `places` they are these rows of the batch, gathered when they are asked for: a long text
    that was cut may repeat a thousand times.
    """

    batch: pa.RecordBatch
    index: Sequence[int]
    places: Integers | None = None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, indices: Sequence[int]) -> ArrowRows:
        """Return the rows at `indices`, in that order."""
        places = np.asarray(indices, np.int64)
        index = [self.index[i] for i in indices]
        return ArrowRows(self.batch, index, places if self.places is None else self.places[places])

    def json(self, columns: Sequence[str] | None = None) -> list[bytes]:
        """Return each row as one JSON object."""
        batch = self._chosen(columns)
        if not batch.schema.names:
            return [b"{}"] * len(self)
        if self.places is None:
            return _objects(batch)
        distinct, which = np.unique(self.places, return_inverse=True)
        objects = _objects(batch.take(pa.array(distinct)))
        return [objects[i] for i in which.tolist()]

    def arrow(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Return the batch, or the columns of it that are asked for."""
        batch = self._chosen(columns)
        return batch if self.places is None else batch.take(pa.array(self.places))

    def ids(self, field: str) -> list[Any]:
        """Return the values of one field as JSON values."""
        column = _values_of(field, self.arrow([field]).column(0))
        return [orjson.loads(orjson.dumps(value, default=_json)) for value in column]

    def _chosen(self, columns: Sequence[str] | None) -> pa.RecordBatch:
        names = self.batch.schema.names
        if columns is None or not names:  # an empty file has no columns
            return self.batch
        return self.batch.select(list(checked(columns, dict.fromkeys(names))))


def _objects(batch: pa.RecordBatch) -> list[bytes]:
    names = batch.schema.names
    return [
        orjson.dumps(dict(zip(names, row, strict=True)), default=_json)
        for row in zip(*map(_values_of, names, batch.columns), strict=True)
    ]


def needed(
    options: ReadOptions, names: Sequence[str], source: str, *, nested: bool = True
) -> list[str] | None:
    """Return the columns that are worth reading, in the file's order; None means all of them.

    A text field with dots may reach into a column (`nested`).
    Raises InputError when a column that holds the text, the id or an output column is not there.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two columns are called {twice!r}", where=source, hint="rename one")
    fields = TextField(options).names
    if nested:
        fields = tuple(_outer(name, names) for name in fields)
    wanted = [*fields, *([options.id_field] if options.id_field else [])]
    wanted += options.columns or ()
    try:
        checked(wanted, dict.fromkeys(names))
    except InputError as error:
        raise InputError(error.what, where=source, hint=error.hint) from None
    return None if options.columns is None else [name for name in names if name in wanted]


def with_partition(
    batch: pa.RecordBatch, partition: Sequence[Partition], source: str
) -> pa.RecordBatch:
    """Return the batch with the columns that its directory's name holds, after its own.

    Raises InputError where the file has such a column and says something else in it.
    """
    for one in partition:
        kind = pa.int64() if one.kind == "integer" else pa.string()
        if one.name not in batch.schema.names:
            column = pa.repeat(pa.scalar(one.value, kind), len(batch))
            batch = batch.append_column(pa.field(one.name, kind), column)
            continue
        told = None if one.value is None else str(one.value)
        try:
            own = batch.column(one.name).cast(pa.string()).unique().to_pylist()
        except pa.ArrowNotImplementedError:
            own = [str(batch.schema.field(one.name).type)]
        if others := [value for value in own if value != told]:
            raise InputError(
                f"the column {one.name!r} holds {str(others[0])[:40]} in the file, and {told} in "
                "the directory's name",
                where=source,
                hint="leave one of the two out",
            )
    return batch


def _outer(name: str, names: Sequence[str]) -> str:
    """Return the column that a name with dots reaches into."""
    heads = (head for head, _ in prefixes(name) if head in names)
    return name if name in names else next(heads, name)


def path_of(schema: pa.Schema, name: str) -> list[str]:
    """Return the names that lead to a field, from the column inwards; [] where there is none."""
    if name in schema.names:
        return [name]
    for head, rest in prefixes(name):
        kind = schema.field(head).type if head in schema.names else None
        if kind is not None and pa.types.is_struct(kind):
            inner = path_of(pa.schema(list(kind)), rest)
            if inner:
                return [head, *inner]
    return []


def texts_only(schema: pa.Schema, names: Sequence[str], source: str) -> None:
    """Raise InputError for a text column that holds anything but texts."""
    for name in names:
        path = path_of(schema, name)
        if not path:
            known = [*schema.names, *_fields_of_structs(schema)]
            try:
                checked([name], dict.fromkeys(known))
            except InputError as error:
                raise InputError(error.what, where=source, hint=error.hint) from None
        kind = schema.field(path[0]).type
        for inner in path[1:]:
            kind = kind.field(inner).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
            or pa.types.is_null(kind)
        ):
            raise InputError(
                f"the column {name!r} holds {kind}, not texts",
                where=source,
                hint="name the column that is embedded with --text-field",
            )


def _fields_of_structs(schema: pa.Schema) -> list[str]:
    structs = [one for one in schema if pa.types.is_struct(one.type)]
    return [f"{one.name}.{inner.name}" for one in structs for inner in one.type]


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column, or the field within a column that a name with dots reaches."""
    head, *inner = path_of(batch.schema, name)
    column = batch.column(head)
    for one in inner:  # `flatten` keeps the nulls of the struct, `field` does not
        column = column.flatten()[column.type.get_field_index(one)]
    return column


def block(
    batch: pa.RecordBatch,
    field: TextField,
    source: str,
    index: Integers,
    lines: Integers,
    unit: str = "line",
) -> Block:
    """Return a batch as a block: `index[i]` and `lines[i]` are row i's place."""
    texts, bad = _texts(batch, field)
    rows = ArrowRows(batch, index.tolist())
    if not bad:
        return Block(texts, rows, source, rows.index, lines.tolist(), unit=unit)
    raw = rows.take(list(bad)).json()
    problems = tuple(
        Problem(source, int(lines[i]), int(index[i]), reason, kind, row[:RAW_KEPT], unit)
        for (i, (kind, reason)), row in zip(bad.items(), raw, strict=True)
    )
    kept = np.setdiff1d(np.arange(len(rows)), list(bad))
    rows = rows.take(kept.tolist())
    return Block(texts, rows, source, rows.index, lines[kept].tolist(), problems, unit=unit)


def with_problems(block: Block, problems: Sequence[Problem], blank: int) -> Block:
    """Return the block with further problems in its stretch of input, and its blank rows."""
    if not problems and not blank:
        return block
    every = sorted((*block.problems, *problems), key=lambda problem: problem.index)
    return replace(block, problems=tuple(every), blank=blank)


def _texts(batch: pa.RecordBatch, field: TextField) -> tuple[list[str], dict[int, tuple[str, str]]]:
    """Return the texts of the rows that have one, and of the others kind and reason."""
    bad: dict[int, tuple[str, str]] = {}
    if not len(batch):  # an empty file has no columns
        return [], bad
    columns = [_column(batch, name).to_numpy(zero_copy_only=False).tolist() for name in field.names]
    if field.single is not None:
        texts = [text for text in columns[0] if text and not text.isspace()]
        if len(texts) == len(batch):
            return texts, bad
    texts = []
    for i, row in enumerate(zip(*columns, strict=True)):
        try:
            texts.append(field(dict(zip(field.names, row, strict=True))))
        except ValueError as error:
            bad[i] = error.args
    return texts, bad


# Values as JSON ---------------------------------------------------------------------------------


def _values_of(name: str, column: pa.Array) -> list[Any]:
    try:
        return values(column)
    except (ValueError, OverflowError) as error:  # a year beyond 9999, an unknown time zone
        raise InputError(
            f"a value of the column {name!r} cannot be written as JSON: {error}",
            hint="leave it out with --columns, or write --format parquet",
        ) from None


def values(array: pa.Array) -> list[Any]:
    """Return an array's values as Python objects that lose nothing.

    A datetime holds microseconds, so nanoseconds become their ISO 8601 text, however deep.
    """
    kind = array.type
    if not _nanoseconds(kind):
        return array.to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind) or pa.types.is_duration(kind):
        return _nanosecond_texts(array)
    if pa.types.is_struct(kind):
        fields = [values(array.field(i)) for i in range(kind.num_fields)]
        names = [kind.field(i).name for i in range(kind.num_fields)]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)]
        return _with_nulls(array, rows)
    if pa.types.is_dictionary(kind):
        return values(array.dictionary_decode())
    if pa.types.is_map(kind):
        keys, items = values(array.keys), values(array.items)
        offsets = array.offsets.to_pylist()
        pairs = list(zip(keys, items, strict=True))
        return _with_nulls(array, [pairs[a:b] for a, b in _spans(offsets)])
    if pa.types.is_fixed_size_list(kind):
        inner = values(array.values)
        size, start = kind.list_size, array.offset
        whole = [inner[(start + i) * size : (start + i + 1) * size] for i in range(len(array))]
        return _with_nulls(array, whole)
    inner = values(array.values)
    return _with_nulls(array, [inner[a:b] for a, b in _spans(array.offsets.to_pylist())])


def _spans(offsets: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(offsets))


def _with_nulls(array: pa.Array, whole: list[Any]) -> list[Any]:
    if not array.null_count:
        return whole
    there = array.is_valid().to_pylist()
    return [value if valid else None for value, valid in zip(whole, there, strict=True)]


def _nanoseconds(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _nanoseconds(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_nanoseconds(kind.field(i).type) for i in range(kind.num_fields))
    return getattr(kind, "unit", None) == "ns"


def _nanosecond_texts(array: pa.Array) -> list[str | None]:
    return [
        None if number is None else _nanosecond_text(number, array.type)
        for number in array.cast(pa.int64()).to_pylist()
    ]


def _nanosecond_text(number: int, kind: Any) -> str:
    seconds, rest = divmod(number, 1_000_000_000)
    if pa.types.is_duration(kind):
        return _duration(seconds, rest)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    if pa.types.is_time64(kind):
        return f"{moment:%H:%M:%S}{fraction}"
    if kind.tz is None:
        return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}"
    there = moment.astimezone(pa.lib.string_to_tzinfo(kind.tz))
    text = there.isoformat()
    return text[:19] + fraction + text[19:]


def _duration(seconds: int, nanoseconds: int) -> str:
    sign = "-" if seconds < 0 else ""
    if seconds < 0:
        seconds, nanoseconds = divmod(-(seconds * 1_000_000_000 + nanoseconds), 1_000_000_000)
    return f"{sign}PT{seconds}{f'.{nanoseconds:09d}'.rstrip('0').rstrip('.')}S"


def _json(value: Any) -> Any:
    """Return what orjson writes for a value that JSON has no type for."""
    convert = _CONVERTED.get(type(value))
    if convert is None:
        if isinstance(value, np.floating):
            return float(value)
        raise TypeError(type(value).__name__)
    return convert(value)


_CONVERTED: Mapping[type, Callable[[Any], Any]] = {
    bytes: lambda value: b64encode(value).decode(),
    Decimal: str,
    timedelta: lambda value: _duration(
        value.days * 86_400 + value.seconds, value.microseconds * 1000
    ),
}
