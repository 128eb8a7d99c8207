"""CSV and TSV in: records cut here as they arrive, parsed by pyarrow, typed without losing a digit.

Types are found in the first MiB (`csv_types`), so that a live pipe waits for that much, or for its
end; with `--csv-types text` rows are handed over as they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import RawIOBase
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as parser

from tovec.errors import InputError, UsageError
from tovec.formats import arrow
from tovec.formats.csv_types import type_of, typed
from tovec.formats.cutting import ends, records
from tovec.formats.encoding import as_utf8
from tovec.formats.fields import TextField
from tovec.formats.interface import ReadOptions
from tovec.formats.source import chunks, shown
from tovec.records import Block, Problem

SAMPLE = 1 << 20  # bytes in which types are found: a fixed stretch, however the bytes arrive


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Give a CSV file's rows as blocks; `first` is the index of its first row in the whole input.

    A record with too few or too many fields is a problem of its block. Raises InputError for a
    quote that is never closed, for a column that is not there, and for a value that is not of the
    type that its column had in the first MiB.
    """
    yield from _File(path, options, ",").blocks(first, stdin)


def read_tsv(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Give a TSV file's rows as blocks, as `read` does."""
    yield from _File(path, options, "\t").blocks(first, stdin)


class _Parsed(NamedTuple):
    """A stretch of records: texts by column, the line of each row, and what is no row."""

    batch: Any  # RecordBatch of strings
    order: Any  # int64: the place of each row among the stretch's records
    lines: Any  # int64
    records: int
    ragged: list[Any]  # (place, line, expected, found, text)


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
        self._field = TextField(options)
        self._line = 1  # of the next record
        self._names: list[str] = []
        self._kept: Sequence[str] = ()
        self._types: dict[str, Any] | None = None

    def blocks(self, first: int, stdin: RawIOBase | None) -> Iterator[Block]:
        """Give the file's blocks."""
        index = first
        parts = as_utf8(chunks(self._path, stdin), self._options, self._source)
        if self._options.csv_types == "auto":
            parts = _sampled(parts)
        started = False
        for piece in records(parts, self._delimiter.encode(), self._broken):
            if not self._names:
                piece = self._header(piece)
                if not self._names:
                    continue
            parsed = self._parse(piece) if piece else self._nothing()
            if self._types is None:
                self._types = self._found(parsed.batch)
            for block in self._typed(parsed, index):
                started = True
                yield block
            index += parsed.records
        if not started:
            yield arrow.block(self._nothing().batch, self._field, self._source, _none(), _none())

    def _header(self, piece: bytes) -> bytes:
        """Take the header; give what follows it."""
        body = piece.lstrip(b"\r\n")
        self._line += piece[: len(piece) - len(body)].count(b"\n")
        if not body:
            return b""
        cut = next(ends(body, self._delimiter.encode()), len(body))
        header = body[:cut]
        row = self._parser(header.rstrip(b"\r\n") + b"\n", None)
        self._names = [column[0].as_py() for column in row.columns]
        self._line += header.count(b"\n")
        kept = arrow.needed(self._options, self._names, self._source)
        self._kept = self._names if kept is None else kept
        return body[cut:]

    def _nothing(self) -> _Parsed:
        empty = [pa.array([], pa.string())] * len(self._names)
        return _Parsed(pa.record_batch(empty, names=self._names), _none(), _none(), 0, [])

    def _parser(self, piece: bytes, ragged: Any) -> Any:
        names = self._names or None
        width = piece.count(self._delimiter.encode()) + 1 if names is None else len(names)
        known = names or [f"f{i}" for i in range(width)]
        return parser.read_csv(
            pa.BufferReader(piece),
            read_options=parser.ReadOptions(
                column_names=names,
                autogenerate_column_names=names is None,
                use_threads=False,
                block_size=len(piece) + 1,
            ),
            parse_options=parser.ParseOptions(
                delimiter=self._delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=ragged,
            ),
            convert_options=parser.ConvertOptions(
                check_utf8=False,  # it was decoded already
                column_types=dict.fromkeys(known, pa.string()),
                strings_can_be_null=False,
            ),
        )

    def _parse(self, piece: bytes) -> _Parsed:
        found: list[Any] = []

        def ragged(row: Any) -> str:
            found.append(row)
            return "skip"

        try:
            table = self._parser(piece, ragged)
        except pa.ArrowInvalid as error:
            last = self._line + piece.count(b"\n")
            raise InputError(
                f"not CSV: {error}", where=f"{self._source}, lines {self._line} to {last}"
            ) from None
        total = len(table) + len(found)
        batch = table.combine_chunks().to_batches()[0] if len(table) else self._nothing().batch
        skipped = np.array([row.number - 1 for row in found], np.int64)
        order = np.setdiff1d(np.arange(total), skipped)
        feeds = piece.count(b"\n") + (not piece.endswith(b"\n"))
        spans = np.ones(total, np.int64)
        if feeds != total:
            spans[order] += _line_feeds(batch)
            spans[skipped] += np.array([row.text.count("\n") for row in found], np.int64)
        begins = self._line + np.cumsum(spans) - spans
        self._line += feeds
        return _Parsed(
            batch,
            order,
            begins[order],
            total,
            [
                (place, int(begins[place]), row.expected_columns, row.actual_columns, row.text)
                for place, row in zip(skipped.tolist(), found, strict=True)
            ],
        )

    def _found(self, batch: Any) -> dict[str, Any]:
        """Give the types of the columns that are not texts."""
        if self._options.csv_types == "text":
            return {}
        names = [name for name in self._kept if name not in self._field.names]
        kinds = {name: type_of(batch.column(name)) for name in names}
        return {name: kind for name, kind in kinds.items() if kind is not None}

    def _typed(self, parsed: _Parsed, index: int) -> Iterator[Block]:
        batch, order, lines = parsed.batch, parsed.order, parsed.lines
        blank = _all_empty(batch)
        if blank is not None:
            there = np.flatnonzero(~blank)
            batch, order, lines = batch.take(pa.array(there)), order[there], lines[there]
        columns = [self._column(name, batch.column(name), lines) for name in self._kept]
        batch = pa.record_batch(columns, names=list(self._kept))
        problems = tuple(self._ragged(row, index) for row in parsed.ragged)
        skipped = 0 if blank is None else int(blank.sum())
        for start in range(0, max(len(batch), 1), arrow.BLOCK_ROWS):
            part = slice(start, start + arrow.BLOCK_ROWS)
            some = batch.slice(start, arrow.BLOCK_ROWS)
            block = arrow.block(some, self._field, self._source, index + order[part], lines[part])
            if problems or skipped:
                every = sorted((*block.problems, *problems), key=lambda problem: problem.index)
                block = replace(block, problems=tuple(every), blank=skipped)
                problems, skipped = (), 0
            yield block

    def _column(self, name: str, column: Any, lines: Any) -> Any:
        kind = (self._types or {}).get(name)
        if kind is None:
            return column
        try:
            return typed(column, kind)
        except ValueError as error:
            at = error.args[0]
        raise InputError(
            f"the column {name!r} holds {kind} in the first rows, and {column[at].as_py()!r} here",
            where=f"{self._source}, line {lines[at]}",
            hint="--csv-types text keeps every column as the text it is",
        )

    def _ragged(self, row: Any, index: int) -> Problem:
        place, line, expected, found, text = row
        reason = f"the record has {found} fields, the header {expected}"
        raw = text.encode()[: arrow.RAW_KEPT]
        return Problem(self._source, line, index + place, reason, "syntax", raw)

    def _broken(self, before: bytes, reason: str) -> InputError:
        """Give the error for a record that does not end; `before` is what stands before it."""
        line = self._line + before.count(b"\n")
        return InputError(
            reason,
            where=f"{self._source}, line {line}",
            hint='a field that begins with a quote is quoted as a whole, each " in it doubled',
        )


def _sampled(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Give the first SAMPLE bytes in one part, so that types do not depend on how bytes arrive."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= SAMPLE:
            break
    whole = b"".join(held)
    if whole:
        yield whole[:SAMPLE]
    if len(whole) > SAMPLE:
        yield whole[SAMPLE:]
    yield from parts


def _none() -> Any:
    return np.empty(0, np.int64)


def _line_feeds(batch: Any) -> Any:
    """Count the line feeds inside each row's fields."""
    total = np.zeros(len(batch), np.int64)
    for column in batch.columns:
        total += pc.count_substring(column, "\n").to_numpy(zero_copy_only=False)
    return total


def _all_empty(batch: Any) -> Any:
    """Say of each row whether all its fields are empty; None when that is so of none."""
    empty = None
    for column in batch.columns:
        these = pc.equal(column, "")
        empty = these if empty is None else pc.and_(empty, these)
        if not pc.any(empty).as_py():
            return None
    return None if empty is None else empty.to_numpy(zero_copy_only=False)
