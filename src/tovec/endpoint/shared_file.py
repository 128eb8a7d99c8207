"""Numbers that several processes share in a small file, and which of these processes are alive.

The file is locked for microseconds at a time. Each member holds a lock on a byte of its own for as
long as it lives, so that the others notice when it dies, however it dies. POSIX record locks
belong to a process and end when it closes any descriptor of the file: hence one `SharedFile` per
path and process, which knows its own members itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
import time
from array import array
from pathlib import Path

MAX_MEMBERS = 256
MAX_BYTES = 1 << 16  # of a file that makes sense
MAX_LOCK_SECONDS = 0.25  # a process that is stopped while it holds the lock must not stop others
RETRY_SECONDS = 0.0005
_LOCK_BYTE = 1 << 20  # beyond the data, where a lock needs no byte
_MEMBER_BYTES = _LOCK_BYTE + 1


class _OpenFiles:
    """The files that this process has open, by their paths."""

    def __init__(self) -> None:
        self.files: dict[Path, SharedFile] = {}
        self.lock = threading.Lock()

    def reset(self) -> None:
        """Forget the files of the parent process: a fork has none of its locks."""
        self.files, self.lock = {}, threading.Lock()


_open = _OpenFiles()
os.register_at_fork(after_in_child=_open.reset)


class SharedFile:
    """The file at one path, as this process has it open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._members: set[int] = set()  # of this process
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(self._descriptor)
            raise PermissionError("the shared file belongs to another user")

    def lock(self) -> array[float]:
        """Lock the file and return its numbers. Raises OSError where that takes too long."""
        if os.getpid() != self._pid:
            raise BlockingIOError("a fork has no locks of its own")
        if not self._mutex.acquire(timeout=MAX_LOCK_SECONDS):
            raise BlockingIOError("another thread holds the lock")
        try:
            until = time.monotonic() + MAX_LOCK_SECONDS
            while not self._take(_LOCK_BYTE):
                if time.monotonic() > until:
                    raise BlockingIOError("another process holds the lock")
                time.sleep(RETRY_SECONDS)
            data = os.pread(self._descriptor, MAX_BYTES, 0)
            numbers = array("d", data if len(data) % 8 == 0 else b"")
        except BaseException:
            self._mutex.release()
            raise
        return numbers

    def unlock(self, numbers: array[float] | None = None) -> None:
        """Write the numbers, if any, and unlock the file."""
        try:
            if numbers is not None:
                os.pwrite(self._descriptor, numbers.tobytes(), 0)
        finally:
            self._free(_LOCK_BYTE)
            self._mutex.release()

    def is_alive(self, member: int) -> bool:
        """Return whether a member lives; call it with the file locked."""
        if member in self._members:
            return True
        if not self._take(_MEMBER_BYTES + member):
            return True
        self._free(_MEMBER_BYTES + member)
        return False

    def _add_member(self) -> int:
        for member in range(MAX_MEMBERS):
            if member not in self._members and self._take(_MEMBER_BYTES + member):
                self._members.add(member)
                return member
        raise BlockingIOError("too many processes share a limit")

    def _remove_member(self, member: int) -> None:
        self._members.discard(member)
        self._free(_MEMBER_BYTES + member)

    def _is_current(self) -> bool:
        """Return whether the path still leads to this file: the last member removes it."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), os.lstat(self._path))
        return False

    def _close(self) -> None:
        del _open.files[self._path]
        os.close(self._descriptor)

    def _is_without_members(self) -> bool:
        """Return whether neither this process nor another has a member."""
        if self._members or not self._take(_MEMBER_BYTES, MAX_MEMBERS):
            return False
        self._free(_MEMBER_BYTES, MAX_MEMBERS)
        return True

    def _take(self, byte: int, count: int = 1) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, count, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _free(self, byte: int, count: int = 1) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, count, byte)


def join(path: Path) -> tuple[SharedFile, int, array[float]]:
    """Return the file at a path, locked, a new member of it, and its numbers.

    There are no numbers where no other member lives. Raises OSError where the file cannot be used.
    """
    with _open.lock:
        while True:
            file = _open.files.get(path)
            if file is None:
                file = _open.files[path] = SharedFile(path)
            try:
                numbers = file.lock()
            except OSError:
                if not file._members:
                    file._close()
                raise
            try:
                if file._is_current():
                    is_alone = file._is_without_members()
                    return file, file._add_member(), array("d") if is_alone else numbers
                if file._members:
                    raise FileNotFoundError("the shared file was removed")
            except OSError:
                file.unlock()
                raise
            file.unlock()
            file._close()


def leave(file: SharedFile, member: int) -> None:
    """Give up a member; the last one removes the file. Raises OSError where that fails."""
    with _open.lock:
        file.lock()
        try:
            file._remove_member(member)
            if file._is_without_members() and file._is_current():
                file._path.unlink()
        finally:
            file.unlock()
        if not file._members:
            file._close()
