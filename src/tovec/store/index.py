"""Where each key's vector is: a hash index in numpy, at most 32 bytes a row.

Keys stand in the order in which they were first seen (their ordinal), 16 bytes each, with a
4-byte place. An open-addressing table of 4-byte ordinals, between 5.3 and 10.7 bytes a row, finds
them; a key's second half is its step through the table. The arrays grow by chunks, so that growing
never copies them. Whole blocks are looked up at once: a round of probing is a few numpy calls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tovec.store.content_keys import Keys

CHUNK_ROWS = 1 << 16  # rows
MAX_LOAD = 0.75  # of the table
EMPTY = np.uint32(0xFFFFFFFF)
WAITING = 0xFFFFFFFF  # a place: the key is known, its vector not yet
REFUSED = 0xFFFFFFFE  # a place: the endpoint refuses this input
ASKED = 0xFFFFFFFD  # a place: the vector has been asked for in this run; smaller ones are places
MAX_VECTORS = 0xFFFFFFF0  # vectors in a job

Ordinals = NDArray[np.int64]


class _Column:
    """A column that grows by chunks; read and written by arrays of ordinals."""

    def __init__(self, width: int, dtype: type[np.generic]) -> None:
        self._chunks: list[NDArray[np.generic]] = []
        self._width, self._dtype = width, dtype

    def grow(self, rows: int) -> None:
        while len(self._chunks) * CHUNK_ROWS < rows:
            self._chunks.append(np.empty((CHUNK_ROWS, self._width), self._dtype))

    def get(self, ordinals: Ordinals) -> NDArray[np.generic]:
        found = np.empty((len(ordinals), self._width), self._dtype)
        for chunk, where, inside in self._parts(ordinals):
            found[where] = chunk[inside]
        return found

    def set(self, ordinals: Ordinals, values: NDArray[np.generic]) -> None:
        for chunk, where, inside in self._parts(ordinals):
            chunk[inside] = values[where]

    def _parts(
        self, ordinals: Ordinals
    ) -> list[tuple[NDArray[np.generic], NDArray[np.bool_] | slice, Ordinals]]:
        numbers, inside = np.divmod(ordinals, CHUNK_ROWS)
        different = np.unique(numbers)
        if len(different) == 1:
            return [(self._chunks[int(different[0])], slice(None), inside)]
        return [(self._chunks[int(n)], (here := numbers == n), inside[here]) for n in different]

    @property
    def nbytes(self) -> int:
        return sum(chunk.nbytes for chunk in self._chunks)


class Index:
    """Maps keys to ordinals, and ordinals to places."""

    def __init__(self) -> None:
        self._keys = _Column(2, np.uint64)
        self._places = _Column(1, np.uint32)
        self._table: NDArray[np.uint32] = np.full(1024, EMPTY)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._keys.nbytes + self._places.nbytes + self._table.nbytes

    def find(self, keys: Keys) -> Ordinals:
        """Return each key's ordinal, -1 where it is not known."""
        return self._probe(keys)

    def add(self, keys: Keys) -> tuple[Ordinals, NDArray[np.bool_]]:
        """Return each key's ordinal, and which keys are new (the first of equal ones).

        New keys take the next ordinals in the order in which they stand, with place WAITING.
        """
        found = self._probe(keys)
        missing = np.flatnonzero(found < 0)
        new = np.zeros(len(keys), np.bool_)
        if not len(missing):
            return found, new
        wanted = keys[missing]
        firsts = missing[_firsts(wanted)]
        new[firsts] = True
        first = self._rows
        self._append(keys[firsts])
        found[firsts] = np.arange(first, self._rows)
        if len(firsts) < len(missing):
            found[missing] = self._probe(wanted)
        return found, new

    def places(self, ordinals: Ordinals) -> NDArray[np.int64]:
        """Return the place of each ordinal."""
        return self._places.get(ordinals)[:, 0].astype(np.int64)

    def set_places(self, ordinals: Ordinals, places: NDArray[np.int64] | int) -> None:
        """Set the place of each ordinal."""
        values = np.broadcast_to(np.asarray(places), (len(ordinals),)).astype(np.uint32)
        self._places.set(ordinals, values[:, None])

    def keys(self, ordinals: Ordinals) -> Keys:
        """Return the key of each ordinal."""
        return self._keys.get(ordinals)  # type: ignore[return-value]

    def _append(self, keys: Keys) -> None:
        first, self._rows = self._rows, self._rows + len(keys)
        if self._rows > MAX_VECTORS:
            raise MemoryError("a job holds at most four billion vectors")
        self._keys.grow(self._rows)
        self._places.grow(self._rows)
        ordinals = np.arange(first, self._rows)
        self._keys.set(ordinals, keys)
        self.set_places(ordinals, WAITING)
        if self._rows > MAX_LOAD * len(self._table):
            self._enlarge()
        else:
            self._enter(keys, ordinals)

    def _enlarge(self) -> None:
        size = len(self._table)
        while self._rows > MAX_LOAD * size:
            size *= 2
        self._table = np.full(size, EMPTY)
        for start in range(0, self._rows, CHUNK_ROWS):
            ordinals = np.arange(start, min(start + CHUNK_ROWS, self._rows))
            self._enter(self.keys(ordinals), ordinals)

    def _enter(self, keys: Keys, ordinals: Ordinals) -> None:
        """Put ordinals of keys that are not in the table into free slots."""
        mask = np.uint64(len(self._table) - 1)
        slots, steps = keys[:, 0] & mask, keys[:, 1] | np.uint64(1)
        left = np.arange(len(keys))
        while len(left):
            here = slots[left]
            free = self._table[here] == EMPTY
            self._table[here[free]] = ordinals[left[free]]  # of several at one slot, one wins
            done = self._table[here] == ordinals[left]
            left = left[~done]
            slots[left] = (slots[left] + steps[left]) & mask

    def _probe(self, keys: Keys) -> Ordinals:
        mask = np.uint64(len(self._table) - 1)
        found = np.full(len(keys), -1, np.int64)
        slots, steps = keys[:, 0] & mask, keys[:, 1] | np.uint64(1)
        left = np.arange(len(keys))
        while len(left):
            ordinals = self._table[slots[left]]
            taken = ordinals != EMPTY
            left = left[taken]
            candidates = ordinals[taken].astype(np.int64)
            same = (self._keys.get(candidates) == keys[left]).all(axis=1)
            found[left[same]] = candidates[same]
            left = left[~same]
            slots[left] = (slots[left] + steps[left]) & mask
        return found


def _firsts(keys: Keys) -> Ordinals:
    """Return the positions of keys that differ from all before them."""
    if len(np.unique(keys[:, 0])) == len(keys):
        return np.arange(len(keys))
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys the first comes first
    ordered = keys[order]
    differs = np.ones(len(order), np.bool_)
    differs[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.sort(order[differs])
