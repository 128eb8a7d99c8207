"""What the search knows of vectors at rest, whatever kind of file holds them.

What a file says of its vectors (model, provider, dimensions) is taken from where the writers put
it: NAME.npy.json, the Parquet schema's metadata; JSONL has no place for it. Whatever is stored, a
block is float32 (n, dimensions).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError
from tovec.formats.quantised import BITS, INTEGERS, Scale, from_bits, from_integers
from tovec.wording import count_phrase

WRITE_BOTH = "write the matrix again, or remove its side files and name the model with -m"


# What a stored integer may be, by its numpy type.
_INTEGER_TYPES = {"int8": ("int8", "binary"), "uint8": ("uint8", "ubinary")}

Vectors = NDArray[np.float32]
Placed = tuple[int, Vectors]  # the first row's place in the file, and the block
Bits = NDArray[np.uint8]  # packed as ubinary
PlacedBits = tuple[int, Bits]
Lengths = tuple[float, float]  # the least and the greatest of all rows, as float32 gives them


class Stored(Protocol):
    """Vectors at rest. Rows are counted from 0; spans and their blocks may be read in threads."""

    source: str
    rows: int
    dimensions: int
    model: str | None
    provider: str | None
    lengths: Lengths | None
    has_columns: bool  # whether rows are stored with their columns; a .npy has ids at most
    dtype: str  # of the numbers that are stored: "float32", "int8", "ubinary", ...
    has_bits: bool  # whether `bits` gives them: they are what is stored, or a column beside it
    truncated_from: int | None  # the model's dimensions, where vectors were truncated

    @property
    def spans(self) -> Sequence[Any]:
        """The parts in which the file is read, in order."""
        ...

    def blocks(self, span: Any) -> Iterator[Placed]:
        """Yield a part's vectors; a block is only valid until the next is asked for."""
        ...

    def bits(self, span: Any) -> Iterator[PlacedBits]:
        """Yield the bits of a part's vectors, packed."""
        ...

    def take(self, rows: Sequence[int]) -> Vectors:
        """Return these rows' vectors, in the order asked for."""
        ...

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what else is stored of these rows, without their vectors."""
        ...

    def number(self, row: int) -> int:
        """Return the row's number as its user counts: from 0, in the file that was named."""
        ...


class Encoding(NamedTuple):
    """How vectors are stored: the type, and what its integers stand for."""

    dtype: str = "float32"
    scale: Scale | None = None  # of integers

    def decode(self, stored: NDArray[Any]) -> Vectors:
        """Return the vectors that are stored."""
        if self.dtype in BITS:
            return from_bits(stored)
        if self.dtype in INTEGERS:
            assert self.scale is not None
            return from_integers(stored, self.scale)
        return np.asarray(stored, np.float32)


def encoding_of(
    kind: str, told: object, scale: Scale | None, where: str, hint: str = ""
) -> Encoding:
    """Return the encoding of numbers of a numpy type, of which their file says `told`.

    Raises InputError for integers of which it does not say what they stand for.
    """
    if kind not in _INTEGER_TYPES:
        return Encoding(kind)
    if not isinstance(told, str) or told not in _INTEGER_TYPES[kind]:
        raise InputError(
            f"it holds {kind}, and does not say what these stand for", where=where, hint=hint
        )
    if told in INTEGERS and scale is None:
        raise InputError(f"it holds {told} without a scale", where=where, hint=hint)
    return Encoding(told, scale)


def all_blocks(stored: Stored) -> Iterator[Placed]:
    """Yield all blocks in order."""
    for span in stored.spans:
        yield from stored.blocks(span)


def mismatch(path: str, why: str) -> InputError:
    """Return the error for a side file that is not this matrix's."""
    name = Path(path).name
    return InputError(
        f"{name}.json does not match {name}: {why}", where=path + ".json", hint=WRITE_BOTH
    )


def different(found: int, expected: int, where: str) -> InputError:
    """Return the error for a vector of another length than those before it."""
    return InputError(
        f"the vector has {count_phrase(found, 'dimension')}, those before it {expected:,}",
        where=where,
    )
