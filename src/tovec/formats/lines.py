"""Plain texts: one a line, or one between NULs.

A line ends at a line feed, and one carriage return before it belongs to the end; nothing else
ends a line (str.splitlines would also cut at U+2028 and form feeds, which are text).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from io import RawIOBase

from tovec.errors import InputError, UsageError
from tovec.formats.encoding import looked_up
from tovec.formats.interface import ReadOptions
from tovec.formats.rows import PlainRows
from tovec.formats.source import chunks, records, shown
from tovec.records import Block, Problem

BLOCK_ROWS = 512  # a block's vectors are held until it is whole
MAX_RECORD = 100 << 20  # bytes of one line


def from_texts(texts: Sequence[str]) -> Iterator[Block]:
    """Give texts typed as arguments as blocks."""
    yield from _blocks(list(texts), "argument", 0)


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Give a file's texts as blocks; `first` is the index of its first row in the whole input.

    Raises InputError for bytes that are not in the encoding, naming line and byte.
    """
    decode = Decoder(options, shown(path))
    separator = b"\0" if options.null_separated else decode.newline
    index = first
    for part in records(chunks(path, stdin), separator, MAX_RECORD):
        texts = decode(part, index - first)
        if not options.null_separated:
            texts = [t[:-1] if t and t.endswith("\r") else t for t in texts]
        yield from _blocks(texts, shown(path), index, first)
        index += len(part)
    if index == first:
        yield Block([], PlainRows([], []), shown(path), [], [])


class Decoder:
    """Turns records into texts, by the encoding and the error rule that the user chose."""

    def __init__(self, options: ReadOptions, source: str) -> None:
        self.encoding = looked_up(options).name
        self.newline = "\n".encode(self.encoding)
        if len(self.newline) != 1:
            raise UsageError(
                f"--encoding {options.encoding} cannot be split into lines here",
                hint=f"convert it first: iconv -f {options.encoding} -t utf-8 FILE | tovec ...",
            )
        self.errors = options.encoding_errors
        self.source = source
        self._offset = 0

    def __call__(self, part: Sequence[bytes | None], before: int) -> list[str | None]:
        """Give the records' texts (None stays None); `before` records were decoded earlier."""
        texts: list[str | None] = []
        for number, record in enumerate(part):
            if record is None:
                texts.append(None)
                continue
            if not self._offset and record.startswith(codecs.BOM_UTF8):
                record = record[3:]
                self._offset = 3
            try:
                texts.append(record.decode(self.encoding, self.errors))
            except UnicodeDecodeError as error:
                raise InputError(
                    f"byte {record[error.start]:#04x} is not {self.encoding}",
                    where=f"{self.source}, line {before + number + 1}, "
                    f"byte {error.start + 1} (offset {self._offset + error.start})",
                    hint="name the encoding with --encoding, or use --encoding-errors replace",
                ) from None
            self._offset += len(record) + 1
        return texts


def _blocks(
    texts: Sequence[str | None], source: str, index: int, first: int = 0
) -> Iterator[Block]:
    for start in range(0, len(texts), BLOCK_ROWS):
        yield _block(texts[start : start + BLOCK_ROWS], source, index + start, first)


def _block(texts: Sequence[str | None], source: str, index: int, first: int) -> Block:
    kept: list[str] = []
    places: list[int] = []
    problems: list[Problem] = []
    blank = 0
    for i, text in enumerate(texts, index):
        if text is None:
            problems.append(too_long(source, i - first + 1, i))
        elif not text or text.isspace():
            blank += 1
        else:
            kept.append(text)
            places.append(i)
    lines = [i - first + 1 for i in places]
    return Block(kept, PlainRows(places, kept), source, places, lines, tuple(problems), blank)


def too_long(source: str, line: int, index: int) -> Problem:
    """Give the problem of a record beyond MAX_RECORD."""
    return Problem(source, line, index, f"the line is longer than {MAX_RECORD >> 20} MiB", "size")
