"""A job's inputs, made such that they can be read twice: once to ask, once to write.

What gives its bytes only once (standard input, a FIFO) is kept in the job's directory before
anything is asked for; a file that changes between the two passes is noticed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from io import FileIO, RawIOBase
from pathlib import Path

from tovec import formats
from tovec.errors import InputError, UsageError
from tovec.formats import estimate
from tovec.formats.protocols import ReadOptions
from tovec.formats.source import CopyOf, StandardInput, check_ends, unreadable
from tovec.records import Block
from tovec.store.job import Job
from tovec.store.spool import spool

STDIN = "-"


class Inputs:
    """The files of one run. `stdin` stands for standard input, where that is named by "-"."""

    def __init__(
        self, paths: tuple[str, ...], read: ReadOptions, job: Job, stdin: RawIOBase | None = None
    ) -> None:
        self._named, self._read, self._job = paths, read, job
        self._stdin = stdin
        self._paths = paths
        self._stamp: tuple[tuple[int, ...], ...] = ()

    def settle(self, note: Callable[[str], None]) -> None:
        """Keep what can be read only once. Raises UsageError for a terminal, FileError."""
        paths = []
        for number, path in enumerate(self._named):
            if path == STDIN:
                self._keep_stdin(note)
            elif _is_stream(path):
                # The ending says the format.
                kept = f"{self._job.directory.spool}-{number}{''.join(Path(path).suffixes[-2:])}"
                check_ends(path)
                with FileIO(path) as source:
                    spool(source, kept)
                path = CopyOf(path, kept)
            paths.append(path)
        self._paths = tuple(paths)
        self._stamp = _stamp(self._paths)

    def _keep_stdin(self, note: Callable[[str], None]) -> None:
        source = self._stdin or StandardInput()
        kept = self._job.directory.has_kept_input()
        if source.isatty() and not kept:
            raise UsageError("standard input is a terminal", hint="name a file, or pipe one in")
        if source.isatty() or not spool(source, self._job.directory.spool, keep_empty=not kept):
            note("standard input is empty: using the input that the job stored")

    def blocks(self) -> Iterator[Block]:
        """Read everything, from the beginning."""
        stdin = FileIO(self._job.directory.spool) if STDIN in self._paths else None
        try:
            yield from formats.read(self._paths, self._read, stdin)
        finally:
            if stdin is not None:
                stdin.close()

    def about_rows(self) -> int | None:
        """Return how many rows there are, about; None where that takes reading them."""
        paths = [self._job.directory.spool if path == STDIN else path for path in self._paths]
        return estimate.rows(paths, self._read)

    @property
    def stamp(self) -> list[list[int]] | None:
        """Return what tells the inputs from changed ones, where they are files; else None."""
        if not all(os.path.isfile(path) for path in self._named):  # noqa: PTH113
            return None
        return [list(one) for one in _stamp(self._named)]

    def check_unchanged(self) -> None:
        """Raise InputError when a file is not what it was when the run began."""
        if _stamp(self._paths) != self._stamp:
            raise changed(", ".join(self._named))


class InputChanged(InputError):  # noqa: N818 - it says what happened
    """The store lacks the vector of a row, or a file is not what it was when the run began."""


def changed(source: str) -> InputChanged:
    """Return the error for an input that is not what it was when the job began."""
    return InputChanged(
        "the input changed while the job ran",
        where=source,
        hint="what was received is stored; run the same command again",
    )


def _is_stream(path: str) -> bool:
    """Return whether a path gives its bytes only once (a FIFO, /dev/fd/N)."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return False  # reading will say what is wrong
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _stamp(paths: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Return what tells an input from a changed one."""
    found: list[tuple[int, ...]] = []
    for path in paths:
        if path == STDIN:
            continue
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            raise unreadable(error, path) from None
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
