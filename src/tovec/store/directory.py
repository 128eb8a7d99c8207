"""A job's directory: whose it is, and who holds it.

    OUTPUT.tovec/     0700, owned by the user
      lock            locked for the whole run, never unlinked while the run goes on
      job.json        what makes the job's vectors: written once, before the first request
      00000001.log    what was received (log.py)
      reserve         space that is given up when the disk is full
      input           a copy of standard input, so that it can be read again
      *.damaged       what a repair has set aside (repair.py)
      finished.json   the job is done and its directory is being removed (removal.py)

Vectors and digests, never a key and, except in `input`, never a text (DESIGN section 5).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

import orjson

from tovec.errors import FileError, JobError, LockedError
from tovec.store.content_keys import identity_digest
from tovec.store.description import (
    DESCRIPTION,
    DamagedDescriptionError,
    check_identity,
    read_description,
)
from tovec.store.durable import fail, own_directory, replace_file, sync_directory
from tovec.store.filesystem import REAL, FileSystem
from tovec.store.frames import FORMAT
from tovec.store.log import segments
from tovec.store.repair import free_name

LOCK = "lock"
_SPOOL, _RESERVE = "input", "reserve"


class JobDirectory:
    """The directory of a job that is described by `identity`, locked until `release`.

    With `read_only` nothing is locked or changed, and there may be no directory at all. Raises
    JobError where it belongs to another job, LockedError where another run holds it, FileError for
    a disk that refuses.
    """

    def __init__(
        self,
        path: str,
        identity: Mapping[str, Any],
        fs: FileSystem = REAL,
        *,
        read_only: bool = False,
        repair: bool = False,
    ) -> None:
        # A link of the user's own may lead to another disk; another user's is refused here.
        self.path = own_directory(path, fs)
        self.identity = dict(identity)
        self.digest = identity_digest(identity)
        self._fs = fs
        self._lock = -1 if read_only else lock_directory(self.path, fs)
        try:
            self.description = self._compare() if read_only else self._claim(repair=repair)
        except BaseException:
            self.release()
            raise

    # Who holds it ---------------------------------------------------------------------------------

    def is_locked(self) -> bool:
        """Return whether a run holds the job."""
        try:
            number = self._fs.open(f"{self.path}/{LOCK}", os.O_RDWR)
        except OSError:
            return False
        try:
            self._fs.lock(number)
        except BlockingIOError:
            return True
        finally:
            self._fs.close(number)
        return False

    def release(self) -> None:
        """Release the lock, if it is held here."""
        number = self.take_lock()
        if number >= 0:
            with contextlib.suppress(OSError):
                self._fs.close(number)

    def take_lock(self) -> int:
        """Return the lock's descriptor, for the caller to close; -1 if it is not held here."""
        number, self._lock = self._lock, -1
        return number

    # What is in it --------------------------------------------------------------------------------

    @property
    def spool(self) -> str:
        """The path of the copy of standard input."""
        return f"{self.path}/{_SPOOL}"

    def has_kept_input(self) -> bool:
        """Return whether a copy of an input that can be read only once is there."""
        return any(name.startswith(_SPOOL) for name in self._fs.names(self.path))

    def has_damage_set_aside(self) -> bool:
        """Return whether a repair left anything for the user to look at."""
        return any(name.endswith(".damaged") for name in self._fs.names(self.path))

    def remove_kept_input(self) -> None:
        """Remove the copies of inputs that can be read only once."""
        for name in self._fs.names(self.path):
            if name.startswith(_SPOOL):
                self._fs.unlink(f"{self.path}/{name}")

    # Whose it is ----------------------------------------------------------------------------------

    def _claim(self, *, repair: bool) -> dict[str, Any]:
        """Write the description, or compare the job with the one that is there.

        With `repair`, a description that is damaged or gone is written anew: each key holds a
        digest of what makes its vector, so that no other job's vector is ever found.
        """
        try:
            found = self._compare()
        except DamagedDescriptionError:
            if not repair:
                raise
            found = None
        try:
            if found is not None:
                # A kill may have left it unsynced.
                sync_directory(self.path, self._fs)
                return found
            if repair and segments(self._fs, self.path):
                self._set_description_aside()
            else:
                self._refuse_foreign()
            found = {"format": FORMAT, "identity": self.identity, "digest": self.digest.hex()}
            text = orjson.dumps(found, option=orjson.OPT_INDENT_2)
            replace_file(f"{self.path}/{DESCRIPTION}", text, self._fs)
        except OSError as error:
            fail(error, self.path)
        return found

    def _set_description_aside(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            name = free_name(self._fs, self.path, DESCRIPTION)
            self._fs.rename(f"{self.path}/{DESCRIPTION}", f"{self.path}/{name}")

    def _compare(self) -> dict[str, Any] | None:
        """Return the description, None where there is none. Raises JobError for another job's."""
        found = read_description(self.path, self._fs)
        if found is not None:
            check_identity(found.get("identity", {}), self.identity, self.path)
        return found

    def _refuse_foreign(self) -> None:
        """Raise JobError for a directory without a description that is not a new job's."""
        if segments(self._fs, self.path):
            raise JobError(
                f"the job directory holds vectors, but {DESCRIPTION} is missing",
                where=self.path,
                hint="restore it, or let tovec batch --repair write a new one",
            )
        names = [name for name in self._fs.names(self.path) if not name.endswith(".tmp")]
        foreign = sorted(
            name for name in names if name not in (LOCK, _RESERVE) and not name.startswith(_SPOOL)
        )
        if foreign:
            raise JobError(
                f"not a job directory: it contains {foreign[0]}",
                where=self.path,
                hint="name a new one with --job-dir",
            )


def lock_directory(path: str, fs: FileSystem) -> int:
    """Make the directory where there is none, and lock it; return the lock's descriptor."""
    try:
        _make(path, fs)
        number = fs.open(f"{path}/{LOCK}", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        fail(error, path)
    try:
        fs.lock(number)
        if fs.status(number).links == 0:  # the run that held it has just removed it
            fs.close(number)
            return lock_directory(path, fs)
        # Words for the message of a second run; nothing is judged by them.
        words = f"process {os.getpid()} on {socket.gethostname()}".encode()
        fs.truncate(number, 0)
        fs.write(number, [words], 0)
    except BlockingIOError:
        holder = bytearray(200)
        size = fs.read(number, holder, 0)
        fs.close(number)
        raise LockedError(
            f"another run is using this job: {holder[:size].decode(errors='replace')}",
            where=path,
            hint="wait for it to end; tovec batch --status shows what it has done",
        ) from None
    except OSError as error:
        fs.close(number)
        fail(error, path)
    return number


def _make(path: str, fs: FileSystem) -> None:
    """Make the directory, or check that the one there is the user's own and closed to others."""
    try:
        fs.mkdir(path, 0o700)
    except FileExistsError:
        found = fs.status(path)
        if not stat.S_ISDIR(found.mode):
            raise JobError(
                "a file has the job directory's name",
                where=path,
                hint="name another with --job-dir",
            ) from None
        if found.owner != os.geteuid() or found.mode & 0o022:
            raise FileError(
                "other users could write to the job directory",
                where=path,
                hint="name another with --job-dir"
                + ("" if found.owner != os.geteuid() else f", or chmod 700 {path}"),
            ) from None
    # Also for one that is there: a run killed just after it made it may not have synced it.
    with contextlib.suppress(PermissionError):  # of a parent that the user may not read
        sync_directory(os.path.dirname(path) or ".", fs)
