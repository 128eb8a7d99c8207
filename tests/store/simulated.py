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
from collections.abc import Sequence
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


class SimulatedFileSystem:
    """See the module. `crash_at` is the number of the operation that does not come to its end."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._inodes: dict[int, _Inode] = {}
        self._now: dict[str, dict[str, int]] = {"/d": {}}
        self._durable: dict[str, dict[str, int]] = {"/d": {}}
        self._changes: dict[str, list[tuple[str, int | None]]] = {"/d": []}
        self._open: dict[int, tuple[Any, bool]] = {}
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
        for inode in self._inodes.values():
            inode.data = bytearray(self._survivors(inode))
            inode.durable, inode.pending = bytes(inode.data), []
        for path, changes in self._changes.items():
            names = self._durable[path]
            for name, number in changes:
                if self._random.random() < 0.5:
                    _apply(names, name, number)
            self._now[path] = dict(names)
            changes.clear()
        named = [number for names in self._now.values() for number in names.values()]
        for inode in self._inodes.values():
            inode.links = named.count(inode.number)

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
            self._directory(path)
            return self._opened(path, False)
        directory, name = self._split(path)
        names = self._directory(directory)
        if name in names:
            if flags & os.O_EXCL:
                raise FileExistsError(errno.EEXIST, "exists", path)
        elif not flags & os.O_CREAT:
            raise FileNotFoundError(errno.ENOENT, "not there", path)
        else:
            self._step()
            inode = _Inode(self._number(), stat.S_IFREG | mode)
            self._inodes[inode.number] = inode
            self._change(directory, name, inode.number)
        return self._opened(self._inodes[names[name]], bool(flags & (os.O_WRONLY | os.O_RDWR)))

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
        if isinstance(held, str):
            self._durable[held] = dict(self._now[held])
            self._changes[held].clear()
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
        inode = self._file(number).number
        if self._locks.setdefault(inode, number) != number:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")

    def status(self, file: int | str) -> Status:
        if isinstance(file, str):
            if file in self._now:
                return Status(0, stat.S_IFDIR | 0o700, os.geteuid(), 2, (1, hash(file)), 0)
            directory, name = self._split(file)
            inode = self._inodes[self._named(directory, name)]
        else:
            inode = self._file(file)
        return Status(
            len(inode.data), inode.mode, os.geteuid(), inode.links, (1, inode.number), inode.changed
        )

    def names(self, directory: str) -> list[str]:
        return list(self._directory(directory))

    def resolve(self, path: str) -> str:
        return path

    def mkdir(self, path: str, mode: int) -> None:
        del mode
        if path in self._now:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self._step()
        # A directory's own entry is kept simple: it is there at once, as is its removal.
        self._now[path], self._durable[path], self._changes[path] = {}, {}, []

    def rmdir(self, path: str) -> None:
        if self._directory(path):
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        self._step()
        del self._now[path], self._durable[path], self._changes[path]

    def link(self, old: str, new: str) -> None:
        inode = self._inodes[self._named(*self._split(old))]
        directory, name = self._split(new)
        if name in self._directory(directory):
            raise FileExistsError(errno.EEXIST, "exists", new)
        self._step()
        self._change(directory, name, inode.number)
        inode.links += 1

    def rename(self, old: str, new: str) -> None:
        number = self._named(*self._split(old))
        (there, before), (here, name) = self._split(old), self._split(new)
        assert there == here, "renamed across directories"
        self._step()
        self._now[here].pop(before)
        self._now[here][name] = number
        self._changes[here].append((f"{before}\0{name}", number))

    def unlink(self, path: str) -> None:
        directory, name = self._split(path)
        number = self._named(directory, name)
        self._step()
        self._change(directory, name, None)
        self._inodes[number].links -= 1

    # Inside ---------------------------------------------------------------------------------------

    def content(self, path: str) -> bytes | None:
        """Give a file's bytes as a reader sees them."""
        directory, name = self._split(path)
        number = self._now.get(directory, {}).get(name)
        return None if number is None else bytes(self._inodes[number].data)

    def _split(self, path: str) -> tuple[str, str]:
        directory, _, name = path.rpartition("/")
        return directory, name

    def _directory(self, path: str) -> dict[str, int]:
        if path not in self._now:
            raise FileNotFoundError(errno.ENOENT, "not there", path)
        return self._now[path]

    def _named(self, directory: str, name: str) -> int:
        names = self._directory(directory)
        if name not in names:
            raise FileNotFoundError(errno.ENOENT, "not there", name)
        return names[name]

    def _change(self, directory: str, name: str, number: int | None) -> None:
        _apply(self._now[directory], name, number)
        self._changes[directory].append((name, number))

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _opened(self, held: Any, writable: bool) -> int:
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


def _apply(names: dict[str, int], name: str, number: int | None) -> None:
    before, renamed, after = name.partition("\0")
    if renamed:
        assert number is not None
        if names.get(before) == number:
            del names[before]
        names[after] = number
    elif number is None:
        names.pop(name, None)
    else:
        names[name] = number


def _put(data: bytearray, at: int, written: bytes) -> None:
    if len(data) < at:
        data.extend(bytes(at - len(data)))
    data[at : at + len(written)] = written


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))
