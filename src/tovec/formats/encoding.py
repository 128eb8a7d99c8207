"""Bytes in the encoding that the user named, as UTF-8, for readers whose parsers know no other.

What is not in the encoding stops the run with its line and byte, or is replaced, as asked.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from tovec.errors import InputError, UsageError
from tovec.formats.interface import ReadOptions

_BOM = "\ufeff"


def looked_up(options: ReadOptions) -> codecs.CodecInfo:
    """Give the encoding's codec; UsageError for one that is unknown or not of text."""
    try:
        codec = codecs.lookup(options.encoding)
    except LookupError:
        codec = None
    # zlib, rot13 and their like are codecs, but not of text.
    if codec is None or not getattr(codec, "_is_text_encoding", True):
        raise UsageError(f"--encoding: there is no encoding {options.encoding!r}")
    if options.encoding_errors not in ("strict", "replace"):
        raise UsageError("--encoding-errors takes strict or replace")
    return codec


def as_utf8(parts: Iterator[bytes], options: ReadOptions, source: str) -> Iterator[bytes]:
    """Give the same text as valid UTF-8, without a byte order mark at its start.

    Raises InputError naming line and byte for bytes that are not in the encoding.
    """
    codec = looked_up(options)
    decoder = codec.incrementaldecoder(options.encoding_errors)
    offset, lines, column = 0, 0, 0  # of what is decoded: bytes, lines, bytes of the last line
    started = False
    for part in _and_an_end(parts):
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            before = error.object[: error.start]
            line = lines + before.count(b"\n")
            byte = error.start - before.rfind(b"\n") + (0 if b"\n" in before else column)
            raise InputError(
                f"byte {error.object[error.start]:#04x} is not {codec.name}",
                where=f"{source}, line {line + 1}, byte {byte} (offset {offset + error.start})",
                hint="name the encoding with --encoding, or use --encoding-errors replace",
            ) from None
        undecided = len(decoder.getstate()[0])
        done = len(pending) + len(part) - undecided
        offset += done
        lines += part.count(b"\n")
        cut = part.rfind(b"\n")
        column = column + done if cut < 0 else len(part) - cut - 1 - undecided
        if text and not started:
            started = True
            text = text.removeprefix(_BOM)
        if text:
            yield text.encode()


def _and_an_end(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield from parts
    yield b""
