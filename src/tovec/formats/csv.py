"""CSV and TSV in: stretches of whole records, parsed by Python's csv, typed without losing a digit.

Types are found in the first MiB (`csv_types`), so that a live pipe waits for that much, or for its
end; with `--csv-types text` rows are handed over as they come.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from io import RawIOBase
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tovec.errors import InputError, UsageError
from tovec.formats import arrow, cutting
from tovec.formats.csv_types import Type, type_of
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.encoding import NAME_IT, as_utf8, decode, describe_errors, encode, has_errors
from tovec.formats.fields import TextField
from tovec.formats.protocols import ReadOptions
from tovec.formats.source import chunks, shown
from tovec.records import Block, Problem
from tovec.wording import count_phrase

SAMPLE_BYTES = 1 << 20  # in which types are found: a fixed stretch, however the bytes arrive
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPES = {
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "0": "\0",
    "Z": "\x1a",
}
_NULL = r"\N"

csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))  # `cutting` keeps the bound

Record = list[str]


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a CSV file's rows as blocks; `first` is the index of its first row in the whole input.

    A record with too few or too many fields, or bytes that are not in the encoding, is a problem
    of its block. Raises InputError for a quote that is never closed, for a column that is not
    there, and for a value that is not of the type that its column had in the first MiB.
    """
    yield from _File(path, options, ",").blocks(first, stdin)


def read_tsv(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a TSV file's rows as blocks, as `read` does."""
    yield from _File(path, options, "\t").blocks(first, stdin)


class _Stretch(NamedTuple):
    """Some whole records: those that are rows, and those that are problems or blank."""

    rows: list[Record]
    order: list[int]  # the place of each row among the stretch's records
    lines: list[int]  # in which each row begins
    records: int
    blank: int
    bad: list[tuple[int, int, str, str, bytes]]  # place, line, reason, kind, raw


class _File:
    """One file on its way: what its header and its first MiB have said."""

    def __init__(self, path: str, options: ReadOptions, delimiter: str) -> None:
        self._path = path
        self._source = shown(path)
        self._options = options
        self._delimiter = options.delimiter or delimiter
        if len(self._delimiter.encode()) != 1 or self._delimiter in '"\r\n':
            raise UsageError("--delimiter takes one ASCII character", hint="a tab is $'\\t'")
        if options.csv_types not in ("auto", "text"):
            raise UsageError("--csv-types takes auto or text")
        if options.csv_quoting not in ("quotes", "backslash"):
            raise UsageError("--csv-quoting takes quotes or backslash")
        self._quoted = options.csv_quoting == "quotes"
        self._field = TextField(options)
        self._line = 1  # of the next record
        self._names: list[str] = []
        self._unnamed = 0  # columns after the last name, which hold nothing
        self._kept: Sequence[str] = ()
        self._types: dict[str, Type] | None = None

    def blocks(self, first: int, stdin: RawIOBase | None) -> Iterator[Block]:
        """Yield the file's blocks."""
        index = first
        started = False
        for piece in self._pieces(stdin):
            if not self._names:
                piece = self._take_header(piece)
                if not piece:
                    continue
            stretch = self._parse(piece)
            columns = self._columns(stretch)
            if self._types is None:
                self._types = self._find_types(columns)
            for block in self._typed(stretch, columns, index):
                started = True
                yield block
            index += stretch.records
        if not started:
            empty = [pa.array([], pa.string())] * len(self._names)
            batch = pa.record_batch(empty, names=self._names)
            batch = arrow.with_partition(batch, self._options.partition, self._source)
            none = np.empty(0, np.int64)
            yield arrow.block(batch, self._field, self._source, none, none)

    def _pieces(self, stdin: RawIOBase | None) -> Iterator[bytes]:
        parts = as_utf8(chunks(self._path, stdin), self._options, self._source)
        if self._options.csv_types == "auto":
            parts = _sampled(parts)
        if self._quoted:
            return cutting.quoted_records(parts, self._delimiter.encode(), self._broken)
        return cutting.plain_records(parts, self._broken)

    # The header ---------------------------------------------------------------------------------

    def _take_header(self, piece: bytes) -> bytes:
        """Take the columns' names; return what follows them, or everything without a header."""
        body = piece.lstrip(b"\r\n")
        self._line += _count_lines(piece[: len(piece) - len(body)])
        if not body:
            return b""
        cut = cutting.first_end(body, self._delimiter.encode() if self._quoted else None)
        header = body[:cut]
        text = decode(header, self._options)
        if has_errors(text):
            where = f"{self._source}, line {self._line}"
            raise InputError(describe_errors(text, self._options), where=where, hint=NAME_IT)
        names = next(self._reader(text))
        if not self._options.header:
            self._names = [f"c{number}" for number in range(1, len(names) + 1)]
        else:
            self._names, self._unnamed = self._named(names)
            self._line += _count_lines(header)
            body = body[cut:]
        self._kept = self._needed()
        return body

    def _named(self, names: Sequence[str]) -> tuple[list[str], int]:
        """Return the header's names, and how many columns after them have none, as Excel writes.

        One column without a name is a column called "": pandas writes its index so.
        """
        if names.count("") < 2:
            return list(names), 0
        last = max((i for i, name in enumerate(names) if name), default=-1)
        kept = list(names[: last + 1])
        if kept.count("") > 1:
            raise InputError(
                f"{count_phrase(kept.count(''), 'column has', 'columns have')} no name",
                where=f"{self._source}, line {self._line}",
                hint="name them in the header; --no-header reads the first record as a row",
            )
        return kept, len(names) - len(kept)

    def _needed(self) -> Sequence[str]:
        try:
            named = (one.name for one in self._options.partition)
            every = [*self._names, *(name for name in named if name not in self._names)]
            kept = arrow.needed(self._options, every, self._source, nested=False)
        except InputError as error:
            others = [one for one in (";", "\t", "|", ",") if one != self._delimiter]
            header = max(self._names, key=len)
            found = max(others, key=header.count)
            if found in header and self._options.header:
                shown_as = "$'\\t'" if found == "\t" else f"'{found}'"
                error.hint = f"the header is {header[:60]!r}: --delimiter {shown_as}?"
            elif not self._options.header:
                known = "c1" if len(self._names) == 1 else f"c1 to c{len(self._names)}"
                error.hint = f"without a header there is {known}: name one with --text-field"
            raise
        return self._names if kept is None else kept

    # Records ------------------------------------------------------------------------------------

    def _reader(self, text: str) -> Any:
        lines = io.StringIO(text, newline="")  # a line feed, a carriage return or both end a line
        if self._quoted:
            return csv.reader(lines, delimiter=self._delimiter)
        return csv.reader(lines, delimiter=self._delimiter, quoting=csv.QUOTE_NONE)

    def _parse(self, piece: bytes) -> _Stretch:
        text = decode(piece, self._options)
        reader = self._reader(text)
        records: list[Record] = []
        ends: list[int] = []  # the line after each record, from 0
        for record in reader:
            records.append(record)
            ends.append(reader.line_num)
        if len(piece) > MAX_RECORD_BYTES:
            self._check_sizes(text, ends)
        width = len(self._names)
        whole = all(len(record) == width for record in records) and all(map(any, records))
        if whole and not has_errors(text):
            starts = [self._line + start for start in [0, *ends[:-1]]]
            count = len(records)
            stretch = _Stretch(records, list(range(count)), starts, count, 0, [])
        else:
            stretch = self._sort_out(records, ends, list(io.StringIO(text, newline="")))
        self._line += reader.line_num
        return stretch

    def _sort_out(self, records: list[Record], ends: list[int], lines: list[str]) -> _Stretch:
        """Return a stretch whose records are not all rows."""
        width = len(self._names)
        found = _Stretch([], [], [], len(records), 0, [])
        blank = 0
        for place, (record, (start, end)) in enumerate(
            zip(records, pairwise([0, *ends]), strict=True)
        ):
            if not any(record) and (not record or width <= len(record) <= width + self._unnamed):
                blank += 1
                continue
            problem = self._problem(record, "".join(lines[start:end]))
            if problem is None:
                found.rows.append(record[:width])
                found.order.append(place)
                found.lines.append(self._line + start)
            else:
                found.bad.append((place, self._line + start, *problem))
        return found._replace(blank=blank)

    def _problem(self, record: Record, raw: str) -> tuple[str, str, bytes] | None:
        """Return why a record is not a row: reason, kind and its bytes; None where it is one."""
        raw = raw.rstrip("\r\n")
        width = len(self._names)
        if has_errors(raw):
            unit = "record" if "\n" in raw or "\r" in raw else "line"
            reason = describe_errors(raw, self._options, unit)
            return reason, "encoding", encode(raw, self._options)
        if width <= len(record) <= width + self._unnamed:
            if not any(record[width:]):
                return None
            place = next(i for i, one in enumerate(record) if i >= width and one)
            reason = f"column {place + 1} has a value, but the header has no name for it"
        else:
            fields = count_phrase(len(record), "field")
            reason = f"the record has {fields}, the header {width:,}"
        return reason, "syntax", encode(raw, self._options)

    def _check_sizes(self, text: str, ends: Sequence[int]) -> None:
        """Raise for a record beyond the bound, however the bytes arrived."""
        lines = list(io.StringIO(text, newline=""))
        for start, end in pairwise([0, *ends]):
            record = "".join(lines[start:end]).rstrip("\r\n")
            if len(record.encode("utf-8", "surrogatepass")) > MAX_RECORD_BYTES:
                self._line += start
                raise self._broken(b"", cutting.too_long("record"))

    # Columns ------------------------------------------------------------------------------------

    def _columns(self, stretch: _Stretch) -> dict[str, Sequence[str | None]]:
        """Return the columns that are kept, as texts."""
        by_place = list(zip(*stretch.rows, strict=True)) or [()] * len(self._names)
        every: dict[str, Sequence[str | None]] = dict(zip(self._names, by_place, strict=True))
        kept = {name: every[name] for name in self._names if name in set(self._kept)}
        if not self._quoted:
            kept = {name: list(map(_unescaped, texts)) for name, texts in kept.items()}
        return kept

    def _find_types(self, columns: dict[str, Sequence[str | None]]) -> dict[str, Type]:
        """Return the types of the columns that are not texts."""
        if self._options.csv_types == "text":
            return {}
        found = {
            name: type_of(texts) for name, texts in columns.items() if name not in self._field.names
        }
        return {name: kind for name, kind in found.items() if kind is not None}

    def _typed(
        self, stretch: _Stretch, columns: dict[str, Sequence[str | None]], index: int
    ) -> Iterator[Block]:
        arrays = [self._column(name, texts, stretch.lines) for name, texts in columns.items()]
        batch = pa.record_batch(arrays, names=list(columns))
        batch = arrow.with_partition(batch, self._options.partition, self._source)
        order = np.array(stretch.order, np.int64) + index
        lines = np.array(stretch.lines, np.int64)
        problems = [
            Problem(self._source, line, index + place, reason, kind, raw[: arrow.RAW_KEPT])
            for place, line, reason, kind, raw in stretch.bad
        ]
        blank = stretch.blank
        for start in range(0, max(len(batch), 1), arrow.BLOCK_ROWS):
            part = slice(start, start + arrow.BLOCK_ROWS)
            some = batch.slice(start, arrow.BLOCK_ROWS)
            block = arrow.block(some, self._field, self._source, order[part], lines[part])
            yield arrow.with_problems(block, problems, blank)
            problems, blank = [], 0

    def _column(self, name: str, texts: Sequence[str | None], lines: Sequence[int]) -> pa.Array:
        kind = (self._types or {}).get(name)
        if kind is None:
            return pa.array(texts, pa.string())
        try:
            return kind.column(texts)
        except ValueError as error:
            at = error.args[0]
        raise InputError(
            f"the column {name!r} holds {kind.name} in the first rows, but {texts[at]!r} here",
            where=f"{self._source}, line {lines[at]}",
            hint="--csv-types text keeps every column as the text it is",
        )

    def _broken(self, before: bytes, reason: str) -> InputError:
        """Return the error for a record that does not end; `before` is what comes before it."""
        line = self._line + _count_lines(before)
        return InputError(
            reason,
            where=f"{self._source}, line {line}",
            hint='a field that begins with a quote is quoted as a whole, each " in it doubled',
        )


def _unescaped(text: str | None) -> str | None:
    r"""Return a field without its escapes (\t, \n, ...), as psql's COPY writes; \N is null."""
    if text is None or "\\" not in text:
        return text
    if text == _NULL:
        return None
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), text)


def _count_lines(data: bytes) -> int:
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def _sampled(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the first SAMPLE_BYTES in one part: types do not depend on how bytes arrive."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= SAMPLE_BYTES:
            break
    whole = b"".join(held)
    if whole:
        yield whole[:SAMPLE_BYTES]
    if len(whole) > SAMPLE_BYTES:
        yield whole[SAMPLE_BYTES:]
    yield from parts
