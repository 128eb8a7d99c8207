"""Vectors that no file holds as numbers, gathered in a temporary file."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from tovec.errors import InputError
from tovec.search.vector_files.stored import Lengths, Placed, PlacedBits, Vectors, different
from tovec.search.vector_files.stored_matrix import MappedMatrix


class Gathered:
    """Vectors that came in as text, in an unnamed temporary file, to be read as often as needed."""

    lengths: Lengths | None = None
    has_columns = True
    has_bits = False  # they are numbers here
    truncated_from: int | None = None

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows = 0
        self.dimensions = 0
        self.dtype = "float32"  # as which they came
        self.model: str | None = None
        self.provider: str | None = None
        self._vectors = tempfile.TemporaryFile(prefix="tovec-")  # noqa: SIM115 - lives as long
        self._fields = tempfile.TemporaryFile(prefix="tovec-")  # noqa: SIM115 - as this does
        self._starts = array("q")
        self._numbers = array("q")
        self._matrix: MappedMatrix | None = None

    def __del__(self) -> None:
        self._vectors.close()
        self._fields.close()

    def add(self, vectors: Vectors, fields: Sequence[bytes], numbers: Sequence[int]) -> None:
        """Take rows: their vectors, the rest of them as JSON objects, and their numbers."""
        self.dimensions = self.dimensions or vectors.shape[1]
        self._vectors.write(np.ascontiguousarray(vectors).data.cast("B"))
        at = self._fields.tell()
        for one in fields:
            self._starts.append(at)
            at += len(one) + 1
        self._fields.write(b"".join(one + b"\n" for one in fields))
        self._numbers.extend(numbers)
        self.rows += len(vectors)

    def check_type(self, dtype: str, where: str) -> None:
        """Raise InputError for vectors of another stored type than those before them."""
        if self.rows and self.dtype != dtype:
            raise InputError(f"it stores {dtype}, those before it {self.dtype}", where=where)
        self.dtype = dtype

    def check_width(self, dimensions: int, where: str) -> None:
        """Raise InputError for vectors of other dimensions than those before them."""
        if self.dimensions not in (0, dimensions):
            raise different(dimensions, self.dimensions, where)

    @property
    def _whole(self) -> MappedMatrix:
        if self._matrix is None:
            self._vectors.flush()
            shape = (self.rows, self.dimensions)
            self._matrix = MappedMatrix(self._vectors, 0, shape, np.dtype("<f4"))
        return self._matrix

    @property
    def spans(self) -> Sequence[Any]:
        """The parts in which the file is read, in order."""
        return self._whole.spans

    def blocks(self, span: Any) -> Iterator[Placed]:
        """Yield a part's vectors."""
        return self._whole.blocks(span)

    def bits(self, span: Any) -> Iterator[PlacedBits]:
        """Yield a part's bits."""
        return self._whole.bits(span)

    def take(self, rows: Sequence[int]) -> Vectors:
        """Return these rows' vectors, in the order asked for."""
        return self._whole.take(rows)

    def number(self, row: int) -> int:
        """Return the row's number."""
        return self._numbers[row]

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what came with these rows."""
        found = []
        for row in rows:
            self._fields.seek(self._starts[row])
            found.append(orjson.loads(self._fields.readline()))
        return found
