"""JSON: an array, or values one after the other, such as JSON Lines and what jq prints.

The elements of an array are rows, and so is each value outside of one. A row is an object; a string
is a row with the one field `text`. Where a value ends is found by its brackets alone, so that an
array of any size is read in constant memory, and an element that is not JSON is one bad row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import RawIOBase
from itertools import chain

import orjson

from tovec.errors import InputError
from tovec.formats import cutting, jsonl
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.encoding import as_utf8
from tovec.formats.protocols import ReadOptions
from tovec.formats.source import chunks, shown
from tovec.records import Block
from tovec.wording import count_phrase

# Each passes over whole strings, to the next byte that matters or a string that goes on after
# the data.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TO_BRACKET = re.compile(rb'[^]["{}]*+(?:%b[^]["{}]*+)*+' % _STRING, re.DOTALL)
_TO_COMMA = re.compile(rb'[^]["{},]*+(?:%b[^]["{},]*+)*+' % _STRING, re.DOTALL)
# A value of at most three levels of brackets: most rows are one, and found in one step.
_PLAIN = rb'[^]["{}]++|%b' % _STRING
_SHALLOW = re.compile(
    rb"[{[](?:%b|[{[](?:%b|[{[](?:%b)*+[]}])*+[]}])*+[]}]" % (_PLAIN, _PLAIN, _PLAIN), re.DOTALL
)
_SCALAR = re.compile(rb'(?:[^[ \t\r\n"{]|%b)*+' % _STRING, re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_OPENING = b"[{"


def read(
    path: str, options: ReadOptions, first: int, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield a file's rows as blocks; `first` is the index of its first row in the whole input.

    A value that is not an object or a string, or whose text field cannot be embedded, is a problem
    of its block. Raises InputError for a file that ends in the middle of a value.
    """
    by_line, found = records(path, options, stdin)
    reader = jsonl.Reader(options, shown(path), "line" if by_line else "value")
    yield from reader.blocks(found, first)


def records(
    path: str, options: ReadOptions, stdin: RawIOBase | None = None
) -> tuple[bool, Iterator[list[bytes | None]]]:
    """Return whether a file is JSON Lines, and the bytes of its rows; None for a row too long.

    It is where its first line is a whole object: a line that is damaged is then one bad row.
    """
    parts = as_utf8(chunks(path, stdin), options, shown(path))
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        head = b"".join(held).lstrip()
        if head and (head[:1] != b"{" or b"\n" in head or b"\r" in head):
            break
        if size > MAX_RECORD_BYTES:
            break
    line = re.split(rb"[\r\n]", b"".join(held).lstrip(), maxsplit=1)[0]
    parts = chain(held, parts)
    if _is_object(line):
        return True, cutting.lines(parts, MAX_RECORD_BYTES)
    return False, _values(parts, shown(path))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


def _values(parts: Iterator[bytes], source: str) -> Iterator[list[bytes | None]]:
    splitter = _Splitter(source)
    for part in parts:
        if found := splitter.take(part):
            yield found
    if found := splitter.finish():
        yield found


class _Splitter:
    """Finds where rows end, in whatever parts the bytes come.

    Within a row, `depth` brackets are open. A row ends at a comma inside an array, elsewhere with
    its value.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._in_array = False
        self._in_string = False
        self._depth = 0
        self._left = b""  # an escape whose second byte is still to come
        self._held: list[bytes] = []  # of the row that has begun
        self._size = 0
        self._found: list[bytes | None] = []
        self._count = 0

    def take(self, part: bytes) -> list[bytes | None]:
        """Return the rows that end in this part."""
        data, self._left = self._left + part, b""
        at = 0
        while at < len(data):
            if self._in_string:
                at = self._in_a_string(data, at)
            elif self._depth:
                at = self._in_a_value(data, at)
            elif self._in_array:
                at = self._in_an_array(data, at)
            else:
                at = self._outside(data, at)
        return self._taken()

    def finish(self) -> list[bytes | None]:
        """Return the last row. Raises InputError where a value or an array is not closed."""
        if self._in_string or self._depth or self._in_array:
            rows = count_phrase(self._count, "row")
            raise InputError(
                f"the JSON ends in the middle of {'an array' if self._in_array else 'a value'}, "
                f"after {rows}",
                where=self._source,
                hint="the file is cut short, or not JSON; --input-format names another format",
            )
        self._end_row()
        return self._taken()

    def _taken(self) -> list[bytes | None]:
        found, self._found = self._found, []
        return found

    def _outside(self, data: bytes, at: int) -> int:
        """Take what stands outside of any array: space, the beginning of a value, or a scalar."""
        end = _end(_SPACE, data, at)
        if end > at or data[at] in _OPENING:
            self._end_row()
            if end == len(data):
                return end
            if data[end] == ord("["):
                self._in_array = True
                return end + 1
            if data[end] == ord("{"):
                end = self._begin_value(data, end)
                if not self._depth:
                    self._end_row()
                return end
        return self._string_or(data, self._keep(data, end, _end(_SCALAR, data, end)))

    def _in_an_array(self, data: bytes, at: int) -> int:
        """Take bytes of a top-level array up to a comma or a bracket, and that."""
        end = self._keep(data, at, _end(_TO_COMMA, data, at))
        match data[end : end + 1]:
            case b",":
                self._end_row(b",")  # two commas without a value are one bad row
            case b"]":
                self._end_row()
                self._in_array = False
            case b"[" | b"{":
                return self._begin_value(data, end)
            case b"}":
                self._keep(data, end, end + 1)
            case _:
                return self._string_or(data, end)
        return end + 1

    def _begin_value(self, data: bytes, at: int) -> int:
        """Take a value from its bracket to its end, if that is near, or the bracket alone."""
        if found := _SHALLOW.match(data, at):
            return self._keep(data, at, found.end())
        self._depth = 1
        return self._keep(data, at, at + 1)

    def _in_a_value(self, data: bytes, at: int) -> int:
        """Take bytes of a row up to a bracket, and that."""
        end = self._keep(data, at, _end(_TO_BRACKET, data, at))
        if end == len(data) or data[end] == ord('"'):
            return self._string_or(data, end)
        self._depth += 1 if data[end] in _OPENING else -1
        self._keep(data, end, end + 1)
        if not self._depth and not self._in_array:
            self._end_row()
        return end + 1

    def _string_or(self, data: bytes, at: int) -> int:
        """Begin a string that goes on after the data, if that is what stands there."""
        if data[at : at + 1] == b'"':
            self._in_string = True
            return self._keep(data, at, at + 1)
        return at

    def _in_a_string(self, data: bytes, at: int) -> int:
        end = self._keep(data, at, _end(_REST_OF_STRING, data, at))
        match data[end : end + 1]:
            case b'"':
                self._in_string = False
                return self._keep(data, end, end + 1)
            case b"\\":
                self._left = data[end:]
        return len(data)

    def _keep(self, data: bytes, start: int, end: int) -> int:
        """Add bytes to the row, unless it is too long already; return `end`."""
        if self._size <= MAX_RECORD_BYTES:
            self._held.append(data[start:end])
        self._size += end - start
        if self._size > MAX_RECORD_BYTES:
            self._held = []
        return end

    def _end_row(self, empty: bytes = b"") -> None:
        """Hand the row over; `empty` stands for one that has no value."""
        row = b"".join(self._held).strip() or empty
        if row or self._size > MAX_RECORD_BYTES:
            self._found.append(None if self._size > MAX_RECORD_BYTES else row)
            self._count += 1
        self._held, self._size = [], 0


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    assert found is not None  # each pattern matches nothing too
    return found.end()
