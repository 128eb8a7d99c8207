"""Input that cannot be read twice, kept in the job's directory before anything is asked for."""

from __future__ import annotations

import contextlib
import os
from io import RawIOBase

from tovec.store.durable import fail, sync_directory
from tovec.store.filesystem import REAL, FileSystem

CHUNK_BYTES = 1 << 20


def spool(source: RawIOBase, path: str, fs: FileSystem = REAL, *, keep_empty: bool = False) -> int:
    """Copy everything from `source` to `path` (mode 0600), durable; return its bytes.

    Nothing appears under `path` before everything is there; where `source` is empty nothing
    does, except with `keep_empty`. Raises FileError for a disk that refuses.
    """
    temporary = f"{path}.tmp"
    size = 0
    try:
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(temporary)
        number = fs.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            while chunk := source.read(CHUNK_BYTES):
                view = memoryview(chunk)
                while view:
                    done = fs.write(number, [view], size)
                    view, size = view[done:], size + done
            fs.sync(number)
        finally:
            fs.close(number)
        if not size and not keep_empty:
            fs.unlink(temporary)
            return 0
        fs.rename(temporary, path)
        sync_directory(os.path.dirname(path), fs)
    except OSError as error:
        fail(error, path)
    return size
