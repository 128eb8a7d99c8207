"""Repair of a damaged log: what is not a sound frame is set aside, and the rest is a log again.

Opening a log cuts a torn tail; anything else that is wrong comes from a disk or a hand and is left
alone until a person asks for a repair. Then each frame is read whole, and after damage the next
frame whose checksum is right is searched for, whatever lies between and however long it is. A
segment with damage is written anew from its sound frames and takes the old one's place in one step.
The bytes between them are first copied to a file beside it, each piece after a line of JSON that
says where it was:

    00000003-1.damaged    {"segment":3,"byte":8272,"bytes":6240} LF 6240 bytes LF ...

Frames keep their sequence numbers. Each number that is lost is taken by an empty frame, so that no
other segment has to change, and a log that was repaired can be read by a tovec that knows nothing
of repairs. Where a damaged answer's head is sound, that frame still counts its tokens: they are
paid for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import orjson

from tovec.store import frames
from tovec.store.durable import fail, sync_directory
from tovec.store.filesystem import REAL, FileSystem
from tovec.store.frames import Frame, Head, Kind
from tovec.store.log import segment_path, segments
from tovec.store.segment import Segment

MAX_LOST_FRAMES = 1 << 24  # more than a segment holds; a number that is further on is damage
COPY_BYTES = 4 << 20

_NO_KEYS = np.empty((0, 2), np.uint64)


class Damage(NamedTuple):
    """What a repair found: pieces that are not sound frames, and the files they are in now."""

    pieces: int = 0
    bytes: int = 0
    files: tuple[str, ...] = ()
    rewritten: int = 0  # segments
    missing: int = 0  # segments


def repair(directory: str, fs: FileSystem = REAL) -> Damage:
    """Set damage in a job's log aside, durable; the job must be locked. Raises FileError."""
    found = Damage()
    last = 0
    try:
        numbers = segments(fs, directory)
        for number in range(1, max(numbers, default=0) + 1):
            path = segment_path(directory, number)
            if number not in numbers:
                fs.close(fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                found = found._replace(missing=found.missing + 1)
            file = fs.open(path, os.O_RDONLY)
            try:
                segment = Segment(fs, file)
                survey = _Survey(segment, last)
                if survey.is_whole:
                    last = max(last, survey.last)
                    continue
                found = _add(found, survey, _set_aside(directory, number, survey, fs))
                last = _replace(directory, number, _frames_anew(survey), last, fs)
            finally:
                fs.close(file)
        if found.missing:
            sync_directory(directory, fs)
    except OSError as error:
        fail(error, directory)
    return found


def _add(found: Damage, survey: _Survey, file: str | None) -> Damage:
    return found._replace(
        pieces=found.pieces + len(survey.damaged),
        bytes=found.bytes + sum(end - at for at, end in survey.damaged),
        files=found.files if file is None else (*found.files, file),
        rewritten=found.rewritten + 1,
    )


# Reading --------------------------------------------------------------------------------------


class _Survey:
    """What a segment holds, read whole: sound frames, and the pieces between them.

    `before` is the sequence number before the segment. `sound` has the place of each sound frame
    but the segment's own by its sequence number, `lost` the tokens of frames whose head alone is
    sound, `damaged` the pieces from byte to byte. Frames may stand in any order; of two with one
    number the first counts.
    """

    def __init__(self, segment: Segment, before: int) -> None:
        self.segment, self.before = segment, before
        self.sound: dict[int, int] = {}
        self.lost: dict[int, int | None] = {}
        self.damaged: list[tuple[int, int]] = []
        self.last = 0  # the highest sequence number that is known
        self._first = 0  # the sequence number of the segment's own frame
        self._in_order = True
        at = 0
        while at < segment.size:
            at = self._read(at)

    @property
    def is_whole(self) -> bool:
        """Whether the segment can stay as it is."""
        if not self.segment.size:
            return True
        contiguous = self._in_order and self.last == self._first + len(self.sound)
        return not self.damaged and contiguous and self._first == self.before + 1

    def _read(self, at: int) -> int:
        """Read what is at `at`; return where the next frame or piece begins."""
        head = self.segment.head_at(at)
        if head is not None and self._may_stand_here(head):
            self._in_order &= head.sequence > self.last
            self.last = max(self.last, head.sequence)
            if self.segment.has_sound_vectors(head):
                if head.kind is Kind.SEGMENT:
                    self._first = head.sequence
                else:
                    self.sound[head.sequence] = at
                return head.end
            self.lost[head.sequence] = head.tokens
        end = self._end_of_damage(at, head)
        if self.damaged and self.damaged[-1][1] == at:
            at = self.damaged.pop()[0]
        self.damaged.append((at, end))
        return end

    def _may_stand_here(self, head: Head) -> bool:
        """Return whether a frame is newer than those of earlier segments, by not too much."""
        if head.kind is Kind.SEGMENT:
            return head.at == 0 and 0 < head.sequence - self.before <= MAX_LOST_FRAMES
        # One number must be free for the segment's own frame.
        return (
            1 < head.sequence - self.before <= MAX_LOST_FRAMES
            and head.sequence not in self.sound
            and head.sequence != self._first
        )

    def _end_of_damage(self, at: int, head: Head | None) -> int:
        """Return where the damage at `at` ends: with its frame, at the next, or at the end."""
        if head is not None:
            # Where bytes are missing, the next frame begins before this one should end.
            is_followed = self.segment.head_at(head.end) is not None
            if is_followed or head.end == self.segment.size:
                return head.end
        found = self.segment.next_head(at + 1)
        return self.segment.size if found is None else found.at


# Writing --------------------------------------------------------------------------------------


def _set_aside(directory: str, number: int, survey: _Survey, fs: FileSystem) -> str | None:
    """Copy what is damaged to a new file, durable; return its path."""
    if not survey.damaged:  # frames are missing, or out of order
        return None
    path = f"{directory}/{free_name(fs, directory, f'{number:08d}')}"
    with _NewFile(path, fs) as file:
        for at, end in survey.damaged:
            place = {"segment": number, "byte": at, "bytes": end - at}
            file.write(orjson.dumps(place) + b"\n")
            for start in range(at, end, COPY_BYTES):
                file.write(survey.segment.read(start, min(COPY_BYTES, end - start)))
            file.write(b"\n")
    sync_directory(directory, fs)
    return path


def free_name(fs: FileSystem, directory: str, stem: str) -> str:
    """Return a name for a file of damaged bytes that no earlier repair has taken."""
    names = set(fs.names(directory))
    number = 1
    while f"{stem}-{number}.damaged" in names:
        number += 1
    return f"{stem}-{number}.damaged"


def _frames_anew(survey: _Survey) -> Iterator[Frame]:
    """Yield a segment's frames anew: one for each sequence number after those before it."""
    yield Frame(Kind.SEGMENT, _NO_KEYS)
    for sequence in range(survey.before + 2, survey.last + 1):
        if sequence in survey.sound:
            yield _read_frame(survey.segment, survey.sound[sequence])
        elif sequence in survey.lost:  # refuses no input, but counts what the answer cost
            yield Frame(Kind.REFUSED, _NO_KEYS, b"[]", tokens=survey.lost[sequence])
        else:
            yield Frame(Kind.NOTE, _NO_KEYS, b"{}")


def _read_frame(segment: Segment, at: int) -> Frame:
    head = segment.head_at(at)
    assert head is not None, "a frame that was sound a moment ago"
    vectors = None
    if head.dimensions:
        data = segment.read(head.vectors_at, head.rows * head.dimensions * 4)
        vectors = np.frombuffer(data, "<f4").reshape(head.rows, head.dimensions)
    return Frame(head.kind, head.keys, head.text, vectors, head.tokens)


def _replace(
    directory: str, number: int, content: Iterable[Frame], last: int, fs: FileSystem
) -> int:
    """Write a segment anew and give it its name; return its last frame's sequence number."""
    path = segment_path(directory, number)
    with contextlib.suppress(FileNotFoundError):
        fs.unlink(f"{path}.tmp")
    with _NewFile(f"{path}.tmp", fs) as file:
        for frame in content:
            last += 1
            for part in frames.encode(frame, last, file.size):
                file.write(part)
    fs.rename(f"{path}.tmp", path)
    sync_directory(directory, fs)
    return last


class _NewFile:
    """A file written from its beginning, durable at the end of its `with`."""

    def __init__(self, path: str, fs: FileSystem) -> None:
        self._fs = fs
        self._number = fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self.size = 0
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0

    def __enter__(self) -> _NewFile:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._fs.sync(self._number)
        finally:
            self._fs.close(self._number)

    def write(self, data: bytes | memoryview) -> None:
        """Write bytes, many at once."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self.size += len(data)
        if self._waiting_bytes >= COPY_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(b"".join(self._waiting))
        at = self.size - len(data)
        self._waiting.clear()
        self._waiting_bytes = 0
        while data:
            done = self._fs.write(self._number, [data], at)
            at, data = at + done, data[done:]
