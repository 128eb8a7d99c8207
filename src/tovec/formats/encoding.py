"""Bytes in the encoding that the user named, as UTF-8, for readers whose parsers know no other.

What is not in the encoding stays marked, so that a reader can name the row that holds it: bytes
that are not UTF-8 stay as they are; of another encoding, a byte that stands for nothing becomes
the three bytes of a lone surrogate, U+DC00 plus the byte, which are not UTF-8 either.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from tovec.errors import InputError, UsageError
from tovec.formats.protocols import ReadOptions
from tovec.formats.recognition import check_text

NAME_IT = "name the encoding with --encoding, or use --encoding-errors replace"
_BOM = "\ufeff"
_BYTE_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE)
_MARKS = "tovec.marks"
_MARKED = re.compile("[\udc00-\udcff]")


def find_codec(options: ReadOptions) -> codecs.CodecInfo:
    """Return the encoding's codec; UsageError for one that is unknown or not of text."""
    try:
        codec = codecs.lookup(options.encoding)
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        codec = None
    # zlib, rot13 and their like are codecs, but not of text.
    if codec is None or not getattr(codec, "_is_text_encoding", True):
        raise UsageError(f"--encoding: there is no encoding {options.encoding!r}")
    if options.encoding_errors not in ("strict", "replace"):
        raise UsageError("--encoding-errors takes strict or replace")
    return codec


def is_utf8(options: ReadOptions) -> bool:
    """Return whether the input's encoding is UTF-8, under any of its names."""
    return find_codec(options).name in ("utf-8", "utf-8-sig")


def as_utf8(parts: Iterator[bytes], options: ReadOptions, source: str) -> Iterator[bytes]:
    """Yield the same text as UTF-8, without a byte order mark at its start, errors marked.

    Raises InputError for UTF-16 and UTF-32 that are read as UTF-8, as most of their lines are
    valid, and for a known kind of binary file, unless lines or whole files were asked for.
    """
    if options.format not in ("lines", "text"):
        parts = check_text(parts, source)
    if is_utf8(options) and options.encoding_errors == "strict":
        yield from _without_mark(parts, source)
        return
    errors = _MARKS if options.encoding_errors == "strict" else options.encoding_errors
    decoder = find_codec(options).incrementaldecoder(errors)
    started = False
    for part in _and_an_end(parts):
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeError as error:  # idna and its like can be asked for nothing but strict
            raise UsageError(f"--encoding {options.encoding}: {error}") from None
        if text and not started:
            started = True
            text = text.removeprefix(_BOM)
        if text:
            yield text.encode("utf-8", "surrogatepass")


def decode(data: bytes, options: ReadOptions) -> str:
    """Return the text of bytes from `as_utf8`; a byte in error is a lone surrogate in it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("utf-8", _MARKS if is_utf8(options) else "surrogatepass")


def encode(text: str, options: ReadOptions) -> bytes:
    """Return the bytes of a text from `decode`, those in error as they were."""
    codec = "utf-8" if is_utf8(options) else options.encoding
    try:
        return text.encode(codec, "surrogateescape")
    except UnicodeError:
        return text.encode("utf-8", "replace")


def describe_errors(text: str, options: ReadOptions, unit: str = "line") -> str:
    """Return where the first byte in error stands in a text from `decode` that holds one."""
    found = _MARKED.search(text)
    assert found is not None
    byte, before = ord(found[0]) - 0xDC00, text[: found.start()]
    if is_utf8(options):
        place, name = f"byte {len(before.encode()) + 1}", "UTF-8"
    else:
        place, name = f"character {len(before) + 1}", find_codec(options).name
    return f"byte {byte:#04x} at {place} of the {unit} is not {name}"


def has_errors(text: str) -> bool:
    """Return whether a text from `decode` holds a byte in error."""
    return not text.isascii() and _MARKED.search(text) is not None


def _without_mark(parts: Iterator[bytes], source: str) -> Iterator[bytes]:
    start = b""
    for part in parts:
        start += part
        if not any(len(mark) > len(start) and mark.startswith(start) for mark in _BYTE_MARKS):
            break  # else the mark may be cut; a slow pipe is not kept waiting for more
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name = "utf-32" if start.startswith(codecs.BOM_UTF32_LE) else "utf-16"
        raise InputError(
            f"byte {start[0]:#04x} at byte 1 of the line is not UTF-8: this looks like {name}",
            where=f"{source}, line 1",
            hint=f"name the encoding: --encoding {name}",
        )
    if start := start.removeprefix(codecs.BOM_UTF8):
        yield start
    yield from parts


def _and_an_end(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield from parts
    yield b""


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Return a lone surrogate for each byte that cannot be decoded."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in bad), error.end


codecs.register_error(_MARKS, _mark)
