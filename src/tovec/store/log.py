"""The append-only log of a job: what was received, frame by frame, in numbered segments.

The log is the only truth: opening it keeps the longest good prefix, cuts the torn tail that a kill
or a power cut leaves, and names damage anywhere else, which only a disk can do and only repair.py
sets aside. What was inherited is synced before it is trusted (RELIABILITY d.4, step 3). Vectors are
checked when they are first read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.errors import FileError, JobError
from tovec.store import frames
from tovec.store.durable import fail, sync_directory
from tovec.store.filesystem import REAL, FileSystem
from tovec.store.frames import Frame, Head, Kind
from tovec.store.segment import Segment

SEGMENT_BYTES = 1 << 30
RESERVE_BYTES = 1 << 20
MAX_CACHED_FRAMES = (
    4  # checked frames kept while reading: neighbours in the input lie in two or three
)
_FULL = {errno.ENOSPC, errno.EDQUOT}

OnFrame = Callable[[Head, int], None]
"""Called with each frame's head and the place of its first vector."""


class _Placed(NamedTuple):
    """Where a frame's vectors are."""

    segment: int
    at: int
    rows: int
    crc: int


class Log:
    """Frames appended in groups, each group durable before `append` returns; vectors by place.

    A vector's place is its number among all the vectors of the log, from 0.
    Raises JobError for damage, FileError for a disk that refuses.
    """

    def __init__(
        self, directory: str, on_frame: OnFrame, fs: FileSystem = REAL, *, read_only: bool = False
    ) -> None:
        self._directory, self._fs, self._read_only = directory, fs, read_only
        self.dimensions: int | None = None
        self._files: dict[int, int] = {}
        self._placed: list[_Placed] = []
        self._starts: list[int] = [0]  # the place of each frame's first vector, and the next
        self._checked: set[int] = set()
        self._cache: dict[int, NDArray[np.float32]] = {}
        self._sequence = 0
        self._segment = 0
        self._size = 0
        self._broken: FileError | None = None
        self._open(on_frame)

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(self._fs.status(number).size for number in self._files.values())

    @property
    def changed(self) -> float | None:
        """When the log was last written, in seconds; None if it never was."""
        times = [self._fs.status(number).changed for number in self._files.values()]
        return max(times) / 1e9 if times else None

    def close(self) -> None:
        """Close the files; nothing is written."""
        for number in self._files.values():
            with contextlib.suppress(OSError):
                self._fs.close(number)
        self._files.clear()

    # Opening --------------------------------------------------------------------------------------

    def _open(self, on_frame: OnFrame) -> None:
        numbers = segments(self._fs, self._directory)
        if numbers != list(range(1, len(numbers) + 1)):
            raise JobError(
                "a part of the job's log is missing",
                where=self._directory,
                hint="restore it, or let tovec batch --repair request its rows again",
            )
        try:
            for number in numbers:
                flags = os.O_RDONLY if self._read_only else os.O_RDWR
                self._files[number] = self._fs.open(self._path(number), flags)
            for number in numbers:
                self._scan(number, on_frame, last=number == numbers[-1])
            for number in numbers if not self._read_only else ():
                self._fs.sync(self._files[number])
            if numbers and not self._read_only:
                sync_directory(self._directory, self._fs)
                self._segment = numbers[-1]
                self._size = self._fs.status(self._files[self._segment]).size
        except OSError as error:
            self.close()
            fail(error, self._directory)
        except BaseException:
            self.close()
            raise

    def _scan(self, number: int, on_frame: OnFrame, *, last: bool) -> None:
        """Read one segment's heads, check what may not have been durable, cut a torn tail."""
        segment = Segment(self._fs, self._files[number])
        heads = list(segment.heads())
        durable = max((one.durable for one in heads), default=0) if last else segment.size
        good = 0
        for one in heads:
            if one.end > durable and not segment.has_sound_vectors(one):
                break
            if one.sequence != self._sequence + 1 or (one.kind is Kind.SEGMENT) != (good == 0):
                raise self._damage(number, good, "a frame is out of order")
            self._sequence = one.sequence
            on_frame(one, len(self))
            self._place(number, one)
            good = one.end
        if good == segment.size:
            return
        if not last or _was_durable(segment, good):
            raise self._damage(number, good, "a frame is damaged")
        if not self._read_only:
            self._fs.truncate(self._files[number], good)

    def _damage(self, number: int, at: int, what: str) -> JobError:
        return JobError(
            f"the job's log is damaged: {what}",
            where=f"{self._path(number)}, byte {at}",
            hint="tovec batch --repair moves the damage aside and requests only its rows again",
        )

    def _path(self, number: int) -> str:
        return segment_path(self._directory, number)

    def _place(self, number: int, one: Head) -> None:
        if one.kind is not Kind.ANSWER:
            return
        if self.dimensions not in (None, one.dimensions):
            raise JobError(
                "the job's log holds vectors of different dimensions",
                where=f"{self._path(number)}, byte {one.at}",
                hint="keep the directory for its vectors, and start over with another --job-dir",
            )
        self.dimensions = one.dimensions
        self._placed.append(_Placed(number, one.vectors_at, one.rows, one.vectors_crc))
        self._starts.append(self._starts[-1] + one.rows)

    # Appending ------------------------------------------------------------------------------------

    @property
    def has_failed(self) -> bool:
        """Return whether the disk refused a group of frames, of which some may be stored."""
        return self._broken is not None

    def append(self, group: Sequence[Frame]) -> list[int]:
        """Write frames and wait for the disk; return the place of each frame's first vector.

        After an error nothing is appended any more: what a disk says after a failed sync cannot
        be trusted. A full disk is tried once more with the reserve given up.
        """
        if self._broken is not None:
            raise self._broken
        try:
            if not 0 < self._size < SEGMENT_BYTES:
                self._begin_segment()
            heads = self._write(group)
        except OSError as error:
            try:
                fail(error, self._directory)
            except FileError as failure:
                self._broken = failure
                raise
        places = []
        for one in heads:
            places.append(len(self))
            self._checked.add(len(self._placed))  # written by this process: its bytes are known
            self._place(self._segment, one)
        return places

    def _begin_segment(self) -> None:
        if self._size or not self._segment:  # one that a crash left empty is used
            number = self._segment + 1
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            self._files[number] = self._fs.open(self._path(number), flags)
            self._segment, self._size = number, 0
        self._write([Frame(Kind.SEGMENT, np.empty((0, 2), np.uint64))])
        sync_directory(self._directory, self._fs)

    def _write(self, group: Sequence[Frame]) -> list[Head]:
        file, start = self._files[self._segment], self._size
        buffers: list[bytes | memoryview] = []
        heads = []
        at = start
        for sequence, frame in enumerate(group, self._sequence + 1):
            encoded = frames.encode(frame, sequence, start)
            fields = frames.header(bytes(encoded[0][: frames.HEADER_BYTES]))
            assert fields is not None
            found = frames.head(bytes(encoded[0]), fields, at)
            assert found is not None
            heads.append(found)
            buffers += encoded
            at = found.end
        reached, error = self._write_all(file, buffers, start)
        if error is not None and error.errno in _FULL and self._give_up_reserve():
            reached, error = self._write_all(file, buffers, start)
        if error is not None:
            # What is whole stays, for the next run: it is paid for.
            self._fs.truncate(file, max((o.end for o in heads if o.end <= reached), default=start))
            self._fs.sync(file, data_only=True)
            raise error
        self._fs.sync(file, data_only=True)
        if self._fs.status(file).links == 0:
            raise OSError(errno.ENOENT, "the job's log was deleted while the job ran")
        self._sequence += len(group)
        self._size = at
        return heads

    def _write_all(
        self, file: int, buffers: Sequence[bytes | memoryview], at: int
    ) -> tuple[int, OSError | None]:
        """Write everything; give the offset that was reached, and what stopped it."""
        left = [memoryview(one) for one in buffers if len(one)]
        while left:
            try:
                done = self._fs.write(file, left[:64], at)
            except OSError as error:
                return at, error
            at += done
            while left and done >= len(left[0]):
                done -= len(left.pop(0))
            if done:
                left[0] = left[0][done:]
        return at, None

    def reserve(self) -> None:
        """Set some space aside, so that a disk that fills does not cost what is under way."""
        path = f"{self._directory}/reserve"
        with contextlib.suppress(OSError):
            file = self._fs.open(path, os.O_RDWR | os.O_CREAT)
            try:
                size = self._fs.status(file).size
                if size != RESERVE_BYTES:
                    size = self._fs.write(file, [bytes(RESERVE_BYTES)], 0)
            except OSError:
                size = 0
            self._fs.close(file)
            if size != RESERVE_BYTES:  # there is not so much, and the log needs what there is
                self._fs.unlink(path)

    def _give_up_reserve(self) -> bool:
        try:
            self._fs.unlink(f"{self._directory}/reserve")
        except OSError:
            return False
        return True

    # Reading --------------------------------------------------------------------------------------

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors at `places`: float32 (len(places), dimensions)."""
        found = np.empty((len(places), self.dimensions or 0), np.float32)
        if not len(places):
            return found
        owners = np.searchsorted(self._starts, places, side="right") - 1
        breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(owners) != 0)) + 1
        edges = [0, *breaks.tolist(), len(places)]
        for first, end in pairwise(edges):
            owner = int(owners[first])
            row = int(places[first]) - self._starts[owner]
            self._read(owner, row, found[first:end])
        return found

    def _read(self, owner: int, row: int, out: NDArray[np.float32]) -> None:
        frame = self._placed[owner]
        whole = self._cache.get(owner)
        if whole is None and owner not in self._checked:
            whole = self._memory_for(frame.rows, out.shape[1])
            self._fill(frame, frame.at, whole)
            if zlib.crc32(whole.data.cast("B")) != frame.crc:
                raise self._damage(frame.segment, frame.at, "vectors are not what was written")
            self._checked.add(owner)
            self._cache[owner] = whole
        if whole is not None:
            out[:] = whole[row : row + len(out)]
        else:
            self._fill(frame, frame.at + row * out.shape[1] * 4, out)

    def _memory_for(self, rows: int, width: int) -> NDArray[np.float32]:
        """Return memory for a frame: that of the one read longest ago if it fits, else new."""
        if len(self._cache) == MAX_CACHED_FRAMES:
            oldest = self._cache.pop(next(iter(self._cache)))
            if oldest.shape == (rows, width):
                return oldest
        return np.empty((rows, width), np.float32)

    def _fill(self, frame: _Placed, at: int, out: NDArray[np.float32]) -> None:
        try:
            done = self._fs.read(self._files[frame.segment], out.data.cast("B"), at)
        except OSError as error:
            fail(error, self._path(frame.segment))
        if done != out.nbytes:
            raise self._damage(frame.segment, at, "it is cut short")


def _was_durable(segment: Segment, bad: int) -> bool:
    """Return whether a later frame shows that the bad bytes at `bad` were durable once."""
    head = segment.next_head(bad + 1)
    while head is not None and head.durable <= bad:
        head = segment.next_head(head.at + 1)
    return head is not None


def segment_path(directory: str, number: int) -> str:
    """Return the path of a segment in a job's directory."""
    return f"{directory}/{number:08d}.log"


def segments(fs: FileSystem, directory: str) -> list[int]:
    """Return the numbers of the segments in a job's directory, in order."""
    try:
        names = [name.partition(".") for name in fs.names(directory)]
    except FileNotFoundError:
        return []
    return sorted(
        int(stem) for stem, _, end in names if end == "log" and stem.isdigit() and len(stem) == 8
    )
