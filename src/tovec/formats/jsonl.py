"""JSON Lines: one object a line in, the same objects with `embedding` added out.

Rows keep their bytes, so that a large integer, a float's digits and the order of keys leave as
they came. Floats are written with the fewest digits that give the same float32 back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import RawIOBase
from typing import TYPE_CHECKING, Any

import orjson

from tovec.formats import cutting
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.encoding import as_utf8, decode, describe_errors, has_errors
from tovec.formats.fields import TextField
from tovec.formats.interface import ReadOptions, Sink, VectorMeta, WriteOptions
from tovec.formats.lines import BLOCK_ROWS, RAW_KEPT, too_long
from tovec.formats.rows import JsonRows
from tovec.formats.source import chunks, shown
from tovec.formats.vectors import EMBEDDING, as_stored
from tovec.records import Block, Problem, Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIECE = 4 << 20  # bytes that are written at once


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Give a file's objects as blocks; `first` is the index of its first row in the whole input.

    A line that is no object, or whose text field cannot be embedded, is a problem of its block.
    """
    field = TextField(options)
    index, start = first, 0
    for part in cutting.lines(as_utf8(chunks(path, stdin), options, shown(path)), MAX_RECORD_BYTES):
        for at in range(0, len(part), BLOCK_ROWS):
            block = _block(part[at : at + BLOCK_ROWS], options, field, shown(path), index, start)
            index += len(block.inputs) + len(block.problems)
            start += len(part[at : at + BLOCK_ROWS])
            yield block
    if not start:
        yield Block([], JsonRows([], [], [], [], shown(path)), shown(path), [], [])


def _block(
    part: Sequence[bytes | None],
    options: ReadOptions,
    field: TextField,
    source: str,
    index: int,
    start: int,
) -> Block:
    texts: list[str] = []
    raw: list[bytes] = []
    parsed: list[Mapping[str, Any]] = []
    places: list[int] = []
    lines: list[int] = []
    problems: list[Problem] = []
    blank = 0
    loads = orjson.loads
    for line, record in enumerate(part, start + 1):
        if record is None:
            problems.append(too_long(source, line, index))
            index += 1
            continue
        try:
            row = loads(record)
            text = field(row)
        except (ValueError, TypeError) as error:
            if not record.strip():
                blank += 1
                continue
            kind, reason = _diagnosis(record, options, error)
            problems.append(Problem(source, line, index, reason, kind, record[:RAW_KEPT]))
            index += 1
            continue
        texts.append(text)
        raw.append(record)
        parsed.append(row)
        places.append(index)
        lines.append(line)
        index += 1
    rows = JsonRows(raw, parsed, places, lines, source)
    return Block(texts, rows, source, places, lines, tuple(problems), blank)


def _diagnosis(
    record: bytes, options: ReadOptions, error: ValueError | TypeError
) -> tuple[str, str]:
    """Return the kind and the wording of what is wrong with a line."""
    if not isinstance(error, orjson.JSONDecodeError):
        kind, reason = error.args
        return kind, reason
    text = decode(record, options)
    if has_errors(text):
        return "encoding", describe_errors(text, options)
    if "surrogate" in error.msg:
        return "encoding", f"invalid escape at column {error.colno}: half of a surrogate pair"
    return "syntax", f"not JSON: {error.msg.partition(':')[0]} at column {error.colno}"


class JsonlWriter:
    """Writes each row as its own bytes with the vector's digits spliced in before the end."""

    def __init__(self, sink: Sink, meta: VectorMeta, options: WriteOptions) -> None:
        self._file = sink.file
        self._dtype = meta.dtype
        self._columns = options.columns

    def write(
        self, rows: Rows, extra: Mapping[str, NDArray[np.int64]], vectors: NDArray[np.float32]
    ) -> None:
        """Write one line a row."""
        stored = as_stored(vectors, self._dtype)
        ours = [EMBEDDING, *extra]
        marks = [f'"{name}"'.encode() for name in ours]
        out: list[bytes] = []
        size = 0
        for i, row in enumerate(rows.json(self._columns)):
            if any(mark in row for mark in marks):
                row = _without(row, ours)
            lead = row[:-1] if len(row) == 2 else row[:-1] + b","
            numbers = b"".join(f'"{name}":{column[i]},'.encode() for name, column in extra.items())
            digits = orjson.dumps(stored[i], option=orjson.OPT_SERIALIZE_NUMPY)
            out.append(b'%b%b"embedding":%b}\n' % (lead, numbers, digits))
            size += len(out[-1])
            if size > PIECE:  # the chunks of a long text repeat its row
                self._file.write(b"".join(out))
                out, size = [], 0
        self._file.write(b"".join(out))

    def finish(self) -> None:
        """Hand everything over to the operating system."""
        self._file.flush()


def _without(row: bytes, names: Sequence[str]) -> bytes:
    fields = orjson.loads(row)
    return orjson.dumps({name: value for name, value in fields.items() if name not in names})
