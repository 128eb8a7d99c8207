"""Plain texts: one a line, or one between NULs.

A line ends at a line feed, a carriage return, or both (`cutting.lines`); between NULs every byte
is text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import RawIOBase

from tovec.formats import cutting
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.encoding import as_utf8, decode, describe_errors, encode, find_codec
from tovec.formats.fields import PlainText
from tovec.formats.protocols import ReadOptions
from tovec.formats.recognition import check_lines
from tovec.formats.rows import PlainRows, partition_fields
from tovec.formats.source import chunks, shown
from tovec.records import Block, Problem

BLOCK_ROWS = 512  # a block's vectors are held until it is whole
RAW_KEPT = 64 << 10  # bytes of a bad row kept for the rejects file
FIELDS = ("index", "text")


def from_texts(
    texts: Sequence[str],
    options: ReadOptions = ReadOptions(),  # noqa: B008
    source: str = "argument",
    first: int = 1,
) -> Iterator[Block]:
    """Yield texts as blocks; an empty one is a problem of its block.

    They are named by `source` and a number, which begins at `first`.
    """
    make = PlainText(options, FIELDS, "a text given as an argument")
    for start in range(0, len(texts), BLOCK_ROWS):
        block = _Block(source, make, unit="")
        for i, text in enumerate(texts[start : start + BLOCK_ROWS], start):
            if not text or text.isspace():
                block.problem(i, i + first, "the text is empty", "empty")
            else:
                block.text(i, i + first, text)
        yield block.whole()


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a file's texts as blocks; `first` is the index of its first row in the whole input.

    A line that is not in the encoding, or too long, is a problem of its block.
    """
    find_codec(options)
    more = partition_fields(options, FIELDS, shown(path))
    make = PlainText(options, (*FIELDS, *more), "a plain line", more)
    parts = as_utf8(chunks(path, stdin), options, shown(path))
    if options.format == "auto" and not options.null_separated:  # it is a guess
        parts = check_lines(parts, options, shown(path))
    if options.null_separated:
        records = cutting.separated(parts, b"\0", MAX_RECORD_BYTES)
    else:
        records = cutting.lines(parts, MAX_RECORD_BYTES)
    start = 0
    for part in records:
        for at in range(0, len(part), BLOCK_ROWS):
            some = part[at : at + BLOCK_ROWS]
            yield _block(some, options, make, shown(path), first, start)
            start += len(some)
    if not start:
        yield Block([], PlainRows([], [], more=more), shown(path), [], [])


class _Block:
    """A block that is being filled."""

    def __init__(self, source: str, make: PlainText, unit: str = "line") -> None:
        self._source, self._make, self._unit = source, make, unit
        self._texts: list[str] = []
        self._index: list[int] = []
        self._lines: list[int] = []
        self._problems: list[Problem] = []
        self.blank = 0

    def text(self, index: int, line: int, text: str) -> None:
        """Add a row."""
        self._texts.append(text)
        self._index.append(index)
        self._lines.append(line)

    def problem(self, index: int, line: int, reason: str, kind: str, raw: bytes = b"") -> None:
        """Add a row that cannot be embedded."""
        self._problems.append(
            Problem(self._source, line, index, reason, kind, raw[:RAW_KEPT], self._unit)
        )

    def whole(self) -> Block:
        """Return the block."""
        rows = PlainRows(self._index, self._texts, more=self._make.more)
        inputs = self._make(self._texts, self._index)
        return Block(
            inputs, rows, self._source, self._index, self._lines,
            tuple(self._problems), self.blank, self._unit,
        )  # fmt: skip


def _block(
    part: Sequence[bytes | None],
    options: ReadOptions,
    make: PlainText,
    source: str,
    first: int,
    start: int,
) -> Block:
    """Return records as a block; the first has the index `first + start`, the line `start + 1`."""
    block = _Block(source, make)
    for line, record in enumerate(part, start + 1):
        if record is None:
            block.problem(first + line - 1, line, cutting.too_long("line"), "size")
            continue
        try:
            text = record.decode()
        except UnicodeDecodeError:
            text = decode(record, options)
            reason, raw = describe_errors(text, options), encode(text, options)
            block.problem(first + line - 1, line, reason, "encoding", raw)
            continue
        if not text or text.isspace():
            block.blank += 1
        else:
            block.text(first + line - 1, line, text)
    return block.whole()


def too_long(source: str, line: int, index: int) -> Problem:
    """Return the problem of a line beyond the bound."""
    return Problem(source, line, index, cutting.too_long("line"), "size")
