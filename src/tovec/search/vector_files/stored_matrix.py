"""A matrix of numbers in a file, mapped and read in blocks, never whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tovec.formats.quantised import BITS, unsigned
from tovec.search.vector_files.stored import Encoding, Placed, PlacedBits, Vectors

SPAN_BYTES = 64 << 20  # read by one thread at a time, and then released
BLOCK_BYTES = 32 << 20  # of one block: what is done once per block should be done seldom


class MappedMatrix:
    """A C-order matrix in a file, mapped, and let go of as it has been read."""

    def __init__(
        self,
        file: BinaryIO,
        offset: int,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        encoding: Encoding = Encoding(),  # noqa: B008 - immutable
    ) -> None:
        self.rows, width = shape
        self.dtype = encoding.dtype
        self.has_bits = self.dtype in BITS
        self.dimensions = width * 8 if self.has_bits else width
        self._encoding = encoding
        self._offset = offset
        self._row_bytes = max(1, width * dtype.itemsize)
        self._mapped = None
        self._matrix = np.empty((0, width), dtype)
        if self.rows:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            count = self.rows * width
            flat = np.frombuffer(self._mapped, dtype, count, offset)
            self._matrix = flat.reshape(shape)

    @property
    def spans(self) -> Sequence[range]:
        """The parts in which the file is read, in order."""
        step = max(1, SPAN_BYTES // self._row_bytes)
        return [range(i, min(i + step, self.rows)) for i in range(0, self.rows, step)]

    def blocks(self, span: range) -> Iterator[Placed]:
        """Yield a part's vectors."""
        for start, part in self._parts(span, max(self._row_bytes, 4 * self.dimensions)):
            yield start, self._encoding.decode(part)
        self._release(span)

    def bits(self, span: range) -> Iterator[PlacedBits]:
        """Yield a part's bits."""
        for start, part in self._parts(span, self._row_bytes):
            yield start, unsigned(part)
        self._release(span)

    def take(self, rows: Sequence[int]) -> Vectors:
        """Return these rows' vectors, in the order asked for."""
        return self._encoding.decode(self._matrix[np.asarray(rows, np.int64)])

    def _parts(self, span: range, row_bytes: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield what is stored, as many rows at once as fit a block."""
        step = max(1, BLOCK_BYTES // row_bytes)
        for start in range(span.start, span.stop, step):
            yield start, self._matrix[start : min(start + step, span.stop)]

    def _release(self, span: range) -> None:
        """Release a part's pages, so that a file larger than memory takes little of it."""
        if self._mapped is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        start = (self._offset + span.start * self._row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        end = self._offset + span.stop * self._row_bytes
        self._mapped.madvise(mmap.MADV_DONTNEED, start, end - start)
