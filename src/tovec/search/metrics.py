"""Cosine, dot and Euclidean: scores of vectors with each other, in float64.

cosine and dot say how near (more is nearer), euclidean how far (less is nearer). Scores are shown
with six digits and compared with a bound as they are shown: what reads 0.950000 passes 0.95.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError, UsageError
from tovec.search.task import Metric

METRICS: tuple[str, ...] = get_args(Metric)
DIGITS = 6

MAX_LENGTH = 1e18  # of a row: above, its square and sums of it leave float32
MIN_LENGTH = 1e-15  # of a row: below, the squares of its components underflow in float32

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float32] | NDArray[np.float64]
Scores = NDArray[np.float64]


class Bound(NamedTuple):
    """Which scores pass: at least `least` (cosine, dot), at most `most` (euclidean)."""

    least: float | None = None
    most: float | None = None

    def __bool__(self) -> bool:
        return self.least is not None or self.most is not None

    def passes(self, scores: Scores) -> NDArray[np.bool_]:
        """Return which scores pass, as they are shown."""
        shown = np.round(scores, DIGITS)
        if self.least is not None:
            return np.asarray(shown >= self.least)
        if self.most is not None:
            return np.asarray(shown <= self.most)
        return np.ones(len(scores), np.bool_)

    def checked(self, metric: str) -> Bound:
        """Return the bound; UsageError for one that looks the wrong way for the metric."""
        if metric == "euclidean" and self.least is not None:
            raise UsageError(
                "--min cannot bound a Euclidean distance: smaller is nearer",
                hint="use --max DISTANCE",
            )
        if metric != "euclidean" and self.most is not None:
            raise UsageError(
                f"--max cannot bound {metric}: larger is nearer",
                hint="use --min SCORE, or --metric euclidean",
            )
        for value in self:
            if value is not None and np.isnan(value):
                raise UsageError("a bound must be a number")
        return self


def norms(vectors: Vectors) -> Scores:
    """Return each row's Euclidean length."""
    wide = vectors.astype(np.float64)
    lengths: Scores = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return lengths


def pairwise(metric: str, a: Numbers, b: Numbers) -> Scores:
    """Return the score of each row of `a` with the same row of `b`: (n,)."""
    one, other = a.astype(np.float64), b.astype(np.float64)
    scores: Scores
    if metric == "euclidean":
        difference = one - other
        scores = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    else:
        scores = np.einsum("ij,ij->i", one, other)
        if metric == "cosine":
            squares = np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", other, other)
            scores = np.clip(scores / np.sqrt(squares), -1.0, 1.0)
    return scores


def matrix(metric: str, a: Vectors, b: Vectors) -> Scores:
    """Return the score of every row of `a` with every row of `b`: (len(a), len(b))."""
    one, other = a.astype(np.float64), b.astype(np.float64)
    if metric == "cosine":
        one /= norms(a)[:, None]
        other /= norms(b)[:, None]
        return np.clip(one @ other.T, -1.0, 1.0)
    scores: Scores = one @ other.T
    if metric == "euclidean":
        squares = (norms(a) ** 2)[:, None] + (norms(b) ** 2)[None, :]
        scores = np.sqrt(np.maximum(squares - 2.0 * scores, 0.0))
    return scores


def check(vectors: Vectors, source: str, first: int = 0) -> None:
    """Raise InputError, naming the row, for a vector that has no direction or is not finite."""
    bad = ~np.isfinite(vectors).all(axis=1) | (np.abs(vectors).max(axis=1) < MIN_LENGTH)
    if bad.any():
        raise unusable(vectors[int(bad.argmax())], source, first + int(bad.argmax()))


def unusable(vector: Vectors, source: str, row: int) -> InputError:
    """Return the error for a vector that cannot be compared."""
    if not vector.any():
        what = "the vector is all zeros: it has no direction"
    elif np.isnan(vector).any():
        what = "the vector holds NaN"
    elif np.isinf(vector).any():
        what = "the vector holds infinity"
    elif np.abs(vector).max() < MIN_LENGTH:
        what = (
            f"the vector's numbers are below {MIN_LENGTH:g}: float32 cannot multiply them exactly"
        )
    else:
        what = "the vector's numbers are beyond what float32 can multiply"
    return InputError(what, where=f"{source}, row {row} (from 0)", hint="embed that row again")
