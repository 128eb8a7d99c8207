"""The rows nearest to each query, exactly, in one pass over stored vectors.

Blocks are looked at in float32, at the speed at which they are read; only rows that may be among
the best, by a bound on float32's error, are scored in float64. So scores are what float64 gives,
equal rows have equal scores, and ties go to the row that comes first.

Rows' lengths are measured, which costs as much again as the products, unless the file says that
all are about equal: then one row in SAMPLED is measured, to see that it says so of these vectors.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.formats.embedding_column import squares
from tovec.search.metrics import (
    DIGITS,
    MAX_LENGTH,
    MIN_LENGTH,
    Bound,
    Scores,
    check,
    norms,
    pairwise,
    unusable,
)
from tovec.search.vector_files.stored import Lengths, Stored, Vectors, mismatch

CACHED = 1 << 20  # bytes of rows multiplied and, while they are in the cache, measured at a time
RELEASED = 512  # rows from which numpy lets other threads run meanwhile
EQUAL = 1.001  # times the least length that the greatest may be, for all to be taken as equal
SAMPLED = 16
PRODUCTS = 1 << 20  # looked at together, of all queries
EXACT = 4096  # pairs scored in float64 at once
THREADS = min(os.cpu_count() or 1, 4)  # memory is the limit, and each holds a span of it

Places = NDArray[np.int64]


class Hits(NamedTuple):
    """The rows nearest to one query, nearest first, and their scores."""

    rows: Places
    scores: Scores


def search(
    stored: Stored,
    queries: Vectors,
    metric: str,
    *,
    k: int | None = None,
    bound: Bound = Bound(),  # noqa: B008 - immutable
    skip: Places | None = None,
    threads: int = THREADS,
) -> list[Hits]:
    """Return each query's `k` nearest rows that pass the bound; all that pass without `k`.

    `queries` is float32 (n, dimensions); `skip[i]` is a row that is no hit of query `i` (itself).
    Raises InputError, naming the row, for a vector that is zero or not finite.
    """
    _check_queries(queries)
    ranking = _Ranking(stored, queries, metric, k, bound, skip)

    def scan(span: object) -> None:
        for first, block in stored.blocks(span):
            ranking.add(first, block)

    spans = stored.spans
    if threads == 1 or len(spans) == 1:
        for span in spans:
            scan(span)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(scan, spans):  # raises what the first bad part raises
                pass
    return ranking.hits()


class _Ranking:
    """Takes blocks in any order, from several threads; keeps what may be among the best.

    Inside, more is nearer: `sign` turns a distance round.
    """

    def __init__(
        self,
        stored: Stored,
        queries: Vectors,
        metric: str,
        k: int | None,
        bound: Bound,
        skip: Places | None,
    ) -> None:
        self._source = stored.source
        self._queries = queries
        self._metric = metric
        self._k = k
        self._bound = bound
        self._skip = skip
        self._sign = -1.0 if metric == "euclidean" else 1.0
        wide = queries.astype(np.float64)
        lengths = norms(queries)
        scaled = wide / lengths[:, None] if metric == "cosine" else wide
        self._query_lengths = lengths.astype(np.float32)
        self._columns = np.ascontiguousarray(scaled.T, np.float32)
        # Twice the bound on the error of a float32 product of that many terms (Higham, 3.1).
        self._error = float((queries.shape[1] + 8) * 2.0**-23)
        self._longest, self._slack = _equal(stored.lengths, 2 * self._error)
        asked = bound.least if self._sign > 0 else bound.most
        lowest = -np.inf if asked is None else self._sign * asked - 10.0**-DIGITS
        self._least = np.full(len(queries), lowest)
        self._scores: list[Scores] = [np.empty(0) for _ in queries]
        self._rows: list[Places] = [np.empty(0, np.int64) for _ in queries]
        self._lock = threading.Lock()

    def add(self, first: int, block: Vectors) -> None:
        """Look at a block whose first row is row `first` of the file."""
        step = max(1, PRODUCTS // len(self._queries))
        for start in range(0, len(block), step):
            self._add(first + start, block[start : start + step])

    def _add(self, first: int, block: Vectors) -> None:
        products = np.empty((len(block), len(self._queries)), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            if self._longest is None:
                squared = self._multiply_and_measure(block, products)
                self._check(first, block, squared)
            else:
                _multiply(block, self._columns, products)
                self._check_some(first, block, products[:, 0])
                squared = np.array([self._longest**2], np.float32)
            places, owners = self._candidates(products, squared[:, None])
        for start in range(0, len(places), EXACT):
            at, of = places[start : start + EXACT], owners[start : start + EXACT]
            scores = pairwise(self._metric, block[at], self._queries[of])
            self._keep(first + at, of, scores)

    def hits(self) -> list[Hits]:
        """Return what was found, nearest first."""
        found = []
        for scores, rows in zip(self._scores, self._rows, strict=True):
            order = np.lexsort((rows, -scores))[: self._k]
            found.append(Hits(rows[order], self._sign * scores[order]))
        return found

    def _multiply_and_measure(self, block: Vectors, products: Vectors) -> Vectors:
        """Write each row's product with each query to `products`; return its squared length."""
        found = np.empty(len(block), np.float32)
        step = max(RELEASED, CACHED // (4 * block.shape[1]))
        for start in range(0, len(block), step):
            part = slice(start, start + step)
            _multiply(block[part], self._columns, products[part])
            found[part] = squares(block[part])
        return found

    def _check(self, first: int, block: Vectors, squared: Vectors) -> None:
        """Raise for the first row that is not finite, zero or too small to be multiplied."""
        least = MIN_LENGTH**2
        if not (np.isfinite(squared.sum()) and squared.min(initial=1) >= least):
            bad = np.flatnonzero(~np.isfinite(squared) | (squared < least))
            if len(bad):
                raise unusable(block[bad[0]], self._source, first + int(bad[0]))

    def _check_some(self, first: int, block: Vectors, products: Vectors) -> None:
        """Raise for a row that is not finite or zero, or that is not as long as the file says.

        A product with a row that is not finite is not finite, with one that is zero it is zero:
        such rows are measured, and one in SAMPLED.
        """
        if not (np.isfinite(products.sum()) and products.all()):
            suspects = np.flatnonzero(~np.isfinite(products) | (products == 0))
            squared = np.ones(len(block), np.float32)
            squared[suspects] = squares(block[suspects])
            self._check(first, block, squared)
        lengths = np.sqrt(squares(block[::SAMPLED]))
        others = np.flatnonzero(np.abs(lengths / self._longest - 1) > self._slack)
        if len(others):
            row, length = first + SAMPLED * int(others[0]), float(lengths[others[0]])
            raise mismatch(self._source, f"row {row} (from 0) has length {length:.6g}")

    def _candidates(self, products: Vectors, squared: Vectors) -> tuple[Places, Places]:
        """Return the pairs of row and query that may be hits: places in the block, queries."""
        error: object = self._error
        least: Scores = self._least
        near: Any = products
        if self._metric == "cosine":
            near = products / np.sqrt(squared)
            error = self._error + self._slack
        elif self._metric == "dot":
            error = (self._error * np.sqrt(squared)) * self._query_lengths
        else:  # the squared distance, turned round
            lengths = squared + self._query_lengths**2
            near = 2 * products - lengths
            error = 2 * self._error * lengths + 3 * self._slack * squared
            least = -np.square(np.minimum(least, 0.0))
        hits = near >= (least - error).astype(np.float32)
        count, wanted = len(near), (self._k or len(near)) + (self._skip is not None)
        if wanted < count and np.count_nonzero(hits) > max(EXACT, 4 * wanted * hits.shape[1]):
            # Rows come in rising order, or are the first: none is a hit that is not among the best
            # of its own block.
            best = np.partition(near - error, count - wanted, axis=0)[count - wanted]
            hits = near >= (np.maximum(least, best) - error).astype(np.float32)
        places, owners = np.divmod(np.flatnonzero(hits), hits.shape[1])
        return places, owners

    def _keep(self, rows: Places, owners: Places, scores: Scores) -> None:
        kept = self._bound.passes(scores)
        if self._skip is not None:
            kept &= rows != self._skip[owners]
        near = self._sign * scores
        with self._lock:
            for query in np.unique(owners[kept]).tolist():
                mine = kept & (owners == query)
                all_near = np.concatenate([self._scores[query], near[mine]])
                all_rows = np.concatenate([self._rows[query], rows[mine]])
                if self._k is not None and len(all_near) > self._k:
                    order = np.lexsort((all_rows, -all_near))[: self._k]
                    all_near, all_rows = all_near[order], all_rows[order]
                if self._k is not None and len(all_near) == self._k:
                    self._least[query] = max(self._least[query], all_near.min())
                self._scores[query], self._rows[query] = all_near, all_rows


def _check_queries(queries: Vectors) -> None:
    """Raise InputError for a query whose products with rows would leave float32."""
    check(queries, "the queries")
    long = np.flatnonzero(norms(queries) > MAX_LENGTH)
    if len(long):
        raise unusable(queries[long[0]], "the queries", int(long[0]))


def _multiply(block: Vectors, columns: Vectors, out: Vectors) -> None:
    if columns.shape[1] == 1 and hasattr(np, "vecdot"):
        # BLAS would divide each small block among threads of its own, which wait for each other.
        np.vecdot(block, columns[:, 0], out=out[:, 0])
    else:
        np.matmul(block, columns, out=out)


def _equal(lengths: Lengths | None, error: float) -> tuple[float | None, float]:
    """Return the greatest length, if all are about equal, and what part of it others may lack.

    Lengths that float32 cannot square are measured, and refused, row by row.
    """
    if lengths is None or lengths[1] > EQUAL * lengths[0]:
        return None, 0.0
    if not MIN_LENGTH <= lengths[0] <= lengths[1] <= MAX_LENGTH:
        return None, 0.0
    return lengths[1], lengths[1] / lengths[0] - 1 + error
