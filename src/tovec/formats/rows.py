"""The forms in which rows are kept between a reader and a writer: never more work than asked for.

Rows of plain texts are built only when written; JSON rows keep their bytes, so that a number or a
nested value leaves exactly as it came; Arrow is made only for a writer that wants it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson

from tovec.errors import InputError, UsageError
from tovec.suggest import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from tovec.formats.protocols import ReadOptions


@dataclass(frozen=True, slots=True, eq=False)
class PlainRows:
    """Texts (or token arrays) without fields: each becomes `index`, `text` (or `tokens`).

    `more` are fields that all of them share.
    """

    index: Sequence[int]
    values: Sequence[Any]
    name: str = "text"
    more: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: Sequence[int]) -> PlainRows:
        """Return the rows at `indices`, in that order."""
        index, values = self.index, self.values
        some = [index[i] for i in indices], [values[i] for i in indices]
        return PlainRows(*some, self.name, self.more)

    def _columns(self, columns: Sequence[str] | None) -> dict[str, Sequence[Any]]:
        every: dict[str, Sequence[Any]] = {"index": self.index, self.name: self.values}
        every |= {name: [value] * len(self) for name, value in self.more.items()}
        return every if columns is None else {name: every[name] for name in checked(columns, every)}

    def json(self, columns: Sequence[str] | None = None) -> list[bytes]:
        """Return each row as one JSON object."""
        chosen = self._columns(columns)
        keys = list(chosen)
        rows = zip(*chosen.values(), strict=True) if keys else ((),) * len(self)
        return [orjson.dumps(dict(zip(keys, row, strict=True))) for row in rows]

    def arrow(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Return the rows as an Arrow batch: index int64, text string."""
        import pyarrow as pa

        types = {"index": pa.int64(), "text": pa.string(), "tokens": pa.list_(pa.int64())}
        types |= {
            name: pa.scalar(value).type  # of null for None, which a writer widens
            for name, value in self.more.items()
        }
        chosen = self._columns(columns)
        return pa.RecordBatch.from_arrays(
            [pa.array(values, types[name]) for name, values in chosen.items()], names=list(chosen)
        )

    def ids(self, field: str) -> list[Any]:
        """Return the values of one field."""
        return list(self._columns([field])[field])


@dataclass(frozen=True, slots=True, eq=False)
class JsonRows:
    """JSON objects: their bytes as they came, and parsed."""

    raw: Sequence[bytes]
    parsed: Sequence[Mapping[str, Any]]
    index: Sequence[int]
    lines: Sequence[int]
    source: str

    def __len__(self) -> int:
        return len(self.raw)

    def take(self, indices: Sequence[int]) -> JsonRows:
        """Return the rows at `indices`, in that order."""
        return JsonRows(
            [self.raw[i] for i in indices],
            [self.parsed[i] for i in indices],
            [self.index[i] for i in indices],
            [self.lines[i] for i in indices],
            self.source,
        )

    def json(self, columns: Sequence[str] | None = None) -> list[bytes]:
        """Return the rows' own bytes, or of each row the columns that it has."""
        if columns is None:
            return [row.strip() for row in self.raw]
        self._check(columns)
        return [
            orjson.dumps({name: row[name] for name in columns if name in row})
            for row in self.parsed
        ]

    def arrow(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Return the rows as an Arrow batch, in the types that their values have.

        Raises InputError for a field whose values fit no one Arrow type.
        """
        import pyarrow as pa

        if columns is None:
            columns = list(dict.fromkeys(chain.from_iterable(self.parsed)))
        else:
            self._check(columns)
        arrays = []
        for name in columns:
            try:
                arrays.append(pa.array([row.get(name) for row in self.parsed]))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                raise self.mixed(name) from None
        return pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def mixed(self, name: str) -> InputError:
        """Return the error for a field that a column of one type cannot hold."""
        first = self.lines[0] if self.lines else 0
        return InputError(
            f"the field {name!r} holds values of different types",
            where=f"{self.source}, from line {first}",
            hint="leave it out with --columns, or write --format jsonl",
        )

    def ids(self, field: str) -> list[Any]:
        """Return the values of one field; None where a row lacks it."""
        return [row.get(field) for row in self.parsed]

    def _check(self, columns: Sequence[str]) -> None:
        if len(self):
            found = dict.fromkeys(chain.from_iterable(self.parsed))
            checked([name for name in columns if name not in found], found)


def checked(columns: Sequence[str], known: Mapping[str, object]) -> Sequence[str]:
    """Return the columns back if all are known; InputError naming the nearest otherwise."""
    for name in columns:
        if name not in known:
            fields = ", ".join(list(known)[:20]) or "none"
            raise InputError(
                f"there is no column {name!r}",
                hint=did_you_mean(name, known, f"the input has: {fields}"),
            )
    return columns


def partition_fields(options: ReadOptions, fields: Sequence[str], source: str) -> dict[str, Any]:
    """Return the columns that a directory's name holds for plain rows with these `fields`.

    Raises InputError for a column that has the name of such a field.
    """
    for one in options.partition:
        if one.name in fields:
            raise InputError(
                f"the directory's name holds a column {one.name!r}, and its rows have that field",
                where=source,
            )
    return {one.name: one.value for one in options.partition}


def check_fields(options: ReadOptions, known: Sequence[str], what: str) -> None:
    """Raise UsageError where an option names a field that `what`, a plain row, never has."""
    if options.plain_as_text:  # these options are about other rows
        return
    ids = () if options.id_field is None else (options.id_field,)
    for option, named in (("--id-field", ids), ("--columns", options.columns or ())):
        check_names(named, known, f"{option}: {what}")


def check_names(names: Sequence[str], known: Sequence[str], what: str, hint: str = "") -> None:
    """Raise UsageError for a name that is not among the known fields of `what`."""
    for name in names:
        if name not in known:
            hint = hint or f"it has: {', '.join(known)}"
            raise UsageError(f"{what} has no field {name!r}", hint=hint)
