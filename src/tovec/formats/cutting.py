"""Where records end, cut from bytes as they are delivered and in constant memory.

A line ends at a line feed, a carriage return, or both together; nothing else ends a line
(str.splitlines would also cut at U+2028 and form feeds, which are text). A quoted field of CSV may
hold line ends and delimiters. A quote is special at the start of a field only, and two of them
inside are one (RFC 4180 and Python's csv), so that a 5" in the middle of a field is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from tovec.errors import InputError

MAX_RECORD_BYTES = 16 << 20  # a book; a text of 104 MB would take 2.6 GB to be counted in tokens

Broken = Callable[[bytes, str], InputError]


def too_long(unit: str) -> str:
    """Return the reason why a record (a line, a text, a file) beyond the bound is refused."""
    return f"the {unit} is longer than {MAX_RECORD_BYTES >> 20} MiB"


def lines(parts: Iterator[bytes], limit: int) -> Iterator[list[bytes | None]]:
    """Yield complete lines, without their ends, as many at a time as were delivered.

    A line longer than `limit` bytes comes as None, and is never held whole. A last line needs no
    end; an empty stretch after the last end is not a line.
    """
    return separated(_unified(parts), b"\n", limit)


def _unified(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes with every line end as a line feed."""
    after_return = False  # the line feed of a CRLF may come in the next part
    for part in parts:
        if after_return and part.startswith(b"\n"):
            part = part[1:]
            after_return = False
        if part:
            after_return = part.endswith(b"\r")
        if b"\r" in part:
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield part


def separated(parts: Iterator[bytes], separator: bytes, limit: int) -> Iterator[list[bytes | None]]:
    """Yield complete records, without their separators, as many at a time as were delivered.

    A record longer than `limit` bytes comes as None, as soon as that is known: it may never end.
    A last record needs no separator; an empty stretch after the last separator is not a record.
    """
    held: list[bytes] = []
    size = 0
    skipping = False  # the rest of a record that was refused
    for part in parts:
        head, found, rest = part.partition(separator)
        whole: list[bytes | None] = []
        if not skipping:
            held.append(head)
            size += len(head)
            if size > limit:
                whole.append(None)
                held, skipping = [], True
            elif found:
                whole.append(b"".join(held))
        if found:
            *complete, last = rest.split(separator)
            if len(rest) > limit:
                whole += [one if len(one) <= limit else None for one in complete]
            else:
                whole += complete
            held, size, skipping = [last], len(last), False
            if size > limit:
                whole.append(None)
                held, skipping = [], True
        if whole:
            yield whole
    if size and not skipping:
        yield [b"".join(held)]


# CSV --------------------------------------------------------------------------------------------


def quoted_records(parts: Iterator[bytes], delimiter: bytes, broken: Broken) -> Iterator[bytes]:
    """Yield stretches of whole CSV records, as many as were delivered; the last needs no line end.

    Raises what `broken(what came before, reason)` returns for a record that does not end or is
    too long: where the next one begins is not known then.
    """
    return _stretches(parts, lambda data: _last_end(data, delimiter), broken)


def plain_records(parts: Iterator[bytes], broken: Broken) -> Iterator[bytes]:
    """Yield stretches of whole lines, as `quoted_records` does where nothing is quoted."""
    return _stretches(parts, lambda data: (_last_line_end(data, 0, len(data)), None), broken)


def first_end(data: bytes, delimiter: bytes | None) -> int:
    """Return where the first record of `data` ends, after its line end; quotes need a delimiter."""
    start = 0
    for field in _quoted(delimiter).finditer(data) if delimiter is not None else ():
        if found := _LINE_END.search(data, start, field.start() + 1):
            return found.end()
        start = field.end()
    found = _LINE_END.search(data, start)
    return found.end() if found else len(data)


def _stretches(
    parts: Iterator[bytes], last_end: Callable[[bytes], tuple[int, int | None]], broken: Broken
) -> Iterator[bytes]:
    held: list[bytes] = []
    size = enough = 0  # `enough`: bytes from which another look for a record's end is worth it
    after_return = False  # the line feed of a CRLF may come after its record was handed over
    for part in parts:
        if after_return:
            part = part.removeprefix(b"\n")
            after_return = not part
        held.append(part)
        size += len(part)
        if size < min(enough, MAX_RECORD_BYTES):
            continue
        data = b"".join(held)
        cut, _ = last_end(data)
        if cut:
            after_return = cut == len(data) and data.endswith(b"\r")
            yield data[:cut]
            held, size, enough = [data[cut:]], size - cut, 0
        else:
            held, enough = [data], 2 * size
        if size > MAX_RECORD_BYTES:
            raise broken(b"", too_long("record"))
    if size:
        data = b"".join(held)
        _, opened = last_end(data)
        if opened is not None:
            raise broken(data[:opened], "a quoted field begins here and is never closed")
        yield data


def _last_end(data: bytes, delimiter: bytes) -> tuple[int, int | None]:
    """Return where the last whole record ends, and where a quoted field begins without an end."""
    if b'"' not in data:
        return _last_line_end(data, 0, len(data)), None
    fields = list(_quoted(delimiter).finditer(data))
    end, opened = len(data), None
    if fields and not fields[-1][1]:
        opened = fields.pop().start()
        end = opened + 1  # a line end before the quote is outside of it
    for field in reversed(fields):
        if at := _last_line_end(data, field.end(), end):
            return at, opened
        end = field.start() + 1
    return _last_line_end(data, 0, end), opened


def _last_line_end(data: bytes, start: int, end: int) -> int:
    """Return the place after the last line end in a stretch; 0 where there is none."""
    return max(data.rfind(b"\n", start, end), data.rfind(b"\r", start, end)) + 1


_LINE_END = re.compile(rb"\r\n|\r|\n")


@cache
def _quoted(delimiter: bytes) -> re.Pattern[bytes]:
    """Return the pattern of a quoted field and what is before it; [1] is its closing quote."""
    return re.compile(rb'(?:\A|[%b\n\r])"[^"]*+(?:""[^"]*+)*+("?)' % re.escape(delimiter))
