"""Files that appear whole or not at all, and stay: what is written, synced and renamed, in order.

An output is written beside its place under a short temporary name, flushed, fsynced, closed with
its errors checked, renamed, and the directory fsynced: after a crash at any moment the name holds
the previous complete file, or none, or the new complete one. (The sequence of restic's local
backend; the crash cases are numbers 100 to 111, 119, 123 and 179 of the fault catalogue.)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tovec.errors import FileError, LockedError, UsageError
from tovec.records import as_text
from tovec.store.filesystem import FOREIGN_LINK, REAL, FileSystem

BUFFER = 1 << 20
FLUSH_SECONDS = 1.0  # for a reader to take what is left when a run stops
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_HINTS = {
    errno.ENOSPC: "free some space, then run the same command again",
    errno.EDQUOT: "the quota is used up: free some space, then run the same command again",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "choose a directory that you may write to",
    errno.EPERM: "choose a directory that you may write to",
    errno.EFBIG: "the file would be larger than this process or file system allows",
    errno.EIO: "the disk failed: what it holds may be damaged",
    errno.ENOENT: "make the directory first",
    errno.ENAMETOOLONG: "choose a shorter name; --job-dir names a job's directory apart",
}


def fail(error: OSError, path: str | os.PathLike[str], stored: str = "") -> NoReturn:
    """Raise FileError for an OSError; `stored` says what is not lost."""
    hint = _HINTS.get(error.errno or 0, "")
    if error.strerror == FOREIGN_LINK:
        path, hint = str(error.filename), "write to a directory of your own"
    raise FileError(
        f"writing failed: {error.strerror or error}",
        where=os.fspath(path),
        hint="; ".join(part for part in (stored, hint) if part),
    ) from None


@contextlib.contextmanager
def writing(path: str, stored: str = "") -> Iterator[None]:
    """Raise what fails while an output is written as an error that names the output."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(error, "standard output" if path == "-" else path, stored)


def resolve(path: str, fs: FileSystem = REAL) -> Path:
    """Return where a path that is to be written leads. Raises FileError for another's link."""
    try:
        return Path(fs.resolve(path))
    except OSError as error:
        fail(error, path)


def own_directory(path: str, fs: FileSystem) -> str:
    """Return a directory's path, links followed; as it is given where there are none."""
    whole = str(resolve(path, fs))
    return path if whole == os.path.abspath(path) else whole


Published = Sequence[Mapping[str, Any]]
"""Files that became visible: path, inode, size and time of change of each."""


class OutputFile:
    """A file, and those beside it, that become visible together when `commit` is called.

    Satisfies `formats.interface.Sink`. Raises UsageError at once when the target is nothing that
    a file can replace; FileError when it exists and is neither to be replaced by `force` nor one
    of `ours`, the files that an earlier run published; LockedError when another run writes it.
    """

    seekable = True

    def __init__(
        self, path: str, *, force: bool = False, ours: Published = (), fs: FileSystem = REAL
    ) -> None:
        self._force, self._ours, self._fs = force, ours, fs
        # A link is followed once: the file it names is replaced, the link stays.
        self._path = resolve(path, fs)
        self.name = self._path.name
        self._beside: list[_Temporary] = []
        self._refuse(self._path, path)
        self._main = _Temporary(self._path, fs)

    @property
    def file(self) -> BinaryIO:
        """The file that is being written."""
        return self._main.file

    def beside(self, suffix: str) -> BinaryIO:
        """Open a further file, named as the output plus `suffix`; it appears just before it."""
        path = self._path.with_name(self._path.name + suffix)
        self._refuse(path, str(path))
        self._beside.append(_Temporary(path, self._fs))
        return self._beside[-1].file

    def commit(self) -> None:
        """Make everything durable, then visible; the output itself last."""
        self.prepare()
        self.publish()

    def prepare(self) -> Published:
        """Make everything durable under temporary names; return what will be visible."""
        try:
            return [part.sync() for part in (*self._beside, self._main)]
        except OSError as error:
            self.discard()
            fail(error, self._path)

    def publish(self) -> None:
        """Rename everything to its name, the output itself last."""
        try:
            for part in (*self._beside, self._main):
                part.publish(replace=self._force or is_ours(part.path, self._ours, self._fs))
            sync_directory(self._path.parent, self._fs)
        except OSError as error:
            self.discard()
            if error.errno == errno.EEXIST:
                raise exists(str(self._path)) from None
            fail(error, self._path)

    def discard(self) -> None:
        """Leave nothing behind."""
        for part in (*self._beside, self._main):
            part.remove()

    def _refuse(self, path: Path, shown: str) -> None:
        try:
            mode = self._fs.status(str(path)).mode
        except FileNotFoundError:
            return
        except OSError as error:
            fail(error, shown)
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise UsageError(f"the output is {kind}", where=shown, hint="-o - writes to stdout")
        if not self._force and not is_ours(path, self._ours, self._fs):
            raise exists(shown)


def exists(path: str) -> FileError:
    """Return the error for a file that is there already."""
    return FileError(
        "the output exists",
        where=path,
        hint="--force replaces it, --if-exists skip leaves it and ends with 0",
    )


def is_ours(path: Path, ours: Published, fs: FileSystem = REAL) -> bool:
    """Return whether the file at `path` is one that an earlier run published, unchanged since."""
    try:
        found = published(path, fs)
    except OSError:
        return False
    return any(dict(one) == found for one in ours)


def published(path: Path, fs: FileSystem, file: int | None = None) -> dict[str, Any]:
    """Return what distinguishes a published file from any other of its name."""
    status = fs.status(str(path) if file is None else file)
    return {
        "path": as_text(path),
        "inode": status.identity[1],
        "size": status.size,
        "changed": status.changed,
    }


def temporary_name(path: Path) -> Path:
    """Return the name under which `path` is made: a hash, short where the name may be long."""
    short = hashlib.blake2b(path.name.encode(errors="surrogateescape"), digest_size=6)
    return path.with_name(f".tovec-{short.hexdigest()}.tmp")


class _Temporary:
    """One file under a temporary name beside its place."""

    def __init__(self, path: Path, fs: FileSystem) -> None:
        self.path, self._fs = path, fs
        self._temporary = temporary_name(path)
        try:
            self._remove_stray()
            number = fs.open(str(self._temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            fs.lock(number)
        except (FileExistsError, BlockingIOError):
            raise in_use(path) from None
        except OSError as error:
            fail(error, path)
        self.file: BinaryIO = BufferedWriter(fs.stream(number), BUFFER)

    def _remove_stray(self) -> None:
        """Remove what a killed run has left: a temporary file that nobody holds a lock on."""
        name = str(self._temporary)
        try:
            number = self._fs.open(name, os.O_RDONLY)
        except OSError:
            return  # there is none; or opening anew will say what is wrong
        try:
            self._fs.lock(number)
            if self._fs.status(name).identity == self._fs.status(number).identity:
                self._fs.unlink(name)
        except FileNotFoundError:
            return
        finally:
            self._fs.close(number)

    def sync(self) -> dict[str, Any]:
        """Write everything to the disk, and see the errors that only closing shows."""
        self.file.flush()
        self._fs.chmod(self.file.fileno(), 0o666 & ~_umask())
        self._fs.sync(self.file.fileno())
        found = published(self.path, self._fs, self.file.fileno())
        self.file.close()
        return found

    def publish(self, *, replace: bool) -> None:
        """Rename the file to its name; without `replace`, never over one that came meanwhile."""
        temporary, path = str(self._temporary), str(self.path)
        if replace:
            self._fs.rename(temporary, path)
            return
        try:
            self._fs.link(temporary, path)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOENT):
                raise
            # A file system without hard links: look, then rename.
            with contextlib.suppress(FileNotFoundError):
                self._fs.status(path)
                raise FileExistsError(errno.EEXIST, "the output exists", path) from None
            self._fs.rename(temporary, path)
            return
        self._fs.unlink(temporary)

    def remove(self) -> None:
        """Close and remove, whatever has happened before."""
        with contextlib.suppress(OSError, ValueError):  # it may be closed already
            # Closing would write what is buffered, for nothing.
            self.file.detach().close()  # type: ignore[attr-defined]
        with contextlib.suppress(OSError, ValueError):
            self.file.close()
        with contextlib.suppress(OSError):
            self._fs.unlink(str(self._temporary))


def in_use(path: Path) -> LockedError:
    """Return the error for an output that another run is writing."""
    return LockedError("another run is writing this output", where=str(path))


def replace_file(path: str, data: bytes, fs: FileSystem = REAL) -> None:
    """Write a small file, mode 0600, whole or not at all. Raises OSError."""
    temporary = f"{path}.tmp"
    with contextlib.suppress(FileNotFoundError):
        fs.unlink(temporary)
    number = fs.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        done = 0
        while done < len(data):
            done += fs.write(number, [data[done:]], done)
        fs.sync(number)
    finally:
        fs.close(number)
    fs.rename(temporary, path)
    sync_directory(os.path.dirname(path), fs)


def sync_directory(path: Path | str, fs: FileSystem = REAL) -> None:
    """Make the names in a directory durable; file systems that cannot are left alone (#123)."""
    number = fs.open(os.fspath(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fs.sync(number)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        fs.close(number)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


class StandardOutput:
    """stdout as a sink: nothing appears whole, nothing stands beside it."""

    name = "-"
    seekable = False

    def __init__(self, number: int = 1) -> None:
        self.file: BinaryIO = BufferedWriter(FileIO(number, "w", closefd=False), BUFFER)

    def beside(self, suffix: str) -> BinaryIO:
        """Refuse: there is no file beside a pipe."""
        raise UsageError(f"stdout cannot have the side file {suffix}", hint="name a file with -o")

    def commit(self) -> None:
        """Hand over what is left."""
        self.file.flush()

    def discard(self) -> None:
        """Hand over what there is: what was written cannot be taken back.

        A reader that takes nothing is not waited for.
        """
        import threading

        def flush() -> None:
            with contextlib.suppress(OSError, ValueError):
                self.file.flush()

        thread = threading.Thread(target=flush, daemon=True)
        try:
            thread.start()
            thread.join(FLUSH_SECONDS)
        except RuntimeError:  # no more threads
            flush()
