"""Whole files in: each file is one text, and a row of `index`, `path` and `text`."""

from __future__ import annotations

from collections.abc import Iterator
from io import RawIOBase

import pyarrow as pa

from tovec.formats.arrow import ArrowRows, with_partition
from tovec.formats.cutting import MAX_RECORD_BYTES, too_long
from tovec.formats.encoding import as_utf8, decode, describe_errors, encode, has_errors
from tovec.formats.fields import PlainText
from tovec.formats.lines import RAW_KEPT
from tovec.formats.protocols import ReadOptions
from tovec.formats.rows import partition_fields
from tovec.formats.source import chunks, shown
from tovec.records import Block, Problem, as_text

FIELDS = ("index", "path", "text")
_SCHEMA = pa.schema({"index": pa.int64(), "path": pa.string(), "text": pa.string()})


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a file as a block of one row, which is row `first` of the whole input.

    A file that is empty, too long or not in the encoding is a problem of its block.
    """
    source, name = shown(path), as_text(shown(path))
    more = partition_fields(options, FIELDS, source)
    make = PlainText(options, (*FIELDS, *more), "a whole file", more)
    data = _bytes(path, options, stdin)
    problem = _problem(data, options)
    if problem is None and data is not None:
        text = data.decode()
        batch = pa.record_batch([[first], [name], [text]], schema=_SCHEMA)
        rows = ArrowRows(with_partition(batch, options.partition, source), [first])
        yield Block(make([text], [first], {"path": name}), rows, source, [first], [1], unit="text")
        return
    reason, kind, raw = problem or ("", "", b"")
    batch = pa.record_batch([[], [], []], schema=_SCHEMA)
    empty = ArrowRows(with_partition(batch, options.partition, source), [])
    row = Problem(source, 1, first, reason, kind, raw[:RAW_KEPT], unit="text")
    yield Block([], empty, source, [], [], (row,), unit="text")


def _problem(data: bytes | None, options: ReadOptions) -> tuple[str, str, bytes] | None:
    """Return why a file cannot be embedded, the kind and its start; None where it can be."""
    if data is None:
        return too_long("file"), "size", b""
    text = decode(data, options)
    if has_errors(text):
        reason = describe_errors(text, options, "file")
        return reason, "encoding", encode(text[:RAW_KEPT], options)
    if not text or text.isspace():
        return "the text is empty", "empty", b""
    return None


def _bytes(path: str, options: ReadOptions, stdin: RawIOBase | None) -> bytes | None:
    """Return a file's text as UTF-8; None where it is too long."""
    parts: list[bytes] = []
    size = 0
    for part in as_utf8(chunks(path, stdin), options, shown(path)):
        parts.append(part)
        size += len(part)
        if size > MAX_RECORD_BYTES:
            return None
    return b"".join(parts)
