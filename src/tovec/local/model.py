"""The embedded model: a table over cl100k tokens, distilled from all-MiniLM-L6-v2.

A text is lowercased, stripped and prefixed with a space; its vector is the mean of its tokens'
rows, L2-normalised. The table is int8 with one scale, which the normalisation makes irrelevant:
rows are summed as integers, exactly, so a text's vector is bit for bit the same whatever stands
beside it. `tools/model` makes the files in `data`; its README has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODEL_ID = "static-minilm-256"
DIMENSIONS = 256
TABLE = Path(__file__).parent / "data" / "static-minilm-256.table.npy"  # int8 (rows, 256)
ROWS = Path(__file__).parent / "data" / "static-minilm-256.rows.npy"  # uint16: token id -> row
NO_ROW = 65_535  # in ROWS: a token that the table does not know

_SLICE = 2_048  # tokens gathered at once: half a MiB of int8 stays in the cache (measured)
_MISSING_LEVELS = 1  # a missing row's components are -1, 0 or 1: 0.1 of the median norm


def normalise_text(text: str) -> str:
    """Return what is tokenized for a text: lowercased, stripped, prefixed with a space."""
    return " " + text.strip().lower()


class StaticModel:
    """The table, loaded. `load` takes a few milliseconds; the tokenizer is the caller's."""

    def __init__(self, table: NDArray[np.int8], rows: NDArray[np.uint16]) -> None:
        self._table = table
        self._rows = rows

    @classmethod
    def load(cls) -> StaticModel:
        """Read the table that the package ships (mapped: only the rows in use are read)."""
        return cls(np.asarray(np.load(TABLE, mmap_mode="r")), np.load(ROWS))

    @cached_property
    def _missing(self) -> _MissingRows:
        return _MissingRows(np.flatnonzero(self._rows == NO_ROW), len(self._rows))

    def embed(
        self, tokens: Sequence[Sequence[int]], dimensions: int = DIMENSIONS
    ) -> NDArray[np.float32]:
        """Return the texts' vectors: float32 (len(tokens), dimensions), each of length 1.

        `tokens[i]` are the cl100k token ids of text i, at least one. Raises ValueError, naming
        the text, for an empty list or an id outside the vocabulary.
        """
        return normalise_sums(self.sums(tokens), dimensions)

    def sums(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.int32]:
        """Return the sum of the rows of each text's tokens: int32 (len(tokens), DIMENSIONS)."""
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        flat = np.fromiter(chain.from_iterable(tokens), np.int64, int(lengths.sum()))
        self._check(lengths, flat)
        sums = np.empty((len(tokens), DIMENSIONS), np.int32)
        for first, last, start, end in _slices(lengths):
            gathered = self._gather(flat[start:end])
            ends = np.cumsum(lengths[first:last]).tolist()
            # One `reduce` per text adds along rows; `reduceat` goes down columns, eight times
            # slower (measured).
            for text, begin, stop in zip(range(first, last), [0, *ends], ends, strict=False):
                np.add.reduce(gathered[begin:stop], axis=0, dtype=np.int32, out=sums[text])
        return sums

    def _check(self, lengths: NDArray[np.int64], flat: NDArray[np.int64]) -> None:
        if not lengths.all():
            raise ValueError(f"input {int(np.argmin(lengths))} has no tokens")
        wrong = (flat < 0) | (flat >= len(self._rows))
        if wrong.any():
            place = int(np.argmax(wrong))
            text = int(np.searchsorted(np.cumsum(lengths), place, side="right"))
            raise ValueError(f"input {text} has token {flat[place]}, outside the vocabulary")

    def _gather(self, ids: NDArray[np.int64]) -> NDArray[np.int8]:
        rows = self._rows[ids]
        missing = rows == NO_ROW
        if not missing.any():
            return self._table[rows]
        gathered = self._table[np.where(missing, 0, rows)]
        gathered[missing] = self._missing.take(ids[missing])
        return gathered


class _MissingRows:
    """The rows of tokens that the table does not know, each made once, when it is first needed."""

    def __init__(self, ids: NDArray[np.int64], vocabulary_size: int) -> None:
        self._index = np.zeros(vocabulary_size, np.int32)
        self._index[ids] = np.arange(len(ids))
        self._made = np.zeros(len(ids), bool)
        self._rows = np.zeros((len(ids), DIMENSIONS), np.int8)  # untouched pages take no memory

    def take(self, ids: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the rows of tokens. Safe in several threads: all write the same values."""
        places = self._index[ids]
        new = ~self._made[places]
        if new.any():
            wanted = np.unique(ids[new])
            self._rows[self._index[wanted]] = missing_rows(wanted)
            self._made[self._index[wanted]] = True
        rows: NDArray[np.int8] = self._rows[places]
        return rows


def _slices(lengths: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Cut texts into runs of about _SLICE tokens: first and end text, first and end token."""
    ends = np.cumsum(lengths)
    cuts, first, start = [], 0, 0
    while first < len(lengths):
        last = max(first + 1, int(np.searchsorted(ends, start + _SLICE, side="right")))
        cuts.append((first, last, start, int(ends[last - 1])))
        first, start = last, int(ends[last - 1])
    return cuts


def missing_rows(ids: NDArray[np.int64], dimensions: int = DIMENSIONS) -> NDArray[np.int8]:
    """Return the fixed pseudo-random rows of tokens that the table does not know.

    Each component is -1, 0 or 1 by an integer hash of (token id, component), the finaliser of
    splitmix64 (Steele et al. 2014): the same on every platform and with every version of numpy.
    """
    state: NDArray[Any] = ids.astype(np.uint64)[:, None] * np.uint64(DIMENSIONS)
    state = (state + np.arange(1, dimensions + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    levels = np.uint64(2 * _MISSING_LEVELS + 1)
    drawn: NDArray[np.int8] = ((state ^ (state >> np.uint64(31))) % levels).astype(np.int8)
    return drawn - np.int8(_MISSING_LEVELS)


def normalise_sums(sums: NDArray[np.int32], dimensions: int) -> NDArray[np.float32]:
    """Return the first dimensions of each sum as a vector of length 1.

    Whole numbers below 2**53 add up exactly in float64, so no row depends on its neighbours.
    """
    vectors = np.empty((len(sums), dimensions), np.float32)
    for start in range(0, len(sums), _SLICE):
        exact = sums[start : start + _SLICE, :dimensions].astype(np.float64)
        squares = np.einsum("ij,ij->i", exact, exact)
        zero = squares == 0
        if zero.any():  # rows that cancel out: still a unit vector, the same one each time
            exact[zero, 0] = 1
            squares[zero] = 1
        vectors[start : start + _SLICE] = exact / np.sqrt(squares)[:, None]
    return vectors
