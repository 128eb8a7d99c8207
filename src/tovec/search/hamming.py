"""The rows nearest to each query by the Hamming distance of their bits, exactly, in one pass.

What is found are candidates, to be scored by wider vectors, or the answer itself where bits are
all that is stored: the distance decides every metric between vectors of -1 and 1.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tovec.errors import UsageError
from tovec.formats.quantised import BITS, as_bits, unsigned
from tovec.search.metrics import Bound, Scores, Vectors, check, pairwise
from tovec.search.ranking import THREADS, Hits, Places
from tovec.search.vector_files.stored import Bits, Stored

CHUNK_BYTES = 1 << 19  # of bits compared at a time: they stay in a core's cache
_WORDS = (np.uint64, np.uint32, np.uint16, np.uint8)

Distances = NDArray[np.uint32]


def search_bits(
    stored: Stored,
    queries: Vectors,
    metric: str,
    k: int,
    *,
    multiple: int | None = None,
    bound: Bound = Bound(),  # noqa: B008 - immutable
    skip: Places | None = None,
) -> list[Hits]:
    """Return each query's `k` nearest rows that pass the bound.

    With `multiple`, `k` times as many rows are found by their bits, and scored by their vectors.
    `skip[i]` is a row that is no hit of query `i`. Raises UsageError for a file that has no bits,
    or nothing but bits to score with.
    """
    _check(stored, multiple)
    skip = np.full(len(queries), -1) if skip is None else skip
    wanted = (multiple or 1) * k + int((skip >= 0).any())
    found = nearest_bits(stored, unsigned(as_bits(queries, "ubinary")), wanted)
    hits = []
    for (rows, distances), query, own in zip(found, queries, skip, strict=True):
        keep = rows != own
        rows, distances = rows[keep], distances[keep]
        if multiple is None:
            scores = _scores_of(distances, metric, stored.dimensions)
        else:
            scores = _rescore(stored, rows, query, metric)
        near = -scores if metric == "euclidean" else scores
        order = np.lexsort((rows, -near))
        order = order[bound.passes(scores[order])][:k]
        hits.append(Hits(rows[order], scores[order]))
    return hits


def _check(stored: Stored, multiple: int | None) -> None:
    if stored.rows and not stored.has_bits:
        raise UsageError(
            "--rescore searches bits first, and the file stores none",
            where=stored.source,
            hint="--also ubinary stores them beside the vectors (.parquet, .npy)",
        )
    if multiple is not None and stored.dtype in BITS:
        raise UsageError(
            "--rescore scores by wider vectors, and the file stores nothing but bits",
            where=stored.source,
            hint="leave --rescore out, or store both with --also ubinary",
        )


def _rescore(stored: Stored, rows: Places, query: Vectors, metric: str) -> Scores:
    order = np.sort(rows)
    vectors = stored.take(order.tolist())[np.searchsorted(order, rows)]
    for vector, row in zip(vectors, rows.tolist(), strict=True):
        check(vector[None], stored.source, row)
    return pairwise(metric, vectors, np.broadcast_to(query, vectors.shape))


def _scores_of(distances: Distances, metric: str, dimensions: int) -> Scores:
    """Return the scores of vectors of -1 and 1 that differ in so many dimensions."""
    wide = distances.astype(np.float64)
    match metric:
        case "euclidean":
            return np.asarray(2 * np.sqrt(wide))
        case "dot":
            return dimensions - 2 * wide
    return (dimensions - 2 * wide) / dimensions


def nearest_bits(
    stored: Stored, queries: Bits, count: int, threads: int = THREADS
) -> list[tuple[Places, Distances]]:
    """Return the `count` rows nearest to each query, nearest first, and their distances.

    Of rows at one distance, those that come first are kept.
    """
    nearest = [_Nearest(query, count) for query in queries]

    def scan(span: object) -> None:
        for first, block in stored.bits(span):
            step = max(1, CHUNK_BYTES // block.shape[1])
            for start in range(0, len(block), step):
                part = block[start : start + step]
                for one in nearest:
                    one.add(first + start, part)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(scan, stored.spans):
            pass
    return [(one.rows, one.distances) for one in nearest]


class _Nearest:
    """The rows nearest to one query, of those looked at so far, in any order, by any thread."""

    def __init__(self, query: Bits, count: int) -> None:
        self._query = query
        self._count = count
        self._lock = threading.Lock()
        self._limit = 8 * len(query)  # no row farther than this is among the nearest
        self.rows: Places = np.empty(0, np.int64)
        self.distances: Distances = np.empty(0, np.uint32)

    def add(self, first: int, block: Bits) -> None:
        """Look at rows; `first` is the number of the first of them."""
        distances = hamming(block, self._query)
        places = np.flatnonzero(distances <= self._limit)
        if len(places) > self._count:
            near = distances[places]
            places = places[near <= np.partition(near, self._count - 1)[self._count - 1]]
        if not len(places):
            return
        with self._lock:
            rows = np.concatenate([self.rows, places + first])
            found = np.concatenate([self.distances, distances[places].astype(np.uint32)])
            order = np.lexsort((rows, found))[: self._count]
            self.rows, self.distances = rows[order], found[order]
            if len(order) == self._count:
                self._limit = int(self.distances[-1])


def hamming(block: Bits, query: Bits) -> NDArray[np.unsignedinteger]:
    """Return how many bits of each row differ from the query's: (n, bytes) to (n,)."""
    width = block.shape[1]
    word = next(kind for kind in _WORDS if width % np.dtype(kind).itemsize == 0)
    rows, wanted = (np.ascontiguousarray(one).view(word) for one in (block, query))
    small = np.uint16 if 8 * width < 1 << 16 else np.uint32
    total: NDArray[np.unsignedinteger] = np.zeros(len(block), small)
    for i, one in enumerate(wanted):
        total += _count_bits(rows[:, i] ^ one)
    return total


def _count_bits(words: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # from numpy 2.0 on
        return np.asarray(np.bitwise_count(words))
    in_bytes = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)
    return np.asarray(np.unpackbits(in_bytes, axis=1).sum(axis=1), np.uint8)
