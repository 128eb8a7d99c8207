"""Bytes in: files and standard input, compressed or not, handed over as they are delivered."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from io import BufferedReader, FileIO, RawIOBase
from pathlib import Path
from typing import Any

from tovec.errors import FileError, InputError
from tovec.formats import compression
from tovec.formats.compression import CHUNK
from tovec.formats.directories import STDIN

WAIT_SECONDS = 0.25


class CopyOf(str):
    """The path of a copy, which rows and messages call by its original's name."""

    __slots__ = ("original",)

    def __new__(cls, original: str, path: str) -> CopyOf:
        """Return `path`, to be shown as `original`."""
        copy = super().__new__(cls, path)
        copy.original = original
        return copy

    original: str


def shown(path: str) -> str:
    """Return the name of a source in messages."""
    if isinstance(path, CopyOf):
        return path.original
    return "standard input" if path == STDIN else path


def suffix(path: str) -> str:
    """Return the extension that says the format, below a compression's."""
    return Path(compression.strip_suffix(path)).suffix.lower()


class StandardInput(FileIO):
    """Standard input, waited for in turns.

    A signal that comes just before a read does not interrupt it: Python would hear of it only when
    something has been typed, and Ctrl-C would have to be pressed twice.
    """

    def __init__(self) -> None:
        super().__init__(0, closefd=False)

    def readinto(self, buffer: Any, /) -> int | None:
        """Read what there is, as soon as there is something."""
        self._wait()
        return super().readinto(buffer)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read what there is, as soon as there is something."""
        self._wait()
        return super().read(size)

    def _wait(self) -> None:
        if os.name != "posix":
            return
        from select import select

        while not select([self], [], [], WAIT_SECONDS)[0]:
            pass  # here Python handles what has come


def open_source(path: str, stdin: RawIOBase | None = None) -> BufferedReader:
    """Open a file, a pipe or standard input for reading.

    Raises InputError for what does not exist or may never end, FileError for what may not be read.
    """
    if path == STDIN:
        return BufferedReader(stdin or StandardInput(), CHUNK)
    try:
        check_ends(path)
        return BufferedReader(FileIO(path), CHUNK)
    except OSError as error:
        raise unreadable(error, path) from None


def open_regular(path: str) -> BufferedReader:
    """Open a regular file, which can be read from any place. Raises as `open_source`."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            check_ends(path)
            raise InputError("this is a pipe, and a file is needed", where=shown(path))
        return BufferedReader(FileIO(path), CHUNK)
    except OSError as error:
        raise unreadable(error, path) from None


def check_ends(path: str) -> None:
    """Raise InputError for a directory, a socket or a device: they end never, or not by themselves.

    The null device and a terminal are devices that end. Raises OSError where nothing is there.
    """
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise InputError("this is a directory, and a file is needed", where=shown(path))
    if stat.S_ISSOCK(mode):
        raise InputError("this is a socket, and a file is needed", where=shown(path))
    if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not _is_ending_device(path)):
        raise InputError("this is a device, and a file is needed", where=shown(path))


def _is_ending_device(path: str) -> bool:
    if Path(path).stat().st_rdev == Path(os.devnull).stat().st_rdev:
        return True
    with FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)) as device:
        return device.isatty()


def unreadable(error: OSError, path: str) -> InputError | FileError:
    """Return the error for a file that cannot be opened."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError("no such file", where=shown(path))
    return FileError(f"the file cannot be read: {error.strerror}", where=shown(path))


def chunks(path: str, stdin: RawIOBase | None = None) -> Iterator[bytes]:
    """Yield the source's bytes, up to a MiB at a time, without waiting for more than there is.

    Raises InputError for a compressed file that is cut or damaged, FileError for a failing disk.
    """
    with open_source(path, stdin) as raw:
        try:
            yield from compression.decompress(raw, shown(path))
        except OSError as error:
            raise FileError(f"reading failed: {error.strerror}", where=shown(path)) from None


class ChunkStream(RawIOBase):
    """Bytes that come in chunks, as a file that is read from its beginning to its end."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what the current chunk has."""
        if not self._left:
            self._left = memoryview(next(self._parts, b""))
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
