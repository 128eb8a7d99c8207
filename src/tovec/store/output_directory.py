"""Outputs of many files: a directory that appears whole or not at all.

The directory is made under a temporary name beside its place. Where one is there already, the two
exchange their names in one step (renameat2 with RENAME_EXCHANGE), and the old one, now under the
temporary name, is removed when that is durable. A file system that cannot exchange names takes two
renames: the old directory to NAME.old, the new one to its place. A kill between the two leaves the
old one as NAME.old, and the next run gives it its name back before it does anything else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from io import BufferedWriter
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tovec.errors import FileError, TovecError, UsageError
from tovec.records import as_text
from tovec.store.durable import (
    BUFFER,
    Published,
    exists,
    fail,
    in_use,
    published,
    resolve,
    sync_directory,
    temporary_name,
)
from tovec.store.filesystem import REAL, FileSystem

# What says that a system or a file system cannot exchange names; EPERM comes from a filter of
# system calls that does not know renameat2.
_CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


class OutputDirectory:
    """A directory of part files that becomes visible as a whole.

    One that is there already is replaced with `force`, or where an earlier run published it, and
    only if it holds nothing but part files.
    """

    def __init__(
        self, path: str, *, force: bool = False, ours: Published = (), fs: FileSystem = REAL
    ) -> None:
        self._named, self._force, self._ours, self._fs = path, force, ours, fs
        self._path = resolve(path, fs)
        self._temporary = temporary_name(self._path)
        self._old = self._temporary.with_suffix(".old")
        self._sinks: list[_Part] = []
        self._locks: list[int] = []
        self._check_target()
        try:
            self._make_temporary()
            self._settle_old()
            self._check_target()
        except (OSError, TovecError) as error:
            self._stop(error)

    def part(self, name: str) -> _Part:
        """Open a part file; a sink, complete when the next one is opened."""
        self._complete_last()
        self._sinks.append(_Part(self._temporary, name, self._fs))
        return self._sinks[-1]

    def prepare(self) -> Published:
        """Make everything durable under the temporary name; return what will be visible."""
        try:
            self._complete_last()
            sync_directory(self._temporary, self._fs)
            return [{**self._describe(self._temporary), "path": as_text(self._path)}]
        except OSError as error:
            self._stop(error)

    def publish(self) -> None:
        """Rename the directory to its name, and remove the one that had it."""
        try:
            self._check_target()
            replaced = self._take_name()
            self._sync_names()
            if replaced is not None:
                self._remove(replaced)
                self._sync_names()
            self._release()
        except (OSError, TovecError) as error:
            self._stop(error)

    def discard(self) -> None:
        """Leave nothing behind, and the old directory under its name."""
        for sink in self._sinks[-1:]:
            sink.close()
        if not self._locks:  # it is published, and the temporary name may be another run's
            return
        with contextlib.suppress(OSError):
            self._remove(self._temporary)
        self._release()
        with contextlib.suppress(OSError, TovecError):
            self._settle_old()

    def _stop(self, error: OSError | TovecError) -> NoReturn:
        """Discard, and raise what stopped the work as the error that a user understands."""
        self.discard()
        match error:
            case BlockingIOError():
                raise in_use(self._path) from None
            case OSError(errno=errno.ENOTEMPTY | errno.EEXIST):  # made at the last moment
                raise exists(self._named) from None
            case OSError():
                fail(error, self._path)
        raise error

    # Names ----------------------------------------------------------------------------------------

    def _make_temporary(self) -> None:
        """Make the temporary directory and lock it; remove what a killed run left there."""
        try:
            self._fs.mkdir(str(self._temporary), 0o777)
        except FileExistsError:
            stray = self._lock(self._temporary)
            try:
                self._remove(self._temporary)
            finally:
                self._fs.close(stray)
            try:
                self._fs.mkdir(str(self._temporary), 0o777)
            except FileExistsError:
                raise in_use(self._path) from None
        self._locks.append(self._lock(self._temporary))

    def _settle_old(self) -> None:
        """Rename an old output back where a run was killed before the new one had its name."""
        if not self._is_there(self._old):
            return
        number = self._lock(self._old)
        try:
            if self._is_there(self._path):
                self._remove(self._old)
            else:
                self._fs.rename(str(self._old), str(self._path))
            self._sync_names()
        finally:
            self._fs.close(number)

    def _take_name(self) -> Path | None:
        """Rename the new directory to its name; return the old one's new name, if there is one."""
        temporary, path, old = str(self._temporary), str(self._path), str(self._old)
        if not self._is_there(self._path):
            self._fs.rename(temporary, path)
            return None
        # Locked, so that no other run takes the old directory for one that a killed run left.
        self._locks.append(self._lock(self._path, may_be_foreign=True))
        try:
            self._fs.exchange(temporary, path)
        except OSError as error:
            if error.errno not in _CANNOT_EXCHANGE:
                raise
        else:
            return self._temporary
        self._fs.rename(path, old)
        self._sync_names()  # a power cut must not keep the second rename and lose the first
        self._fs.rename(temporary, path)
        return self._old

    def _lock(self, path: Path, *, may_be_foreign: bool = False) -> int:
        """Open and lock a directory of the user's own, never through a link; return its number.

        Raises BlockingIOError where another run holds it, or has just removed it.
        """
        number = self._fs.open(str(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = self._fs.status(number)
            if status.owner != os.geteuid() and not may_be_foreign:
                raise FileError(
                    "a directory that blocks this output belongs to another user",
                    where=str(path),
                    hint="remove it, or write to a directory that only you may write to",
                )
            self._fs.lock(number)
            if not self._is_there(path) or self._fs.status(str(path)).identity != status.identity:
                raise BlockingIOError(errno.EWOULDBLOCK, "removed by another run")
        except BaseException:
            self._fs.close(number)
            raise
        return number

    def _release(self) -> None:
        while self._locks:
            self._fs.close(self._locks.pop())

    def _remove(self, path: Path) -> None:
        """Remove a directory of files, once it is durable that no output has this name."""
        self._sync_names()
        for name in self._fs.names(str(path)):
            self._fs.unlink(str(path / name))
        self._fs.rmdir(str(path))

    def _sync_names(self) -> None:
        sync_directory(self._path.parent, self._fs)

    def _is_there(self, path: Path) -> bool:
        try:
            self._fs.status(str(path))
        except FileNotFoundError:
            return False
        return True

    # What is there --------------------------------------------------------------------------------

    def _check_target(self) -> None:
        """Raise UsageError where what has the output's name must not be replaced."""
        try:
            if self._is_there(self._path):
                self._check_directory()
        except TovecError:
            raise
        except OSError as error:
            fail(error, self._path)

    def _check_directory(self) -> None:
        path = str(self._path)
        if not stat.S_ISDIR(self._fs.status(path).mode):
            raise UsageError(
                "the output is a file, not a directory of part files", where=self._named
            )
        names = sorted(self._fs.names(path))
        strange = [name for name in names if not self._is_part(name)]
        if strange:
            raise UsageError(
                f"the output directory holds more than part files: {strange[0]}",
                where=self._named,
                hint="name a new directory with -o",
            )
        if names and not self._force and not self._is_ours():
            raise exists(self._named)

    def _is_part(self, name: str) -> bool:
        path = self._path / name
        return (
            name.startswith("part-")
            and self._is_there(path)
            and stat.S_ISREG(self._fs.status(str(path)).mode)
        )

    def _is_ours(self) -> bool:
        return any(dict(one) == self._describe(self._path) for one in self._ours)

    def _describe(self, path: Path) -> dict[str, Any]:
        names = sorted(self._fs.names(str(path)))
        files = [published(path / name, self._fs) | {"path": name} for name in names]
        inode = self._fs.status(str(path)).identity[1]
        return {"path": as_text(path), "inode": inode, "files": files}

    def _complete_last(self) -> None:
        for sink in self._sinks[-1:]:
            sink.sync()


class _Part:
    """A part file, and what stands beside it; a sink."""

    seekable = True

    def __init__(self, directory: Path, name: str, fs: FileSystem) -> None:
        self.name = name
        self._directory, self._fs = directory, fs
        self._files: list[BinaryIO] = []
        self.file = self._open(name)

    def beside(self, suffix: str) -> BinaryIO:
        """Open a further file, named as the part plus `suffix`."""
        return self._open(self.name + suffix)

    def sync(self) -> None:
        """Write everything to the disk and close; once."""
        for file in self._files:
            if not file.closed:
                file.flush()
                self._fs.sync(file.fileno())
                file.close()

    def close(self) -> None:
        """Close and ignore errors: what was written is about to be removed."""
        for file in self._files:
            with contextlib.suppress(OSError, ValueError):
                # Closing would write what is buffered, for nothing.
                file.detach().close()  # type: ignore[attr-defined]
            with contextlib.suppress(OSError, ValueError):
                file.close()

    def _open(self, name: str) -> BinaryIO:
        path = str(self._directory / name)
        try:
            number = self._fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            fail(error, path)
        self._files.append(BufferedWriter(self._fs.stream(number), BUFFER))
        return self._files[-1]
