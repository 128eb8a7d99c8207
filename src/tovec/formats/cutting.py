"""Where the records of CSV end: a quoted field may hold line feeds and delimiters.

A quote is special at the start of a field only, and two of them inside are one (RFC 4180, and what
pyarrow's parser does), so that a 5" in the middle of a field is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from tovec.errors import InputError
from tovec.formats.lines import MAX_RECORD

Broken = Callable[[bytes, str], InputError]


def ends(data: bytes, delimiter: bytes) -> Iterator[int]:
    """Give where each record ends that ends in `data` (after its line feed)."""
    start = 0
    for field in _quoted(delimiter).finditer(data):
        while (at := data.find(b"\n", start, field.start() + 1)) >= 0:
            start = at + 1
            yield start
        start = max(start, field.end())
    while (at := data.find(b"\n", start)) >= 0:
        start = at + 1
        yield start


def records(parts: Iterator[bytes], delimiter: bytes, broken: Broken) -> Iterator[bytes]:
    """Give stretches of whole records, as many as were delivered; the last needs no line feed.

    Raises what `broken(what came before, reason)` gives for a record that does not end.
    """
    held: list[bytes] = []
    size = enough = 0  # `enough`: bytes from which another look for a record's end is worth it
    for part in parts:
        held.append(part)
        size += len(part)
        if size < enough:
            continue
        data = b"".join(held)
        cut, _ = _last_end(data, delimiter)
        if cut:
            yield data[:cut]
            held, size, enough = [data[cut:]], size - cut, 0
        elif size > MAX_RECORD:
            raise broken(b"", f"the record is longer than {MAX_RECORD >> 20} MiB")
        else:
            held, enough = [data], 2 * size
    if size:
        data = b"".join(held)
        _, opened = _last_end(data, delimiter)
        if opened is not None:
            raise broken(data[:opened], "a quoted field begins here and is never closed")
        yield data


def _last_end(data: bytes, delimiter: bytes) -> tuple[int, int | None]:
    """Give where the last whole record ends, and where a quoted field begins that does not end."""
    if b'"' not in data:
        return data.rfind(b"\n") + 1, None
    fields = list(_quoted(delimiter).finditer(data))
    end, opened = len(data), None
    if fields and not fields[-1][1]:
        opened = fields.pop().start()
        end = opened + 1  # a line feed before the quote is outside of it
    for field in reversed(fields):
        at = data.rfind(b"\n", field.end(), end)
        if at >= 0:
            return at + 1, opened
        end = field.start() + 1
    return data.rfind(b"\n", 0, end) + 1, opened


@cache
def _quoted(delimiter: bytes) -> re.Pattern[bytes]:
    """Give the pattern of a quoted field and what stands before it; [1] is its closing quote."""
    return re.compile(rb'(?:\A|[%b\n\r])"[^"]*+(?:""[^"]*+)*+("?)' % re.escape(delimiter))
