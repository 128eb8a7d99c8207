"""A file system in memory that can be killed or lose power at any operation.

What is written is volatile until it is synced. A kill keeps everything; a power cut keeps what was
synced and, of the rest, whatever chance decides: each write whole, torn, zeroed or lost, each
change of a directory made or not. Section (f) of the reliability notes.
"""

from __future__ import annotations

import errno
import io
import os
import random
import stat
from collections.abc import Callable, Sequence
from typing import Any

from tovec.store.filesystem import Status

SECTOR = 32  # bytes: small, as the model's frames are


class Crash(BaseException):
    """The process, or the machine, stops here."""


class _Inode:
    def __init__(self, number: int, mode: int) -> None:
        self.number, self.mode = number, mode
        self.data = bytearray()
        self.durable = b""
        self.pending: list[tuple[str, int, bytes]] = []
        self.links = 1
        self.changed = 0


Names = dict[str, "_Inode | _Directory"]
Change = Callable[[Names], None]


class _Directory:
    """A directory: its names as a process sees them, as they are durable, and what lies between."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.names: Names = {}
        self.durable: Names = {}
        self.changes: list[Change] = []

    def change(self, change: Change) -> None:
        change(self.names)
        self.changes.append(change)

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.changes.clear()


class SimulatedFileSystem:
    """See the module. `crash_at` is the number of the operation that does not come to its end.

    There is one directory, /d, and what is made in it.
    """

    def __init__(self, seed: int = 0, *, can_exchange: bool = True) -> None:
        self._random = random.Random(seed)
        self._can_exchange = can_exchange
        self._inodes: list[_Inode] = []
        self._directories = [_Directory(1)]
        self._open: dict[int, tuple[_Inode | _Directory, bool]] = {}
        self._locks: dict[int, int] = {}
        self._next = 100
        self.operations = 0
        self.crash_at: int | None = None

    # What happens to it ---------------------------------------------------------------------------

    def kill(self) -> None:
        """Let go of what a process held; what it wrote stays."""
        self._open.clear()
        self._locks.clear()
        self.crash_at = None

    def lose_power(self) -> None:
        """Keep what was synced, and of the rest what chance decides."""
        self.kill()
        for inode in self._inodes:
            inode.data = bytearray(self._survivors(inode))
            inode.durable, inode.pending = bytes(inode.data), []
            inode.links = 0
        for directory in self._directories:
            for change in directory.changes:
                if self._random.random() < 0.5:
                    change(directory.durable)
            directory.changes.clear()
            directory.names = dict(directory.durable)
            for held in directory.names.values():
                if isinstance(held, _Inode):
                    held.links += 1

    def _survivors(self, inode: _Inode) -> bytes:
        data = bytearray(inode.durable)
        for kind, at, written in inode.pending:
            fate = self._random.choice(("whole", "whole", "torn", "zeroed", "sectors", "lost"))
            if kind == "truncate":
                if fate != "lost":
                    _resize(data, at)
                continue
            if fate == "torn":
                written = written[: self._random.randrange(len(written) + 1)]
            elif fate == "zeroed":
                written = bytes(len(written))
            elif fate == "sectors":
                written = b"".join(
                    part if self._random.random() < 0.7 else bytes(len(part))
                    for part in (written[i : i + SECTOR] for i in range(0, len(written), SECTOR))
                )
            if fate != "lost":
                _put(data, at, written)
        return bytes(data)

    def _step(self, partial: Any = None) -> None:
        self.operations += 1
        if self.operations == self.crash_at:
            if partial is not None and self._random.random() < 0.5:
                partial()
            raise Crash
        assert self.crash_at is None or self.operations < self.crash_at, "it runs on after a crash"

    # What a store asks of it ----------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_DIRECTORY:
            return self._opened(self._directory(path), False)
        directory, name = self._split(path)
        if name in directory.names:
            if flags & os.O_EXCL:
                raise FileExistsError(errno.EEXIST, "exists", path)
        elif not flags & os.O_CREAT:
            raise FileNotFoundError(errno.ENOENT, "not there", path)
        else:
            self._step()
            self._inodes.append(_Inode(self._number(), stat.S_IFREG | mode))
            directory.change(_set(name, self._inodes[-1]))
        held = directory.names[name]
        assert isinstance(held, _Inode), "a directory opened as a file"
        return self._opened(held, bool(flags & (os.O_WRONLY | os.O_RDWR)))

    def close(self, number: int) -> None:
        del self._open[number]
        self._locks = {inode: holder for inode, holder in self._locks.items() if holder != number}

    def read(self, number: int, buffer: Any, offset: int) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file(number).data[offset : offset + len(view)]
        view[: len(data)] = data
        return len(data)

    def write(self, number: int, buffers: Sequence[Any], offset: int) -> int:
        inode = self._file(number)
        assert self._open[number][1], "written to a file opened for reading"
        data = b"".join(bytes(memoryview(one).cast("B")) for one in buffers)
        self._step(lambda: self._written(inode, offset, data[: self._random.randrange(len(data))]))
        self._written(inode, offset, data)
        return len(data)

    def _written(self, inode: _Inode, offset: int, data: bytes) -> None:
        _put(inode.data, offset, data)
        inode.pending.append(("write", offset, data))
        inode.changed = self.operations

    def stream(self, number: int) -> io.RawIOBase:
        return _Raw(self, number)

    def sync(self, number: int, *, data_only: bool = False) -> None:
        del data_only
        self._step()
        held = self._open[number][0]
        if isinstance(held, _Directory):
            held.sync()
        else:
            held.durable, held.pending = bytes(held.data), []

    def truncate(self, number: int, size: int) -> None:
        inode = self._file(number)
        if size == len(inode.data):
            return
        self._step()
        _resize(inode.data, size)
        inode.pending.append(("truncate", size, b""))

    def chmod(self, number: int, mode: int) -> None:
        self._file(number).mode = stat.S_IFREG | mode

    def lock(self, number: int) -> None:
        inode = self._open[number][0].number
        if self._locks.setdefault(inode, number) != number:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")

    def status(self, file: int | str) -> Status:
        held = self._open[file][0] if isinstance(file, int) else self._named(file)
        if isinstance(held, _Directory):
            return Status(0, stat.S_IFDIR | 0o700, os.geteuid(), 2, (1, held.number), 0)
        return Status(
            len(held.data), held.mode, os.geteuid(), held.links, (1, held.number), held.changed
        )

    def names(self, directory: str) -> list[str]:
        return list(self._directory(directory).names)

    def resolve(self, path: str) -> str:
        return path

    def mkdir(self, path: str, mode: int) -> None:
        del mode
        directory, name = self._split(path)
        if name in directory.names:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self._step()
        self._directories.append(_Directory(self._number()))
        directory.change(_set(name, self._directories[-1]))

    def rmdir(self, path: str) -> None:
        if self._directory(path).names:
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        self._step()
        directory, name = self._split(path)
        directory.change(_remove(name))

    def link(self, old: str, new: str) -> None:
        inode = self._named(old)
        assert isinstance(inode, _Inode), "a link to a directory"
        directory, name = self._split(new)
        if name in directory.names:
            raise FileExistsError(errno.EEXIST, "exists", new)
        self._step()
        directory.change(_set(name, inode))
        inode.links += 1

    def rename(self, old: str, new: str) -> None:
        held = self._named(old)
        (there, before), (here, name) = self._split(old), self._split(new)
        assert there is here, "renamed across directories"
        if isinstance(held, _Directory) and name in here.names and self._directory(new).names:
            raise OSError(errno.ENOTEMPTY, "not empty", new)
        self._step()

        def change(names: Names) -> None:
            if names.get(before) is held:
                del names[before]
            names[name] = held

        here.change(change)

    def exchange(self, first: str, second: str) -> None:
        if not self._can_exchange:
            raise OSError(errno.EINVAL, "cannot exchange", first)
        one, other = self._named(first), self._named(second)
        (here, name), (there, second_name) = self._split(first), self._split(second)
        assert here is there, "exchanged across directories"
        self._step()
        here.change(lambda names: names.update({name: other, second_name: one}))

    def unlink(self, path: str) -> None:
        inode = self._named(path)
        assert isinstance(inode, _Inode), "a directory unlinked"
        self._step()
        directory, name = self._split(path)
        directory.change(_remove(name))
        inode.links -= 1

    # Inside ---------------------------------------------------------------------------------------

    def content(self, path: str) -> bytes | None:
        """Give a file's bytes as a reader sees them; of a directory, those of its files."""
        try:
            held = self._named(path)
        except FileNotFoundError:
            return None
        if isinstance(held, _Inode):
            return bytes(held.data)
        return b"".join(self.content(f"{path}/{name}") or b"" for name in sorted(held.names))

    def plant(self, path: str, data: bytes) -> None:
        """Make a durable file, in a directory that is made with it."""
        directory, _, _ = path.rpartition("/")
        if directory != "/d":
            self.mkdir(directory, 0o700)
        number = self.open(path, os.O_WRONLY | os.O_CREAT)
        self.write(number, [data], 0)
        self.sync(number)
        for held in self._directories:
            held.sync()
        self.close(number)

    def spoil(self, path: str, at: int) -> None:
        """Flip a bit on the disk, behind the process's back."""
        inode = self._named(path)
        assert isinstance(inode, _Inode)
        inode.data[at] ^= 1
        inode.durable = bytes(inode.data)

    def _directory(self, path: str) -> _Directory:
        held = self._named(path)
        if not isinstance(held, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        return held

    def _named(self, path: str) -> _Inode | _Directory:
        top, *names = path.strip("/").split("/")
        assert top == "d", path
        held: _Inode | _Directory = self._directories[0]
        for name in names:
            if not isinstance(held, _Directory) or name not in held.names:
                raise FileNotFoundError(errno.ENOENT, "not there", path)
            held = held.names[name]
        return held

    def _split(self, path: str) -> tuple[_Directory, str]:
        directory, _, name = path.rpartition("/")
        return self._directory(directory), name

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _opened(self, held: _Inode | _Directory, writable: bool) -> int:
        number = self._number()
        self._open[number] = (held, writable)
        return number

    def _file(self, number: int) -> _Inode:
        held = self._open[number][0]
        assert isinstance(held, _Inode)
        return held


class _Raw(io.RawIOBase):
    def __init__(self, fs: SimulatedFileSystem, number: int) -> None:
        self._fs, self._number, self._at = fs, number, 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        done = self._fs.write(self._number, [data], self._at)
        self._at += done
        return done

    def close(self) -> None:
        if not self.closed and self._number in self._fs._open:
            self._fs.close(self._number)
        super().close()


def _set(name: str, held: _Inode | _Directory) -> Change:
    return lambda names: names.update({name: held})


def _remove(name: str) -> Change:
    def change(names: Names) -> None:
        names.pop(name, None)

    return change


def _put(data: bytearray, at: int, written: bytes) -> None:
    if len(data) < at:
        data.extend(bytes(at - len(data)))
    data[at : at + len(written)] = written


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))
