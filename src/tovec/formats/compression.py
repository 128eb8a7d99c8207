"""Compressed files: recognised by their first bytes and read whole, or written as they are named.

A file may be several compressed ones in a row (cat a.gz b.gz), and each is read to its end. What is
written is a pure function of the bytes that go in: no time, no name, and compressed in pieces of
one size, so that a job that was killed and resumed writes the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tovec.errors import InputError, UsageError
from tovec.wording import count_phrase

CHUNK = 1 << 20
SUFFIXES = (".gz", ".zst", ".bz2", ".xz")
_WRITTEN = {".gz": "gzip", ".zst": "zstd"}
_NOT_WRITTEN = (".bz2", ".xz", ".lz4", ".br", ".zip", ".z", ".lzma", ".7z", ".tgz", ".tar")
_FRAME = b"\x28\xb5\x2f\xfd"  # of zstd
_SKIPPABLE = b"\x2a\x4d\x18"  # bytes 1 to 3 of a frame that holds no data; pzstd begins with one
_HEAD_BYTES = 4096  # looked at to recognise a file


def strip_suffix(path: str) -> str:
    """Return the path without the extensions that name a compression."""
    inner = Path(path)
    while inner.suffix.lower() in SUFFIXES:
        inner = inner.with_suffix("")
    return str(inner)


def has_suffix(path: str) -> bool:
    """Return whether a path's extension is that of a compressed file."""
    return Path(path).suffix.lower() in SUFFIXES


def compression_of(head: bytes) -> str | None:
    """Return the name of the compression with which a file begins; None for no known one."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(_FRAME) or _is_skippable(head):
        return "zstd"
    if head.startswith(b"BZh") and head[3:4].isdigit():
        return "bzip2"
    return "xz" if head.startswith(b"\xfd7zXZ\0") else None


def _is_skippable(head: bytes) -> bool:
    """Return whether a file begins with a frame to skip, and goes on with one of zstd.

    lz4 has such frames too, and four bytes alone may be text.
    """
    while head[:1] and 0x50 <= head[0] <= 0x5F and head[1:4] == _SKIPPABLE:
        head = head[8 + int.from_bytes(head[4:8], "little") :]
    return head.startswith(_FRAME)


def decompress(stream: BufferedReader, source: str) -> Iterator[bytes]:
    """Yield a stream's bytes, decompressed if it begins as a known compression does.

    Raises InputError for a file that is cut short or damaged, with how much of it was read.
    """
    read = 0
    try:
        for part in _parts(stream):
            read += len(part)
            yield part
    except EOFError:
        raise _broken("is cut short", read, source) from None
    except Exception as error:
        # zlib.error and LZMAError, without importing their modules for it; OSError without a
        # number comes from a decompressor, with one from the disk.
        module = type(error).__module__
        if module not in ("zlib", "_lzma") and (not isinstance(error, OSError) or error.errno):
            raise
        reason = str(error).removeprefix("ZSTD decompress failed: ")
        if "Truncated compressed stream" in reason:
            raise _broken("is cut short", read, source) from None
        raise _broken(f"is damaged ({reason})", read, source) from None


def _broken(what: str, read: int, source: str) -> InputError:
    return InputError(
        f"the compressed file {what}, after {count_phrase(read, 'byte')} of its content",
        where=source,
        hint="copy or compress it again; rows after this point were not read",
    )


def _parts(stream: BufferedReader) -> Iterator[bytes]:
    read: Callable[[int], bytes] = stream.read1
    match compression_of(stream.peek(_HEAD_BYTES)[:_HEAD_BYTES]):
        case "gzip":
            import gzip

            read = gzip.GzipFile(fileobj=stream).read1
        case "zstd":
            import pyarrow as pa

            inner: Any = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
            read = BufferedReader(inner, CHUNK).read1
        case "bzip2":
            from bz2 import BZ2Decompressor

            yield from _members(stream, BZ2Decompressor)
            return
        case "xz":
            from lzma import LZMADecompressor

            yield from _members(stream, LZMADecompressor)
            return
    while part := read(CHUNK):
        yield part


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _members(stream: BufferedReader, make: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Yield what several compressed files in a row hold.

    BZ2File and LZMAFile would pass over what follows a file and is not compressed.
    """
    engine = make()
    while True:
        data = b""
        if engine.eof:
            data = (engine.unused_data or stream.read1(CHUNK)).lstrip(b"\0")  # xz may be padded
            if not data and not stream.peek(1):
                return
            if data:
                engine = make()
        elif engine.needs_input:
            data = stream.read1(CHUNK)
            if not data:
                raise EOFError
        if data or not engine.eof:
            part = engine.decompress(data, CHUNK)
            if part:
                yield part


# Written ----------------------------------------------------------------------------------------


def output_compression(path: str | None) -> str | None:
    """Return the compression that an output's extension names: "gzip", "zstd" or None.

    Raises UsageError for the extension of a compression that is not written.
    """
    suffix = Path(path or "").suffix.lower()
    if suffix in _NOT_WRITTEN:
        raise UsageError(
            f"outputs are not written as {suffix}",
            where=str(path),
            hint="end the name in .gz or .zst, or leave the compression out",
        )
    return _WRITTEN.get(suffix)


class _Engine(Protocol):
    """What compresses: zlib's and ours for zstd."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class CompressedFile:
    """Compresses what is written to it into `file`, which `close` completes but leaves open."""

    def __init__(self, file: BinaryIO, compression: str) -> None:
        self._file = file
        self._engine = _gzip() if compression == "gzip" else _Zstd()
        self._held = bytearray()
        self.closed = False

    def write(self, data: bytes) -> int:
        """Take bytes."""
        self._held += data
        while len(self._held) >= CHUNK:
            self._file.write(self._engine.compress(bytes(self._held[:CHUNK])))
            del self._held[:CHUNK]
        return len(data)

    def flush(self) -> None:
        """Hand over what is compressed already; flushing the rest would change the bytes."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left and the end of the compressed stream."""
        if not self.closed:
            self.closed = True
            self._file.write(self._engine.compress(bytes(self._held)) + self._engine.flush())
            self._file.flush()


def _gzip() -> _Engine:
    import zlib

    return zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)  # its header has time 0, no name


class _Zstd:
    """zstd as one frame: some readers stop after the first."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._out = _Pieces()
        self._stream: Any = pa.CompressedOutputStream(pa.PythonFile(self._out, "w"), "zstd")

    def compress(self, data: bytes, /) -> bytes:
        """Return what is compressed so far and was not returned yet."""
        self._stream.write(data)
        return self._out.take()

    def flush(self) -> bytes:
        """Return the end of the frame."""
        self._stream.close()
        return self._out.take()


class _Pieces:
    """A file that keeps what is written until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep bytes."""
        self._held.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        whole, self._held = b"".join(self._held), []
        return whole

    def flush(self) -> None:
        """Do nothing: nothing is behind this file."""

    def close(self) -> None:
        """Do nothing: what was written is still to be taken."""
