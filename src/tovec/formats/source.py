"""Bytes in: files and standard input, compressed or not, handed over as they are delivered."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from tovec.errors import FileError, InputError

CHUNK = 1 << 20
STDIN = "-"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}


def shown(path: str) -> str:
    """Give the name of a source in messages."""
    return "standard input" if path == STDIN else path


def suffix(path: str) -> str:
    """Give the extension that says the format, below a compression's."""
    inner = Path(path)
    while inner.suffix.lower() in _COMPRESSED:
        inner = inner.with_suffix("")
    return inner.suffix.lower()


def open_source(path: str, stdin: io.RawIOBase | None = None) -> io.BufferedIOBase:
    """Open a file or standard input for reading, decompressing what begins as gzip or zstd does.

    Raises InputError for what is not there or not a file, FileError for what may not be read.
    """
    if path == STDIN:
        return _decompressed(io.BufferedReader(stdin or io.FileIO(0, closefd=False), CHUNK))
    try:
        return _decompressed(io.BufferedReader(io.FileIO(path), CHUNK))
    except FileNotFoundError:
        raise InputError("the file is not there", where=path) from None
    except IsADirectoryError:
        raise InputError(
            "this is a directory", where=path, hint="name its files, for example with a glob"
        ) from None
    except OSError as error:
        raise FileError(f"the file cannot be read: {error.strerror}", where=path) from None


def _decompressed(stream: io.BufferedReader) -> io.BufferedIOBase:
    magic = stream.peek(4)[:4]
    if magic.startswith(_GZIP):
        import gzip

        return gzip.GzipFile(fileobj=stream)
    if magic == _ZSTD:
        import pyarrow as pa

        inner = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
        return io.BufferedReader(inner, CHUNK)
    return stream


def chunks(path: str, stdin: io.RawIOBase | None = None) -> Iterator[bytes]:
    """Give the source's bytes, up to a MiB at a time, without waiting for more than there is.

    Raises InputError for a compressed file that is cut or damaged, FileError for a failing disk.
    """
    stream = open_source(path, stdin)
    try:
        while chunk := stream.read1(CHUNK):
            yield chunk
    except EOFError:
        raise InputError("the compressed file is cut short", where=shown(path)) from None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None):
            raise FileError(f"reading failed: {error}", where=shown(path)) from None
        raise InputError(f"the file is damaged: {error}", where=shown(path)) from None
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise InputError(f"the compressed file is damaged: {error}", where=path) from None
        raise
    finally:
        if path != STDIN:
            stream.close()


def records(parts: Iterator[bytes], separator: bytes, limit: int) -> Iterator[list[bytes | None]]:
    """Give complete records, without their separators, as many at a time as were delivered.

    A record longer than `limit` bytes comes as None, and is never held whole. A last record
    needs no separator; text after the last separator that is empty is no record.
    """
    held: list[bytes] = []
    size = 0
    for part in parts:
        head, found, rest = part.partition(separator)
        held.append(head)
        size += len(head)
        if size > limit:
            held.clear()
        if not found:
            continue
        whole: list[bytes | None] = [None if size > limit else b"".join(held)]
        *complete, last = rest.split(separator)
        whole += complete
        held, size = [last], len(last)
        yield whole
    if size > limit:
        yield [None]
    elif size:
        yield [b"".join(held)]
