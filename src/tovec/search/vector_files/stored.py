"""What the search knows of vectors at rest, whatever kind of file holds them.

What a file says of its vectors (model, provider, dimensions) is taken from where the writers put
it: NAME.npy.json, the Parquet schema's metadata; JSONL has no place for it. Whatever is stored, a
block is float32 (n, dimensions).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError
from tovec.wording import count_phrase

WRITE_BOTH = "write the matrix again, or remove its side files and name the model with -m"


Vectors = NDArray[np.float32]
Placed = tuple[int, Vectors]  # the first row's place in the file, and the block
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

    @property
    def spans(self) -> Sequence[Any]:
        """The parts in which the file is read, in order."""
        ...

    def blocks(self, span: Any) -> Iterator[Placed]:
        """Yield a part's vectors; a block is only valid until the next is asked for."""
        ...

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what else is stored of these rows, without their vectors."""
        ...

    def number(self, row: int) -> int:
        """Return the row's number as its user counts: from 0, in the file that was named."""
        ...


def every(stored: Stored) -> Iterator[Placed]:
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
