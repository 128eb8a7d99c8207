"""A corpus on a plane: principal components of its rows, for a picture.

Mean and covariance come from all rows, in two passes; a large corpus is drawn by an even sample
of its rows. Source: Pearson (1901), "On lines and planes of closest fit".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tovec.search import metrics
from tovec.search.metrics import Scores
from tovec.search.pairwise import PRODUCT_ROWS, tiles
from tovec.search.vector_files.stored import Stored, Vectors

MAX_DRAWN_ROWS = 5_000  # rows in a picture, beside the hits


class Plane(NamedTuple):
    """The two directions in which the rows differ most; `share` is their part of the variance."""

    metric: str
    mean: Scores
    axes: Scores  # (dimensions, 2)
    share: tuple[float, float]

    def points(self, vectors: Vectors) -> Scores:
        """Return vectors' places on the plane: (n, 2)."""
        placed: Scores = (_at_length_1(self.metric, vectors) - self.mean) @ self.axes
        return placed


def fit_plane(metric: str, stored: Stored) -> Plane:
    """Return the plane of the rows' first two principal components; cosine takes length 1."""
    total = np.zeros(stored.dimensions)
    for _, block in tiles(stored, PRODUCT_ROWS):
        total += _at_length_1(metric, block).sum(axis=0)
    mean = total / stored.rows
    scatter = np.zeros((stored.dimensions, stored.dimensions))
    for _, block in tiles(stored, PRODUCT_ROWS):
        centred = _at_length_1(metric, block) - mean
        scatter += centred.T @ centred
    values, vectors = np.linalg.eigh(scatter)
    axes = np.zeros((stored.dimensions, 2))
    found = vectors[:, ::-1][:, :2]
    # A sign that does not depend on the arithmetic library: the largest component is positive.
    found = found * np.sign(found[np.abs(found).argmax(axis=0), range(found.shape[1])])
    axes[:, : found.shape[1]] = found
    whole = max(float(values.sum()), np.finfo(float).tiny)
    shares = [*(values[::-1][:2] / whole).tolist(), 0.0]
    return Plane(metric, mean, axes, (shares[0], shares[1]))


def sample_points(stored: Stored, on: Plane) -> Scores:
    """Return the places of up to MAX_DRAWN_ROWS rows, evenly over the file."""
    step = -(-stored.rows // MAX_DRAWN_ROWS)
    return np.concatenate(
        [on.points(block[-first % step :: step]) for first, block in tiles(stored, PRODUCT_ROWS)]
    )


def _at_length_1(metric: str, block: Vectors) -> Scores:
    wide = block.astype(np.float64)
    return wide / metrics.norms(block)[:, None] if metric == "cosine" else wide
