"""Bytes in: files and standard input, compressed or not, handed over as they are delivered."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from io import BufferedIOBase, BufferedReader, FileIO, RawIOBase
from pathlib import Path
from typing import Any

from tovec.errors import FileError, InputError

CHUNK = 1 << 20
TURN = 0.25  # seconds
STDIN = "-"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BESIDE = (".json", ".ids.jsonl", ".tovec", ".rejects.jsonl")  # an output's own side files
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

        while not select([self], [], [], TURN)[0]:
            pass  # here Python handles what has come


def opened(path: str, stdin: RawIOBase | None = None) -> BufferedReader:
    """Open a file or standard input for reading.

    Raises InputError for what is not there or not a file, FileError for what may not be read.
    """
    if path == STDIN:
        return BufferedReader(stdin or StandardInput(), CHUNK)
    try:
        return BufferedReader(FileIO(path), CHUNK)
    except FileNotFoundError:
        raise InputError("the file is not there", where=path) from None
    except IsADirectoryError:
        raise InputError("this is a directory, and a file is needed", where=path) from None
    except OSError as error:
        raise FileError(f"the file cannot be read: {error.strerror}", where=path) from None


def compressed(path: str) -> bool:
    """Say whether a path's extension is that of a compressed file."""
    return Path(path).suffix.lower() in _COMPRESSED


def _decompressed(stream: BufferedReader) -> BufferedIOBase:
    """Give the stream, decompressed if it begins as gzip or zstd does."""
    magic = stream.peek(4)[:4]
    if magic.startswith(_GZIP):
        import gzip

        return gzip.GzipFile(fileobj=stream)
    if magic == _ZSTD:
        import pyarrow as pa

        return BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"), CHUNK)
    return stream


def chunks(path: str, stdin: RawIOBase | None = None) -> Iterator[bytes]:
    """Give the source's bytes, up to a MiB at a time, without waiting for more than there is.

    Raises InputError for a compressed file that is cut or damaged, FileError for a failing disk.
    """
    with opened(path, stdin) as raw:
        try:
            with _decompressed(raw) as stream:
                while chunk := stream.read1(CHUNK):
                    yield chunk
        except EOFError:
            raise InputError("the compressed file is cut short", where=shown(path)) from None
        except OSError as error:
            if error.errno:
                raise FileError(f"reading failed: {error.strerror}", where=shown(path)) from None
            raise _damaged(error, path) from None
        except Exception as error:
            if type(error).__module__ == "zlib":  # zlib.error, without importing zlib for it
                raise _damaged(error, path) from None
            raise


def files(path: str, glob: str | None = None, ours: Sequence[str] = ()) -> Iterator[str]:
    """Give a directory's files, below it at any depth, in the order of their paths.

    Hidden files and directories (a name that begins with a dot) are left out, links to directories
    are not followed. `glob` chooses among them: by name, or, if it has a slash, by the path below
    the directory. A path in `ours`, what is below it and the files that tovec writes beside it are
    left out: an output is no input of its own. Anything but a directory is given as it is.
    Raises InputError when a directory has no such file.
    """
    if path == STDIN or not Path(path).is_dir():
        yield path
        return
    found = False
    outputs = [os.path.realpath(one) for one in ours]
    for one in _walked(Path(path)):
        if outputs and _is_ours(os.path.realpath(one), outputs):
            continue
        below = one.relative_to(path)
        if glob is None or fnmatchcase(str(below) if "/" in glob else one.name, glob):
            found = True
            yield str(one)
    if not found:
        what = "has no files" if glob is None else f"has no file like {glob}"
        raise InputError(f"the directory {what}", where=path, hint="hidden files are left out")


def _is_ours(path: str, outputs: Sequence[str]) -> bool:
    rests = (path[len(one) :] for one in outputs if path.startswith(one))
    return any(rest.partition("/")[0] in ("", *_BESIDE) for rest in rests)


def _walked(directory: Path) -> Iterator[Path]:
    try:
        inside = sorted(directory.iterdir(), key=lambda one: one.name)
    except OSError as error:
        raise FileError(
            f"the directory cannot be read: {error.strerror}", where=str(directory)
        ) from None
    for one in inside:
        if one.name.startswith("."):
            continue
        if not one.is_dir():
            yield one
        elif not one.is_symlink():
            yield from _walked(one)


def _damaged(error: Exception, path: str) -> InputError:
    return InputError(f"the compressed file is damaged: {error}", where=shown(path))
