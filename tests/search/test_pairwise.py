"""Rows with each other, against the same by brute force in float64, over several tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.search.test_ranking import Rows

from tovec.errors import InputError
from tovec.search import metrics, pairwise
from tovec.search.metrics import Bound


@pytest.fixture(params=[(8, 3), (2048, 1 << 20)], autouse=True)
def _small_tiles(request, monkeypatch):
    """Many tiles, which do not fall together with the blocks, and one tile for all."""
    monkeypatch.setattr(pairwise, "PRODUCT_ROWS", request.param[0])
    monkeypatch.setattr(pairwise, "TILE_BYTES", 4 * 5 * request.param[0] * request.param[1])


def rows_of(count=90, seed=0):
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((count, 5)).astype(np.float32)
    return matrix * random.uniform(0.5, 2, (count, 1)).astype(np.float32)


def brute(metric, matrix):
    """All pairs of different rows, nearest first: (score, row, other)."""
    count = len(matrix)
    pairs = [
        (float(metrics.pairwise(metric, matrix[i : i + 1], matrix[j : j + 1])[0]), i, j)
        for i in range(count)
        for j in range(i + 1, count)
    ]
    sign = 1 if metric == "euclidean" else -1
    return sorted(pairs, key=lambda one: (sign * one[0], *one[1:]))


def listed(found):
    return list(zip(found.earlier.tolist(), found.later.tolist(), strict=True))


@pytest.mark.parametrize("metric", metrics.METRICS)
@pytest.mark.parametrize("block", [7, 90])
def test_near_pairs_are_those_of_brute_force(metric, block):
    matrix = rows_of()
    expected = brute(metric, matrix)
    cut = round(expected[60][0], 6)
    bound = Bound(most=cut) if metric == "euclidean" else Bound(least=cut)
    passing = [
        one for one in expected if (round(one[0], 6) <= cut) == (metric == "euclidean")
        or round(one[0], 6) == cut
    ]  # fmt: skip
    everything = pairwise.near_pairs(metric, Rows(matrix, block), bound, None)
    nearest = pairwise.near_pairs(metric, Rows(matrix, block), Bound(), 25)
    both = pairwise.near_pairs(metric, Rows(matrix, block), bound, 25)
    assert listed(everything) == [(i, j) for _, i, j in passing]
    assert listed(nearest) == listed(both) == [(i, j) for _, i, j in expected[:25]]
    assert np.allclose(everything.scores, [score for score, _, _ in passing], atol=1e-12)


def test_equal_rows_are_pairs_once_each_in_the_order_of_rows():
    matrix = np.ones((20, 5), np.float32)
    found = pairwise.near_pairs("cosine", Rows(matrix), Bound(least=1.0), None)
    assert listed(found) == [(i, j) for i in range(20) for j in range(i + 1, 20)]
    few = pairwise.near_pairs("cosine", Rows(matrix), Bound(), 3)
    assert listed(few) == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_the_nearest_other_row_is_that_of_brute_force(metric):
    matrix = rows_of()
    nearest, scores = pairwise.nearest_others(metric, Rows(matrix))
    for row in range(len(matrix)):
        score, one, other = next(p for p in brute(metric, matrix) if row in p[1:])
        assert nearest[row] == (other if one == row else one)
        assert abs(scores[row] - score) <= 1e-6


def test_a_single_row_has_no_neighbour():
    nearest, scores = pairwise.nearest_others("cosine", Rows(rows_of(1)))
    assert nearest.tolist() == [-1] and np.isnan(scores).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_diversity_is_the_mean_distance_of_all_pairs(metric):
    matrix = rows_of()
    scores = np.array([score for score, _, _ in brute(metric, matrix)])
    distances = scores if metric == "euclidean" else 1 - scores
    assert abs(pairwise.diversity(metric, Rows(matrix)) - distances.mean()) <= 1e-6


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_clusters_that_lie_apart_are_found_the_largest_first(metric):
    random = np.random.default_rng(5)
    centres = 10 * np.eye(5, dtype=np.float32)[:3]
    belongs = np.repeat([0, 1, 2], [20, 50, 30])
    random.shuffle(belongs)
    matrix = centres[belongs] + random.standard_normal((100, 5)).astype(np.float32) / 5
    labels, scores = pairwise.clusters(metric, Rows(matrix), 3)
    assert labels.tolist() == np.array([2, 0, 1])[belongs].tolist()
    means = np.stack([matrix[belongs == i].astype(float).mean(axis=0) for i in range(3)])
    if metric == "euclidean":
        expected = np.linalg.norm(matrix - means[belongs], axis=1)
    else:
        unit = matrix / np.linalg.norm(matrix.astype(float), axis=1, keepdims=True)
        means = np.stack([unit[belongs == i].mean(axis=0) for i in range(3)])
        expected = (unit * means[belongs]).sum(1) / np.linalg.norm(means[belongs], axis=1)
    assert np.abs(scores - expected).max() <= 1e-6


def test_clustering_ends_with_every_row_at_its_nearest_centre_and_is_repeatable():
    matrix = rows_of(300)
    labels, scores = pairwise.clusters("cosine", Rows(matrix, 40), 7)
    again, _ = pairwise.clusters("cosine", Rows(matrix, 300), 7)
    assert labels.tolist() == again.tolist()
    assert sorted(np.bincount(labels), reverse=True) == np.bincount(labels).tolist()
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    sums = np.stack([unit[labels == i].sum(axis=0) for i in range(7)])
    near = unit @ (sums / np.linalg.norm(sums, axis=1, keepdims=True)).T
    assert (near.max(axis=1) - near[np.arange(300), labels] <= 1e-5).all()
    assert np.abs(near[np.arange(300), labels] - scores).max() <= 1e-5


def test_more_clusters_than_rows_or_than_different_rows_are_no_problem():
    assert pairwise.clusters("cosine", Rows(rows_of(3)), 9)[0].tolist() == [0, 1, 2]
    labels, _ = pairwise.clusters("euclidean", Rows(np.ones((6, 5), np.float32)), 4)
    assert labels.tolist() == [0] * 6


@pytest.mark.parametrize("work", ["near_pairs", "nearest_others", "diversity", "clusters"])
def test_a_row_that_cannot_be_compared_is_named(work):
    matrix = rows_of()
    matrix[41, 2] = np.nan
    more = {"near_pairs": (Bound(), 3), "clusters": (2,)}.get(work, ())
    with pytest.raises(InputError, match="NaN") as raised:
        getattr(pairwise, work)("cosine", Rows(matrix), *more)
    assert "row 41" in raised.value.where


# Numbers -----------------------------------------------------------------------------------------

SHAPES = st.tuples(st.integers(2, 60), st.integers(1, 16))


@st.composite
def close_rows(draw):
    """Return rows that are near each other, far from the origin, or equal: what loses digits."""
    rows, dimensions = draw(SHAPES)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.0, 1e-4, 1e-2, 1.0]))
    offset = draw(st.sampled_from([1.0, 10.0, 1000.0]))
    groups = draw(st.integers(1, 4))
    centres = offset * random.standard_normal((groups, dimensions))
    matrix = centres[random.integers(groups, size=rows)]
    return (matrix + spread * random.standard_normal(matrix.shape)).astype(np.float32)


def distances_of(matrix):
    wide = matrix.astype(np.float64)
    found = np.linalg.norm(wide[:, None] - wide[None, :], axis=-1)
    np.fill_diagonal(found, np.inf)
    return found


@given(close_rows())
def test_distances_keep_their_digits(matrix):
    """#252: |a|^2 + |b|^2 - 2ab in float32 has none left where rows are near each other."""
    stored, exact = Rows(matrix, 7), distances_of(matrix)
    tolerance = 1e-7 * np.abs(matrix).max()
    pairs = len(matrix) * (len(matrix) - 1)
    mean = exact[np.isfinite(exact)].sum() / pairs
    assert abs(pairwise.diversity("euclidean", stored) - mean) <= tolerance
    nearest, scores = pairwise.nearest_others("euclidean", stored)
    assert np.allclose(scores, exact.min(axis=1), atol=tolerance, rtol=0)
    assert np.allclose(scores, exact[np.arange(len(matrix)), nearest], atol=1e-12, rtol=1e-12)
    found = pairwise.near_pairs("euclidean", stored, Bound(), 5)
    assert np.allclose(found.scores, np.sort(exact, axis=None)[: 2 * len(found.scores) : 2],
                       atol=tolerance, rtol=0)  # fmt: skip


@given(close_rows(), st.integers(1, 4))
def test_a_row_is_in_the_cluster_of_its_nearest_centre(matrix, count):
    """#252"""
    labels, scores = pairwise.clusters("euclidean", Rows(matrix, 7), count)
    wide = matrix.astype(np.float64)
    centres = np.stack([wide[labels == label].mean(axis=0) for label in np.unique(labels)])
    away = np.linalg.norm(wide[:, None] - centres[None, :], axis=-1)
    mine = away[np.arange(len(wide)), np.searchsorted(np.unique(labels), labels)]
    tolerance = 1e-6 * np.abs(matrix).max()
    assert np.all(mine <= away.min(axis=1) + tolerance)
    assert np.allclose(scores, mine, atol=tolerance)


def test_a_cluster_of_rows_equal_to_the_origin_has_its_centre_there():
    """Distances are measured from the first row: a centre at 0 is as good as any other."""
    matrix = np.array([[1.0, 2.0]] * 5 + [[4.0, 6.0], [4.0, 6.5]], np.float32)
    labels, scores = pairwise.clusters("euclidean", Rows(matrix, 7), 2)
    assert labels.tolist() == [0] * 5 + [1] * 2
    assert np.allclose(scores, [0.0] * 5 + [0.25] * 2)


def test_equal_rows_are_at_no_distance():
    """#252"""
    stored = Rows(np.full((50, 3), 1234.567, np.float32), 7)
    assert pairwise.diversity("euclidean", stored) == 0.0
    assert np.all(pairwise.nearest_others("euclidean", stored)[1] == 0.0)
    assert np.all(pairwise.clusters("euclidean", stored, 2)[1] == 0.0)


@pytest.mark.parametrize("run", ["near_pairs", "nearest_others", "diversity", "clusters"])
def test_progress_goes_up_to_all_rows(run):
    """A comparison of 100,000 rows takes half a minute."""
    stored, told = Rows(rows_of(), 7), []
    more = {"near_pairs": (Bound(), 3), "clusters": (1,)}.get(run, ())
    getattr(pairwise, run)("euclidean", stored, *more, told.append)
    assert told == sorted(told) or run == "clusters"
    assert told[-1] == 90
