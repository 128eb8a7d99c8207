"""Rows of one file with each other: near-duplicates, outliers, diversity, clusters.

Near-duplicates and outliers compare every row with every other, in tiles of one matrix product
each: twice the rows take four times as long.
Diversity by cosine and clustering are linear in the rows.

Squared distances come from products, |a|^2 + |b|^2 - 2ab, which loses the digits that a distance
is made of where rows are near each other or far from the origin. So they are computed in float64,
from the first row as the origin: equal rows are at distance 0 from it, and a distance is right to
1e-8 of the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.search import metrics
from tovec.search.metrics import DIGITS, Bound, Numbers, Scores
from tovec.search.vector_files.stored import Placed, Stored, Vectors, all_blocks

TILE_BYTES = 64 << 20  # of rows that are held while all later rows pass by
PRODUCT_ROWS = 2048  # rows of one matrix product, on either side
MAX_ROUNDS = 50  # of moving centres, at most
SAMPLE_ROWS = 20_000  # rows from which the first centres are chosen

Places = NDArray[np.int64]
OnRows = Callable[[int], None]
"""Told about how many of the rows are done."""


def no_progress(_rows: int) -> None:
    """Report nothing."""


def tiles(stored: Stored, rows: int) -> Iterator[Placed]:
    """Return all rows, checked, as matrices of `rows` rows."""
    held: list[Vectors] = []
    size, first = 0, 0
    for at, block in all_blocks(stored):
        metrics.check(block, stored.source, at)
        for start in range(0, len(block), rows):
            part = np.array(block[start : start + rows], np.float32)
            while len(part):
                room = rows - size
                held.append(part[:room])
                size += len(part[:room])
                part = part[room:]
                if size == rows:
                    yield first, np.concatenate(held)
                    first, held, size = first + size, [], 0
    if held:
        yield first, np.concatenate(held)


def products(
    metric: str, stored: Stored, on_rows: OnRows = no_progress
) -> Iterator[tuple[int, int, Vectors, Vectors, Numbers]]:
    """Yield each pair of tiles once: places, rows, and how near they are.

    The nearness is a cosine or a product in float32, or a squared distance with its sign changed in
    float64; a tile is paired with itself and with those after it.
    """
    rows = max(
        PRODUCT_ROWS, TILE_BYTES // (4 * max(1, stored.dimensions)) // PRODUCT_ROWS * PRODUCT_ROWS
    )
    origin = _origin(metric, stored)
    pairs, done = sum(stored.rows - first for first in range(0, stored.rows, rows)), 0
    for first, tile in tiles(stored, rows):
        wide = _scale(metric, tile, origin)
        for second, other in tiles(stored, PRODUCT_ROWS):
            if second < first:
                continue
            across = _scale(metric, other, origin)
            for start in range(0, min(len(tile), second - first + PRODUCT_ROWS), PRODUCT_ROWS):
                part = slice(start, start + PRODUCT_ROWS)
                near = wide[part] @ across.T
                if metric == "euclidean":
                    near *= 2
                    near -= _squares(wide[part])[:, None]
                    near -= _squares(across)[None, :]
                yield first + start, second, tile[part], other, near
            done += len(other)
            on_rows(stored.rows * done // pairs)


def _origin(metric: str, stored: Stored) -> Scores | None:
    """Return the row from which distances are measured; None for the other metrics."""
    if metric != "euclidean":
        return None
    return next((tile[0].astype(np.float64) for _, tile in tiles(stored, 1)), None)


def _scale(metric: str, block: Vectors, origin: Scores | None) -> Numbers:
    """Return rows as they are multiplied: of length 1 for cosine, from the origin for distances."""
    if origin is not None:
        return block.astype(np.float64) - origin
    if metric != "cosine":
        return block
    scaled: Vectors = (block / metrics.norms(block)[:, None]).astype(np.float32)
    return scaled


def _squares(rows: Numbers) -> Scores:
    found: Scores = np.einsum("ij,ij->i", rows, rows)
    return found


class Pairs(NamedTuple):
    """Pairs of rows, nearest first; of equal ones those of the first rows come first."""

    earlier: Places
    later: Places
    scores: Scores


def near_pairs(
    metric: str, stored: Stored, bound: Bound, k: int | None, on_rows: OnRows = no_progress
) -> Pairs:
    """Return the `k` nearest pairs of different rows that pass the bound, or all that pass."""
    least = _lowest(metric, bound)
    best = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    parts = [best]
    for first, second, tile, other, near in products(metric, stored, on_rows):
        slack = _slack(metric, tile, other)
        hits = near >= least - slack
        if first == second:
            hits &= np.tri(len(tile), len(other), dtype=np.bool_).T ^ np.eye(len(tile), dtype=bool)
        if k is not None and np.count_nonzero(hits) > 4 * k + PRODUCT_ROWS:
            hits &= near >= np.partition(near[hits], -k)[-k] - 2 * slack
        one, two = np.nonzero(hits)
        for start in range(0, len(one), PRODUCT_ROWS):
            a, b = one[start : start + PRODUCT_ROWS], two[start : start + PRODUCT_ROWS]
            scores = metrics.pairwise(metric, tile[a], other[b])
            kept = bound.passes(scores)
            parts.append(Pairs(a[kept] + first, b[kept] + second, scores[kept]))
        if k is not None and len(parts) > 1:
            parts = [_nearest_first(metric, parts, k)]
            if len(parts[0].scores) == k:
                least = max(least, _nearness(metric, float(parts[0].scores[-1])))
    return _nearest_first(metric, parts, k)


def _nearest_first(metric: str, parts: Sequence[Pairs], k: int | None) -> Pairs:
    one, two, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((two, one, scores if metric == "euclidean" else -scores))[:k]
    return Pairs(one[order], two[order], scores[order])


def _nearness(metric: str, score: float) -> float:
    return -(score**2) if metric == "euclidean" else score


def _lowest(metric: str, bound: Bound) -> float:
    asked = bound.most if metric == "euclidean" else bound.least
    if asked is None:
        return -np.inf
    if metric == "euclidean":
        return _nearness(metric, max(asked, 0.0) + 10.0**-DIGITS)
    return asked - 10.0**-DIGITS


def _slack(metric: str, a: Vectors, b: Vectors) -> float:
    """Return what a nearness may be wrong by: float64 for distances, else float32."""
    share = float((a.shape[1] + 8) * (2.0**-52 if metric == "euclidean" else 2.0**-23))
    if metric == "cosine":
        return share
    largest = max(float(metrics.norms(a).max()), float(metrics.norms(b).max()))
    return share * largest**2 * (1 if metric == "dot" else 16)  # an origin is as far at most


def nearest_others(
    metric: str, stored: Stored, on_rows: OnRows = no_progress
) -> tuple[Places, Scores]:
    """Return each row's nearest other row, and the score of the two: (rows,) each.

    Raises nothing for a single row: its neighbour is -1 and its score NaN.
    """
    near = np.full(stored.rows, -np.inf)
    nearest = np.full(stored.rows, -1, np.int64)
    for first, second, _tile, _other, scores in products(metric, stored, on_rows):
        if first == second:
            np.fill_diagonal(scores, -np.inf)
        for places, start, axis, offset in (
            (scores.argmax(axis=1), first, 1, second),
            (scores.argmax(axis=0), second, 0, first),
        ):
            best = np.take_along_axis(scores, np.expand_dims(places, axis), axis).squeeze(axis)
            part = slice(start, start + len(best))
            nearer = best > near[part]
            near[part] = np.where(nearer, best, near[part])
            nearest[part] = np.where(nearer, places + offset, nearest[part])
    return nearest, _exact_scores(metric, stored, nearest)


def _exact_scores(metric: str, stored: Stored, nearest: Places) -> Scores:
    """Return each row's score with its nearest in float64."""
    scores = np.full(stored.rows, np.nan)
    for first, block in tiles(stored, PRODUCT_ROWS * 8):
        mine = np.arange(first, first + len(block))
        for second, other in tiles(stored, PRODUCT_ROWS * 8):
            partner = nearest[mine] - second
            here = np.flatnonzero((partner >= 0) & (partner < len(other)))
            if len(here):
                found = metrics.pairwise(metric, block[here], other[partner[here]])
                scores[mine[here]] = found
    return scores


def diversity(metric: str, stored: Stored, on_rows: OnRows = no_progress) -> float:
    """Return the mean distance of two different rows: 1 - cosine, or Euclidean; NaN for one row."""
    count = stored.rows
    if count < 2:
        return float("nan")
    pairs = count * (count - 1) / 2
    if metric == "cosine":  # the sum over all pairs is in the length of the rows' sum
        total = np.zeros(stored.dimensions)
        for _, block in tiles(stored, PRODUCT_ROWS):
            total += (block / metrics.norms(block)[:, None]).sum(axis=0)
        return float(1.0 - (total @ total - count) / 2 / pairs)
    sum_of_distances = 0.0
    for first, second, _tile, _other, near in products(metric, stored, on_rows):
        distances = np.sqrt(np.maximum(-near, 0.0), dtype=np.float64)
        if first == second:
            np.fill_diagonal(distances, 0.0)
        sum_of_distances += float(distances.sum()) / (2 if first == second else 1)
    return sum_of_distances / pairs


def clusters(
    metric: str, stored: Stored, count: int, on_rows: OnRows = no_progress
) -> tuple[Places, Scores]:
    """Return each row's cluster (0 the largest) and its score with the cluster's centre.

    k-means from centres chosen apart (k-means++, a fixed seed: the same file gives the same
    clusters); by cosine the rows and centres are taken at length 1.
    """
    origin = _origin(metric, stored)
    centres = _first_centres(metric, stored, min(count, stored.rows), origin)
    before = np.full(stored.rows, -1, np.int64)
    for _ in range(MAX_ROUNDS):
        sums = np.zeros(centres.shape)
        sizes = np.zeros(len(centres), np.int64)
        labels = np.empty(stored.rows, np.int64)
        for first, block in tiles(stored, PRODUCT_ROWS):
            scaled = _scale(metric, block, origin)
            mine = _nearest_centres(metric, scaled, centres)
            labels[first : first + len(block)] = mine
            order = np.argsort(mine, kind="stable")
            found, starts = np.unique(mine[order], return_index=True)
            sums[found] += np.add.reduceat(scaled[order].astype(np.float64), starts, axis=0)
            sizes += np.bincount(mine, minlength=len(centres))
            on_rows(first + len(block))
        if np.array_equal(labels, before):
            break
        before = labels
        moved = sums / np.maximum(sizes, 1)[:, None]
        kept = sizes == 0
        if metric == "cosine":  # a sum of length 0 has no direction; a mean of rows may be 0
            lengths = np.linalg.norm(moved, axis=1, keepdims=True)
            kept |= lengths[:, 0] == 0
            moved /= np.where(lengths == 0, 1.0, lengths)
        centres = np.where(kept[:, None], centres, moved.astype(centres.dtype))
    scores = np.empty(stored.rows)
    for first, block in tiles(stored, PRODUCT_ROWS):
        part = slice(first, first + len(block))
        nearest = centres[before[part]]
        scores[part] = metrics.pairwise(metric, _scale(metric, block, origin), nearest)
    sizes = np.bincount(before, minlength=len(centres))
    earliest = np.full(len(centres), stored.rows)
    np.minimum.at(earliest, before, np.arange(stored.rows))
    ranks = np.argsort(np.lexsort((earliest, -sizes)))
    return ranks[before], scores


def _nearest_centres(metric: str, block: Numbers, centres: Numbers) -> Places:
    near: Numbers = block @ centres.T
    if metric == "euclidean":
        near = 2 * near - _squares(centres)[None, :]
    labels: Places = near.argmax(axis=1)
    return labels


def _first_centres(metric: str, stored: Stored, count: int, origin: Scores | None) -> Numbers:
    step = max(1, stored.rows // max(SAMPLE_ROWS, 10 * count))
    sample = np.concatenate(
        [
            _scale(metric, block[-first % step :: step], origin)
            for first, block in tiles(stored, PRODUCT_ROWS)
        ]
    )
    random = np.random.default_rng(0)
    chosen = [int(random.integers(len(sample)))]
    squared = _squares(sample)
    nearest = np.full(len(sample), np.inf)
    for _ in range(count - 1):
        last = sample[chosen[-1]]
        distances = np.maximum(squared + last @ last - 2 * (sample @ last), 0.0)
        nearest = np.minimum(nearest, distances)
        total = nearest.sum()
        share = nearest / total if total > 0 else None
        chosen.append(int(random.choice(len(sample), p=share)))
    centres: Numbers = sample[chosen]
    return centres
