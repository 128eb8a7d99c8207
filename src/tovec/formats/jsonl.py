"""JSON Lines: one object a line in, the same objects with `embedding` added out.

Rows keep their bytes, so that a large integer, a float's digits and the order of keys leave as
they came. Floats are written with the fewest digits that give the same float32 back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from io import RawIOBase
from typing import TYPE_CHECKING, Any

import orjson

from tovec.formats import cutting
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.embedding_column import as_stored, vector_columns
from tovec.formats.encoding import as_utf8, decode, describe_errors, has_errors
from tovec.formats.fields import TextField
from tovec.formats.lines import BLOCK_ROWS, RAW_KEPT
from tovec.formats.protocols import ReadOptions, Sink, VectorMeta, WriteOptions
from tovec.formats.rows import JsonRows
from tovec.formats.source import chunks, shown
from tovec.records import Block, Problem, Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tovec.formats.compression import CompressedFile

MAX_PIECE_BYTES = 4 << 20  # written at once


_LINE_ENDS = re.compile(rb"[ \t]*[\r\n][ \t\r\n]*")


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a file's objects as blocks; `first` is the index of its first row in the whole input.

    A line that is not an object, or whose text field cannot be embedded, is a problem of its block.
    """
    parts = as_utf8(chunks(path, stdin), options, shown(path))
    reader = Reader(options, shown(path))
    yield from reader.blocks(cutting.lines(parts, MAX_RECORD_BYTES), first)


class Reader:
    """Makes blocks of records in JSON: of lines, or of values where `unit` is "value"."""

    def __init__(self, options: ReadOptions, source: str, unit: str = "line") -> None:
        self._options, self._source, self._unit = options, source, unit
        self._field = TextField(options)
        self._partition = {one.name: one.value for one in options.partition}

    def blocks(self, found: Iterator[list[bytes | None]], first: int) -> Iterator[Block]:
        """Yield the records as blocks, at least one; None is a record that is too long."""
        index, start = first, 0
        for part in found:
            for at in range(0, len(part), BLOCK_ROWS):
                block = self._block(part[at : at + BLOCK_ROWS], index, start)
                index += len(block.inputs) + len(block.problems)
                start += len(part[at : at + BLOCK_ROWS])
                yield block
        if not start:
            rows = JsonRows([], [], [], [], self._source)
            yield Block([], rows, self._source, [], [], unit=self._unit)

    def _block(self, part: Sequence[bytes | None], index: int, start: int) -> Block:
        texts: list[str] = []
        raw: list[bytes] = []
        parsed: list[Mapping[str, Any]] = []
        places: list[int] = []
        lines: list[int] = []
        problems: list[Problem] = []
        blank = 0
        source, unit, field, loads = self._source, self._unit, self._field, orjson.loads
        as_they_come = unit == "line" and not self._partition
        for line, record in enumerate(part, start + 1):
            if record is None:
                reason = cutting.too_long(unit)
                problems.append(Problem(source, line, index, reason, "size", unit=unit))
                index += 1
                continue
            try:
                row = loads(record)
                if not as_they_come:
                    row, record = self._as_line(row, record)
                text = field(row)
            except (ValueError, TypeError) as error:
                if not record.strip():
                    blank += 1
                    continue
                kind, reason = self._diagnosis(record, error)
                kept = record[:RAW_KEPT]
                problems.append(Problem(source, line, index, reason, kind, kept, unit))
                index += 1
                continue
            texts.append(text)
            raw.append(record)
            parsed.append(row)
            places.append(index)
            lines.append(line)
            index += 1
        rows = JsonRows(raw, parsed, places, lines, source)
        return Block(texts, rows, source, places, lines, tuple(problems), blank, unit)

    def _as_line(self, row: Any, record: bytes) -> tuple[Any, bytes]:
        """Return a row and its bytes: an object in one line, with its directory's columns."""
        if self._unit == "value":
            if isinstance(row, str):
                row, record = {"text": row}, b'{"text":%b}' % record
            if b"\n" in record or b"\r" in record:  # JSON has none inside of strings
                record = _LINE_ENDS.sub(b"", record)
        if not self._partition or not isinstance(row, dict):
            return row, record
        for name, value in self._partition.items():
            if name in row and _as_text(row[name]) != _as_text(value):
                raise ValueError(
                    "type",
                    f"the field {name!r} is {_as_text(row[name])[:40]} in the row and "
                    f"{_as_text(value)} in the directory's name",
                )
        if self._partition.keys() <= row.keys():
            return row, record
        missing = {name: one for name, one in self._partition.items() if name not in row}
        comma = b"," if row else b""
        record = record.strip()[:-1].rstrip() + comma + orjson.dumps(missing)[1:]
        return {**row, **missing}, record

    def _diagnosis(self, record: bytes, error: ValueError | TypeError) -> tuple[str, str]:
        """Return the kind and the wording of what is wrong with a record."""
        if not isinstance(error, orjson.JSONDecodeError):
            kind, reason = error.args
            return kind, reason.replace("the line holds", f"the {self._unit} holds", 1)
        text = decode(record, self._options)
        if has_errors(text):
            return "encoding", describe_errors(text, self._options, self._unit)
        place = f"column {error.colno}" if self._unit == "line" else f"character {error.pos + 1}"
        if "surrogate" in error.msg:
            return "encoding", f"invalid escape at {place}: half of a surrogate pair"
        return "syntax", f"not JSON: {error.msg.partition(':')[0]} at {place}"


def _as_text(value: Any) -> str:
    """Return a value as the name of a directory would write it."""
    if value is None:
        return "null"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


class JsonlWriter:
    """Writes each row as its own bytes with the vector's digits spliced in before the end."""

    def __init__(
        self,
        sink: Sink,
        meta: VectorMeta,
        options: WriteOptions,
        compression: str | None = None,
    ) -> None:
        self._compressed: CompressedFile | None = None
        if compression is not None:
            from tovec.formats.compression import CompressedFile

            self._compressed = CompressedFile(sink.file, compression)
        self._file = self._compressed or sink.file
        self._dtype = meta.dtype
        self._scale = meta.scale
        self._columns = options.columns
        self._also = options.also
        self._names = vector_columns(options.also)
        # Lists of integers do not say what they stand for, and JSON lines have no other place.
        is_plain = meta.dtype in ("float32", "float16")
        self._lead = b"" if is_plain else b'"embedding_dtype":"%b",' % meta.dtype.encode()

    def write(
        self, rows: Rows, extra: Mapping[str, NDArray[np.int64]], vectors: NDArray[np.float32]
    ) -> None:
        """Write one line a row."""
        stored = as_stored(vectors, self._dtype, self._scale)
        second = None if self._also is None else as_stored(vectors, self._also, self._scale)
        ours = [*self._names, *extra, *(("embedding_dtype",) if self._lead else ())]
        marks = [f'"{name}"'.encode() for name in ours]
        out: list[bytes] = []
        size = 0
        for i, row in enumerate(rows.json(self._columns)):
            if any(mark in row for mark in marks):
                row = _without(row, ours)
            lead = row[:-1] if len(row) == 2 else row[:-1] + b","
            numbers = b"".join(f'"{name}":{column[i]},'.encode() for name, column in extra.items())
            digits = orjson.dumps(stored[i], option=orjson.OPT_SERIALIZE_NUMPY)
            if second is not None:
                more = orjson.dumps(second[i], option=orjson.OPT_SERIALIZE_NUMPY)
                digits += b',"%b":%b' % (self._names[1].encode(), more)
            out.append(b'%b%b%b"embedding":%b}\n' % (lead, numbers, self._lead, digits))
            size += len(out[-1])
            if size > MAX_PIECE_BYTES:  # the chunks of a long text repeat its row
                self._file.write(b"".join(out))
                out, size = [], 0
        self._file.write(b"".join(out))

    def finish(self) -> None:
        """Hand everything over to the operating system."""
        if self._compressed is not None:
            self._compressed.close()
        self._file.flush()


def _without(row: bytes, names: Sequence[str]) -> bytes:
    fields = orjson.loads(row)
    return orjson.dumps({name: value for name, value in fields.items() if name not in names})
