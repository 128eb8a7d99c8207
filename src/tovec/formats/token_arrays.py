"""Token arrays in: each line is a JSON array of token ids, embedded as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import RawIOBase
from typing import Any

import orjson

from tovec.formats import cutting
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.encoding import as_utf8
from tovec.formats.lines import BLOCK_ROWS, RAW_KEPT, too_long
from tovec.formats.protocols import ReadOptions
from tovec.formats.rows import PlainRows, check_fields, partition_fields
from tovec.formats.source import chunks, shown
from tovec.records import Block, Problem

NAME = "tokens"


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a file's arrays as blocks; `first` is the index of its first row in the whole input.

    A line that is not an array of token ids is a problem of its block.
    """
    source, start = shown(path), 0
    more = partition_fields(options, ("index", NAME), source)
    check_fields(options, ("index", NAME, *more), "an array of tokens")
    for part in cutting.lines(as_utf8(chunks(path, stdin), options, shown(path)), MAX_RECORD_BYTES):
        for at in range(0, len(part), BLOCK_ROWS):
            some = part[at : at + BLOCK_ROWS]
            yield _block(some, source, first + start, start, more)
            start += len(some)
    if not start:
        yield Block([], PlainRows([], [], NAME, more), source, [], [])


def _block(
    part: Sequence[bytes | None], source: str, index: int, start: int, more: Mapping[str, Any]
) -> Block:
    arrays: list[list[int]] = []
    places: list[int] = []
    problems: list[Problem] = []
    blank = 0
    for i, record in enumerate(part):
        if record is None:
            problems.append(too_long(source, start + i + 1, index + i))
        elif not record.strip():
            blank += 1
        else:
            try:
                arrays.append(_ids(record))
                places.append(i)
            except ValueError as error:
                kind, reason = error.args
                where = (source, start + i + 1, index + i)
                problems.append(Problem(*where, reason, kind, record[:RAW_KEPT]))
    rows = PlainRows([index + i for i in places], arrays, NAME, more)
    lines = [start + i + 1 for i in places]
    return Block(arrays, rows, source, rows.index, lines, tuple(problems), blank)


def _ids(record: bytes) -> list[int]:
    """Return a line's token ids; ValueError(kind, reason) for anything else."""
    try:
        ids = orjson.loads(record)
    except orjson.JSONDecodeError:
        raise ValueError("syntax", "not a JSON array") from None
    if not isinstance(ids, list):
        raise ValueError("type", "the line is not an array of token ids")
    if not ids:
        raise ValueError("empty", "the array of token ids is empty")
    if any(type(one) is not int or not 0 <= one < 1 << 32 for one in ids):
        raise ValueError("type", "the array holds something that is not a token id")
    return ids
