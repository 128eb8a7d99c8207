"""The file operations that durability rests on, as an object: the real ones, or simulated.

Nothing else in this room opens for writing, writes, syncs, renames or unlinks, so a crash model
sees every step that matters (section (f) of the reliability notes). Errors are OSErrors.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import stat
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

BEGIN_BYTES = 16 << 20  # written before the disk is to begin with them
AT_FDCWD = -100  # of Linux: paths are relative to the current directory
RENAME_EXCHANGE = 2  # of Linux's renameat2

FOREIGN_LINK = "a symbolic link that belongs to another user"
MAX_LINKS = 40  # in one path, as in Linux

Buffer = Any  # bytes, a memoryview, a contiguous array


class Status(NamedTuple):
    """What is needed of a file's status; `identity` is (device, inode), `changed` nanoseconds."""

    size: int
    mode: int
    owner: int
    links: int
    identity: tuple[int, int]
    changed: int


class FileSystem(Protocol):
    """What a store asks of a file system; paths are whole, numbers are file descriptors."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """Open without following a link at the end of `path`; never inherited by children."""
        ...

    def close(self, number: int) -> None:
        """Close, and show the errors that only closing shows."""
        ...

    def read(self, number: int, buffer: Buffer, offset: int) -> int:
        """Fill `buffer` from `offset` on, as far as the file goes; return the bytes read."""
        ...

    def write(self, number: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write buffers one after another from `offset` on; may write less; return how much."""
        ...

    def stream(self, number: int) -> io.RawIOBase:
        """Return the descriptor as a raw file, which closes it."""
        ...

    def sync(self, number: int, *, data_only: bool = False) -> None:
        """Return when what was written (of a directory: its names) survives a power cut."""
        ...

    def truncate(self, number: int, size: int) -> None:
        """Cut a file to `size` bytes."""
        ...

    def chmod(self, number: int, mode: int) -> None:
        """Set a file's mode."""
        ...

    def lock(self, number: int) -> None:
        """Lock the file, or raise BlockingIOError at once; closing releases it."""
        ...

    def status(self, file: int | str) -> Status:
        """Return the status of a descriptor, or of what a path names, links followed."""
        ...

    def names(self, directory: str) -> list[str]:
        """Return the names in a directory, in no order."""
        ...

    def resolve(self, path: str) -> str:
        """Return the path with its links followed.

        Raises PermissionError for a link that belongs neither to the user nor to root: whoever
        made it would choose what is written to.
        """
        ...

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        ...

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    def link(self, old: str, new: str) -> None:
        """Add a second name to a file, never one that exists."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename a file, replacing what had the name."""
        ...

    def exchange(self, first: str, second: str) -> None:
        """Exchange what two names name, in one step; an OSError where the system cannot."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a name."""
        ...


class _Stream(io.FileIO):
    """A raw file whose bytes are on their way to the disk while more are written.

    They would wait in memory for `sync` else, and it for all of them. (POSIX_FADV_DONTNEED makes
    Linux begin to write and not wait for it: mm/fadvise.c.)
    """

    _written = _begun = 0  # counted here: to ask is another call of the system's for each write

    def write(self, data: Buffer, /) -> int:
        """Write, and let the disk begin once there is enough."""
        done = super().write(data)
        self._written += done
        length = self._written - self._begun
        if length >= BEGIN_BYTES and hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # it is advice
                os.posix_fadvise(self.fileno(), self._begun, length, os.POSIX_FADV_DONTNEED)
            self._begun += length
        return done


class RealFileSystem:
    """The operating system's."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """Open; see FileSystem."""
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)

    def close(self, number: int) -> None:
        """Close."""
        os.close(number)

    def read(self, number: int, buffer: Buffer, offset: int) -> int:
        """Fill a buffer; one call reads at most 2 GiB, so it is asked until nothing comes."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and (got := os.preadv(number, [view[done:]], offset + done)):
            done += got
        return done

    def write(self, number: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write, perhaps less than everything."""
        return os.pwritev(number, buffers, offset)

    def stream(self, number: int) -> io.RawIOBase:
        """Return a raw file."""
        return _Stream(number, "w")

    def sync(self, number: int, *, data_only: bool = False) -> None:
        """Sync; on macOS only F_FULLFSYNC reaches the disk itself."""
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None:
            fcntl.fcntl(number, full)
        elif data_only:
            os.fdatasync(number)
        else:
            os.fsync(number)

    def truncate(self, number: int, size: int) -> None:
        """Cut."""
        os.ftruncate(number, size)

    def chmod(self, number: int, mode: int) -> None:
        """Set the mode."""
        os.fchmod(number, mode)

    def lock(self, number: int) -> None:
        """Lock, or raise BlockingIOError."""
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def status(self, file: int | str) -> Status:
        """Return the status."""
        s = os.stat(file)
        return Status(
            s.st_size, s.st_mode, s.st_uid, s.st_nlink, (s.st_dev, s.st_ino), s.st_mtime_ns
        )

    def names(self, directory: str) -> list[str]:
        """List."""
        return os.listdir(directory)

    def resolve(self, path: str) -> str:
        """Follow links, each of which must be the user's own or root's."""
        return _follow(os.path.join(os.getcwd(), path), MAX_LINKS)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory."""
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        """Remove."""
        os.rmdir(path)

    def link(self, old: str, new: str) -> None:
        """Link."""
        os.link(old, new)

    def rename(self, old: str, new: str) -> None:
        """Rename."""
        os.replace(old, new)

    def exchange(self, first: str, second: str) -> None:
        """Exchange two names; Python has no call for it."""
        import ctypes  # here, because few outputs replace a directory

        call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if call is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), first)
        call.argtypes = (
            ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
        )  # fmt: skip
        names = (os.fsencode(first), os.fsencode(second))
        if call(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), first)

    def unlink(self, path: str) -> None:
        """Unlink."""
        os.unlink(path)


REAL: FileSystem = RealFileSystem()


def _follow(path: str, links: int) -> str:
    """Return an absolute path without links; the rule is protected_symlinks' for every directory.

    Source: "protected_symlinks" in the kernel's admin-guide/sysctl/fs.
    """
    whole = os.sep
    for part in path.split(os.sep):
        if part in ("", "."):
            continue
        if part == "..":
            whole = os.path.dirname(whole)
            continue
        here = os.path.join(whole, part)
        try:
            found = os.lstat(here)
        except OSError:
            whole = here
            continue
        if not stat.S_ISLNK(found.st_mode):
            whole = here
            continue
        if found.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, FOREIGN_LINK, here)
        if not links:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        whole = _follow(os.path.join(whole, os.readlink(here)), links - 1)
    return whole
