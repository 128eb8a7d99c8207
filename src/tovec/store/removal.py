"""How the directory of a finished job goes: as the last act of the process.

A run that is killed before its directory is gone finds, when it is run again, either all of its
vectors or the mark that it had finished (`finished.json`). A run killed afterwards would find an
output and not know that it is its own. So the directory stays whole until everything is said;
then the mark is written, everything else is removed, and the mark and the directory themselves go
immediately before the process ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import orjson

from tovec.store.description import read_small_file
from tovec.store.directory import LOCK, lock_directory
from tovec.store.durable import fail, own_directory, replace_file, sync_directory
from tovec.store.filesystem import REAL, FileSystem

MARK = "finished.json"


class FinishedJob:
    """The directory of a job whose output is visible, locked by the descriptor `lock`.

    `record` is what the job says of itself. FileError for a disk that refuses.
    """

    def __init__(
        self,
        path: str,
        lock: int,
        record: Mapping[str, Any],
        fs: FileSystem = REAL,
        *,
        is_marked: bool = False,
    ) -> None:
        self.record = record
        self._path, self._fs, self._is_marked = path, fs, is_marked
        self._open = [lock]

    def remove_contents(self) -> None:
        """Mark the job as finished, and remove all that it holds except the mark and the lock."""
        try:
            if not self._is_marked:
                replace_file(f"{self._path}/{MARK}", orjson.dumps(self.record), self._fs)
                self._is_marked = True
            remove_contents(self._path, self._fs)
        except OSError as error:
            self.close()
            fail(error, self._path)

    def remove_directory(self) -> None:
        """Remove the lock, the mark and the directory, and leave them open until `close`.

        The disk is done with what is removed when that is closed. It may take some ms, in which a
        kill would leave no word of what was done; the end of the process closes in its own time.
        """
        try:
            self._open.append(self._fs.open(self._path, os.O_RDONLY | os.O_DIRECTORY))
            self._open.append(self._fs.open(f"{self._path}/{MARK}", os.O_RDONLY))
            remove_directory(self._path, self._fs)
        except OSError as error:
            self.close()
            fail(error, self._path)

    def close(self) -> None:
        """Release the lock; for a process that does not end at once."""
        while self._open:
            with contextlib.suppress(OSError):
                self._fs.close(self._open.pop())


def remove_contents(path: str, fs: FileSystem) -> None:
    """Remove all that a locked job directory holds except the lock and the mark."""
    for name in sorted(set(fs.names(path)) - {MARK, LOCK}):
        fs.unlink(f"{path}/{name}")
    sync_directory(path, fs)


def remove_directory(path: str, fs: FileSystem) -> None:
    """Remove the lock, then the mark, which says that the job is done, then the directory."""
    for name in (LOCK, MARK):
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(f"{path}/{name}")
    with contextlib.suppress(OSError):  # another run has begun in it
        fs.rmdir(path)


def find_finished(path: str, fs: FileSystem = REAL) -> FinishedJob | None:
    """Return the finished job whose removal was interrupted, locked; None if there is none.

    Raises LockedError where another run is removing it.
    """
    path = own_directory(path, fs)
    if read_small_file(f"{path}/{MARK}", fs) is None:
        return None
    lock = lock_directory(path, fs)
    try:
        text = read_small_file(f"{path}/{MARK}", fs)
        if text is None:  # removed meanwhile; what is there now is another job's
            fs.close(lock)
            return None
        sync_directory(path, fs)  # a kill may have left it unsynced: a power cut would undo it
    except OSError as error:
        fs.close(lock)
        fail(error, path)
    found: object = None
    with contextlib.suppress(ValueError):
        found = orjson.loads(text)
    # A damaged mark still says, by being there, that the output was written.
    record = found if isinstance(found, dict) else {}
    return FinishedJob(path, lock, record, fs, is_marked=True)
