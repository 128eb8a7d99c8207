"""One segment of a log, read frame by frame, and searched for the next frame after damage."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tovec.store import frames
from tovec.store.filesystem import FileSystem
from tovec.store.frames import Head

SEARCH_BYTES = 1 << 20  # read at once in the search for a frame


class Segment:
    """The frames of an open segment; what its bytes say is checked, nothing is changed."""

    def __init__(self, fs: FileSystem, number: int) -> None:
        self._fs, self._number = fs, number
        self.size = fs.status(number).size

    def heads(self) -> Iterator[Head]:
        """Yield heads one after another, up to the first place where there is no sound one."""
        at = 0
        while (head := self.head_at(at)) is not None:
            yield head
            at = head.end

    def head_at(self, at: int) -> Head | None:
        """Return the head at `at`; None where its checksum is wrong or the frame is cut short."""
        fields = frames.header(self.read(at, frames.HEADER_BYTES))
        if fields is None or at + fields.frame_bytes > self.size:
            return None
        return frames.head(self.read(at, fields.head_bytes), fields, at)

    def next_head(self, at: int) -> Head | None:
        """Return the first head at or after `at`, at whatever byte it begins."""
        while at < self.size:
            found = self.read(at, SEARCH_BYTES + len(frames.MAGIC)).find(frames.MAGIC)
            if found < 0:
                at += SEARCH_BYTES
                continue
            if (head := self.head_at(at + found)) is not None:
                return head
            at += found + 1
        return None

    def has_sound_vectors(self, head: Head) -> bool:
        """Return whether a frame's vectors have the checksum that its head says."""
        size = head.rows * head.dimensions * 4
        return zlib.crc32(self.read(head.vectors_at, size)) == head.vectors_crc

    def read(self, at: int, size: int) -> bytes:
        """Return `size` bytes from `at` on, fewer where the segment ends."""
        buffer = bytearray(min(size, max(self.size - at, 0)))
        return bytes(memoryview(buffer)[: self._fs.read(self._number, buffer, at)])
