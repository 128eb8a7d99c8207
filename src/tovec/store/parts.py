"""Outputs of many files: a directory that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
from io import BufferedWriter
from pathlib import Path
from typing import Any, BinaryIO

from tovec.errors import UsageError
from tovec.records import as_text
from tovec.store.durable import (
    BUFFER,
    Published,
    exists,
    fail,
    in_use,
    published,
    sync_directory,
    temporary_name,
)
from tovec.store.filesystem import REAL


class OutputDirectory:
    """A directory of part files that becomes visible as a whole.

    It is made under a temporary name beside its place. One that is there already is replaced with
    `force`, or where an earlier run published it, and only if it holds nothing but part files.
    """

    def __init__(self, path: str, *, force: bool = False, ours: Published = ()) -> None:
        self._path = Path(os.path.realpath(path))
        self._temporary = temporary_name(self._path)
        self._old = self._temporary.with_suffix(".old")
        self._sinks: list[_Part] = []
        self._refuse(path, force=force, ours=ours)
        try:
            if self._temporary.exists():
                os.close(self._locked())
                self._remove(self._temporary)
            self._remove(self._old)
            self._temporary.mkdir(0o777)
            self._lock = self._locked()
        except BlockingIOError:
            raise in_use(self._path) from None
        except OSError as error:
            fail(error, self._path)

    def _locked(self) -> int:
        number = REAL.open(str(self._temporary), os.O_RDONLY | os.O_DIRECTORY)
        REAL.lock(number)
        return number

    def part(self, name: str) -> _Part:
        """Open a part file; a sink, complete when the next one is opened."""
        self._complete_last()
        self._sinks.append(_Part(self._temporary, name))
        return self._sinks[-1]

    def prepare(self) -> Published:
        """Make everything durable under the temporary name; say what will be visible."""
        try:
            self._complete_last()
            sync_directory(self._temporary)
            found = [self._described(self._temporary)]
            return [{**one, "path": as_text(self._path)} for one in found]
        except OSError as error:
            self.discard()
            fail(error, self._path)

    def publish(self) -> None:
        """Give the directory its name."""
        try:
            if self._path.exists():
                self._path.rename(self._old)
            self._temporary.rename(self._path)
            sync_directory(self._path.parent)
            self._remove(self._old)
            os.close(self._lock)
        except OSError as error:
            self.discard()
            fail(error, self._path)

    def discard(self) -> None:
        """Leave nothing behind."""
        for sink in self._sinks[-1:]:
            sink.close()
        with contextlib.suppress(OSError):
            self._remove(self._temporary)

    def _complete_last(self) -> None:
        for sink in self._sinks[-1:]:
            sink.sync()

    def _refuse(self, shown: str, *, force: bool, ours: Published) -> None:
        if not self._path.exists():
            return
        if not self._path.is_dir():
            raise UsageError("the output is a file, not a directory of part files", where=shown)
        strange = [one.name for one in self._path.iterdir() if not one.name.startswith("part-")]
        if strange:
            raise UsageError(
                f"the output directory holds more than part files: {strange[0]}",
                where=shown,
                hint="name a new directory with -o",
            )
        known = any(dict(one) == self._described(self._path) for one in ours)
        if not force and not known and any(self._path.iterdir()):
            raise exists(shown)

    def _described(self, path: Path) -> dict[str, Any]:
        names = sorted(one.name for one in path.iterdir())
        files = [published(path / name, REAL) | {"path": name} for name in names]
        return {"path": as_text(path), "inode": path.stat().st_ino, "files": files}

    def _remove(self, path: Path) -> None:
        if path.exists():
            for one in path.iterdir():
                one.unlink()
            path.rmdir()


class _Part:
    """A part file, and what stands beside it; a sink."""

    seekable = True

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._directory = directory
        self._files: list[BinaryIO] = []
        self.file = self._opened(name)

    def beside(self, suffix: str) -> BinaryIO:
        """Open a further file, named as the part plus `suffix`."""
        return self._opened(self.name + suffix)

    def sync(self) -> None:
        """Write everything to the disk and close; once."""
        for file in self._files:
            if not file.closed:
                file.flush()
                REAL.sync(file.fileno())
                file.close()

    def close(self) -> None:
        """Close without a word: what was written is about to be removed."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()

    def _opened(self, name: str) -> BinaryIO:
        path = str(self._directory / name)
        try:
            number = REAL.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            fail(error, path)
        self._files.append(BufferedWriter(REAL.stream(number), BUFFER))
        return self._files[-1]
