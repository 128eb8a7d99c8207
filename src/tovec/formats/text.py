"""Whole files in: each file is one text, and a row of `index`, `path` and `text`."""

from __future__ import annotations

from collections.abc import Iterator
from io import RawIOBase

import numpy as np
import pyarrow as pa

from tovec.formats import arrow
from tovec.formats.encoding import as_utf8
from tovec.formats.fields import TextField
from tovec.formats.interface import ReadOptions
from tovec.formats.lines import MAX_RECORD
from tovec.formats.source import chunks, shown
from tovec.records import Block, Problem, as_text

_FIELD = TextField(ReadOptions())
_SCHEMA = pa.schema({"index": pa.int64(), "path": pa.string(), "text": pa.string()})


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Give a file as a block of one row, which is row `first` of the whole input.

    An empty file is a problem of its block, and so is one that is too long.
    Raises InputError for bytes that are not in the encoding.
    """
    source = shown(path)
    text = _text(path, options, stdin)
    values = [[first], [as_text(source)], [text]] if text is not None else [[], [], []]
    batch = pa.record_batch(values, schema=_SCHEMA)
    place = np.arange(len(batch))
    block = arrow.block(batch, _FIELD, source, first + place, place + 1, "text")
    if text is not None:
        yield block
        return
    reason = f"the file is longer than {MAX_RECORD >> 20} MiB"
    problem = Problem(source, 1, first, reason, "size", unit="text")
    yield Block([], block.rows, source, [], [], (problem,), unit="text")


def _text(path: str, options: ReadOptions, stdin: RawIOBase | None) -> str | None:
    """Give a file's text; None where it is too long."""
    parts: list[bytes] = []
    size = 0
    for part in as_utf8(chunks(path, stdin), options, shown(path)):
        parts.append(part)
        size += len(part)
        if size > MAX_RECORD:
            return None
    return b"".join(parts).decode()
