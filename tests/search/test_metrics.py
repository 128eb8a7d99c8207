"""Scores against plain numpy in float64, and the bound that decides what passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tovec.errors import InputError, UsageError
from tovec.search import metrics
from tovec.search.metrics import Bound

numbers = st.floats(-100, 100, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


def plain(metric: str, a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    if metric == "euclidean":
        return float(np.linalg.norm(a - b))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) if metric == "cosine" else 1))


@pytest.mark.parametrize("metric", metrics.METRICS)
@given(arrays(np.float32, (5, 7), elements=numbers))
def test_a_matrix_and_its_pairs_are_what_numpy_gives_in_float64(metric, vectors):
    vectors[:, 0] += np.float32(101)  # no zero vector
    whole = metrics.matrix(metric, vectors, vectors)
    pairs = metrics.pairwise(metric, vectors, vectors[::-1])
    expected = np.array([[plain(metric, a, b) for b in vectors] for a in vectors])
    # Near zero a distance from squares keeps half the digits: here the lengths are about 100.
    assert np.allclose(whole, expected, rtol=1e-9, atol=1e-5 if metric == "euclidean" else 1e-6)
    assert np.allclose(pairs, np.diag(expected[:, ::-1]), rtol=1e-12, atol=1e-9)


def test_a_text_is_wholly_like_itself_and_a_score_passes_as_it_is_shown():
    vector = np.random.default_rng(0).standard_normal((50, 33)).astype(np.float32)
    scores = metrics.pairwise("cosine", vector, vector)
    assert Bound(least=1.0).passes(scores).all()
    assert Bound(least=0.95).passes(np.array([0.9499996, 0.949999])).tolist() == [True, False]
    assert Bound(most=0.5).passes(np.array([0.5000004, 0.500001])).tolist() == [True, False]


def test_a_bound_that_looks_the_wrong_way_is_refused():
    with pytest.raises(UsageError, match="--min cannot bound"):
        Bound(least=0.5).checked("euclidean")
    with pytest.raises(UsageError, match="--max cannot bound"):
        Bound(most=0.5).checked("cosine")
    with pytest.raises(UsageError, match="number"):
        Bound(least=float("nan")).checked("dot")


@pytest.mark.parametrize(
    ("bad", "words"), [(0.0, "all zeros"), (np.nan, "NaN"), (np.inf, "infinity")]
)
def test_a_vector_that_cannot_be_compared_is_named_by_its_row(bad, words):
    vectors = np.ones((9, 3), np.float32)
    vectors[4] = bad
    with pytest.raises(InputError, match=words) as raised:
        metrics.check(vectors, "x.npy", 100)
    assert "row 104" in raised.value.where
