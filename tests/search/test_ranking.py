"""The nearest rows: equal to numpy in float64 and to faiss, whatever the blocks and threads."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tovec.errors import InputError
from tovec.search import metrics
from tovec.search.metrics import Bound
from tovec.search.ranking import search
from tovec.search.vector_files import open_vectors


class Rows:
    """A matrix in memory, in spans and blocks of a few rows."""

    model = provider = None
    source = "here.npy"

    def __init__(self, matrix, block=7, blocks=3, lengths=None):
        self.lengths = lengths
        self.matrix, self.block, self.step = matrix, block, block * blocks
        self.rows, self.dimensions = matrix.shape

    @property
    def spans(self):
        return range(0, self.rows, self.step)

    def blocks(self, span):
        for i in range(span, min(span + self.step, self.rows), self.block):
            yield i, self.matrix[i : min(i + self.block, span + self.step)]


def plain(matrix, queries, metric, k):
    """The same in float64, by sorting everything; ties by row."""
    scores = metrics.matrix(metric, queries, matrix)
    if metric == "euclidean":
        wide = matrix.astype(float)
        scores = np.stack([np.linalg.norm(wide - q, axis=1) for q in queries.astype(float)])
    sign = -1 if metric == "euclidean" else 1
    orders = [np.lexsort((np.arange(len(matrix)), -sign * row))[:k] for row in scores]
    return [(order, row[order]) for order, row in zip(orders, scores, strict=True)]


@pytest.mark.parametrize("metric", metrics.METRICS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("count", "dimensions", "k"), [(500, 24, 10), (3000, 3, 40), (9, 70, 50)])
def test_the_nearest_rows_are_what_sorting_in_float64_gives(metric, threads, count, dimensions, k):
    random = np.random.default_rng(count)
    matrix = random.standard_normal((count, dimensions)).astype(np.float32)
    matrix *= random.uniform(0.01, 30, (count, 1)).astype(np.float32)
    queries = random.standard_normal((4, dimensions)).astype(np.float32)
    found = search(Rows(matrix, 100), queries, metric, k=k, threads=threads)
    for hits, (rows, scores) in zip(found, plain(matrix, queries, metric, k), strict=True):
        assert hits.rows.tolist() == rows.tolist()
        assert np.abs(hits.scores - scores).max() <= 1e-6


@pytest.mark.parametrize("metric", metrics.METRICS)
@given(data=st.data(), k=st.integers(1, 12))
def test_ties_go_to_the_row_that_comes_first(metric, data, k):
    # Components from a few small integers: many rows are equal, and float64 is exact.
    elements = st.integers(-2, 2).map(float)
    matrix = data.draw(
        arrays(np.float32, st.tuples(st.integers(1, 60), st.just(3)), elements=elements)
    )
    matrix[~matrix.any(axis=1)] = (1, 0, 0)
    query = np.array([[1, 2, -1]], np.float32)
    hits = search(Rows(matrix), query, metric, k=k, threads=1)[0]
    scores = metrics.pairwise(metric, matrix, np.repeat(query, len(matrix), 0))
    near = -scores if metric == "euclidean" else scores
    expected = np.lexsort((np.arange(len(matrix)), -near))[:k]
    assert hits.rows.tolist() == expected.tolist()


@pytest.mark.parametrize("metric", metrics.METRICS)
@given(
    seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-3, 1.0, 40.0]), k=st.integers(1, 40)
)
def test_rows_of_lengths_that_the_file_says_give_the_same(metric, seed, size, k):
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((400, 5))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    matrix = (matrix * size * random.uniform(1, 1.0009, (400, 1))).astype(np.float32)
    matrix[random.integers(0, 400, 200)] = matrix[7]  # ties
    queries = random.standard_normal((2, 5)).astype(np.float32)
    lengths = metrics.norms(matrix)
    known = Rows(matrix, 50, lengths=(float(lengths.min()), float(lengths.max())))
    for bound in (Bound(), Bound(most=1.2) if metric == "euclidean" else Bound(least=0.1)):
        expected = search(Rows(matrix, 50), queries, metric, k=k, bound=bound)
        for found, wanted in zip(
            search(known, queries, metric, k=k, bound=bound), expected, strict=True
        ):
            assert found.rows.tolist() == wanted.rows.tolist()
            assert np.array_equal(found.scores, wanted.scores)


def test_rows_of_other_lengths_than_the_file_says_are_refused():
    matrix = np.ones((300, 4), np.float32)
    query = np.ones((1, 4), np.float32)
    assert len(search(Rows(matrix, 100, lengths=(2.0, 2.0)), query, "cosine", k=3)[0].rows) == 3
    matrix[150:] = 0.4
    with pytest.raises(InputError, match=r"not match .*: row 164 .* has length 0\.8") as raised:
        search(Rows(matrix, 100, lengths=(2.0, 2.0)), query, "cosine", k=1, threads=1)
    assert raised.value.where == "here.npy.json"


def test_lengths_that_differ_are_measured():
    matrix = np.float32([[3, 0.1], [0.5, 0]])
    hits = search(Rows(matrix, lengths=(0.5, 3.01)), np.float32([[1, 0]]), "cosine", k=1)[0]
    assert hits.rows.tolist() == [1]


def test_a_million_equal_rows_are_a_tie_too():
    matrix = np.broadcast_to(np.float32([0.6, 0.8]), (100_000, 2))
    hits = search(Rows(matrix, 4096), np.float32([[1, 1]]), "cosine", k=5)[0]
    assert hits.rows.tolist() == [0, 1, 2, 3, 4]


def test_rows_that_come_nearer_and_nearer_are_all_found():
    angle = np.linspace(1.5, 0.1, 50_000)
    matrix = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    hits = search(Rows(matrix, 10_000), np.float32([[1, 0]]), "cosine", k=3)[0]
    assert hits.rows.tolist() == [49_999, 49_998, 49_997]


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_scores_of_unit_vectors_equal_faiss_exact_index(metric):
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    random = np.random.default_rng(3)
    matrix = random.standard_normal((20_000, 96)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    queries = matrix[:50] + random.standard_normal((50, 96)).astype(np.float32) / 20
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(96)
    index.add(matrix)
    scores, rows = index.search(queries, 10)
    found = search(Rows(matrix, 1024), queries, metric, k=10)
    assert [hits.rows.tolist() for hits in found] == rows.tolist()
    assert np.abs(np.stack([hits.scores for hits in found]) - scores).max() <= 1e-6


def test_distances_equal_faiss_exact_index():
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    random = np.random.default_rng(4)
    matrix = random.standard_normal((20_000, 32)).astype(np.float32)
    index = faiss.IndexFlatL2(32)
    index.add(matrix)
    squares, rows = index.search(matrix[:20] + 1, 7)
    found = search(Rows(matrix, 999), matrix[:20] + 1, "euclidean", k=7)
    assert [hits.rows.tolist() for hits in found] == rows.tolist()
    assert np.allclose(np.stack([hits.scores for hits in found]) ** 2, squares, rtol=1e-5)


def test_a_bound_without_a_number_gives_all_that_pass():
    matrix = np.float32([[1, 0], [0.8, 0.6], [0, 1], [-1, 0], [0.95, 0.3]])
    query = np.float32([[2, 0]])
    near = search(Rows(matrix, 2), query, "cosine", bound=Bound(least=0.8))[0]
    assert near.rows.tolist() == [0, 4, 1]
    far = search(Rows(matrix, 2), np.float32([[1, 0]]), "euclidean", bound=Bound(most=0.64))[0]
    assert far.rows.tolist() == [0, 4, 1]
    none = search(Rows(matrix, 2), query, "dot", k=3, bound=Bound(least=2.1))[0]
    assert none.rows.tolist() == []


def test_a_row_is_no_hit_of_itself():
    matrix = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    found = search(Rows(matrix), matrix[[7, 9]], "cosine", k=49, skip=np.array([7, 9]))
    assert [len(hits.rows) for hits in found] == [49, 49]
    assert 7 not in found[0].rows and 9 not in found[1].rows


@pytest.mark.parametrize(
    ("bad", "words"),
    [(0.0, "all zeros"), (np.nan, "NaN"), (np.inf, "infinity"), (1e30, "beyond what float32")],
)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("lengths", [None, (0.5, 2.0), (2.0, 2.0)])
def test_the_first_vector_that_cannot_be_compared_is_named(bad, words, threads, lengths):
    matrix = np.ones((300, 4), np.float32)
    matrix[[123, 250]] = bad
    rows = Rows(matrix, lengths=lengths if bad != 1e30 else None)  # else float32 can multiply it
    with pytest.raises(InputError, match=words) as raised:
        search(rows, np.ones((1, 4), np.float32), "cosine", k=1, threads=threads)
    assert raised.value.where == "here.npy, row 123 (from 0)"


def test_the_speed_does_without_vecdot(monkeypatch):
    matrix = np.random.default_rng(1).standard_normal((500, 8)).astype(np.float32)
    expected = search(Rows(matrix), matrix[:1], "cosine", k=9)[0]
    monkeypatch.delattr(np, "vecdot", raising=False)
    found = search(Rows(matrix), matrix[:1], "cosine", k=9)[0]
    assert found.rows.tolist() == expected.rows.tolist()
    assert np.array_equal(found.scores, expected.scores)


def test_more_queries_than_fit_together_are_looked_at_in_parts(monkeypatch):
    monkeypatch.setattr("tovec.search.ranking.PRODUCTS", 100)
    matrix = np.random.default_rng(1).standard_normal((200, 5)).astype(np.float32)
    found = search(Rows(matrix, 50), matrix, "cosine", k=1)
    assert [hits.rows[0] for hits in found] == list(range(200))


def test_blocks_of_a_file_are_read_as_they_are(tmp_path):
    matrix = np.random.default_rng(2).standard_normal((100, 6)).astype(np.float32)
    np.save(tmp_path / "m.npy", matrix)
    corpus = open_vectors.open_stored(str(tmp_path / "m.npy"))
    hits = search(corpus, matrix[40:41], "cosine", k=1)[0]
    assert (hits.rows.tolist(), hits.scores.round(6).tolist()) == ([40], [1.0])


@pytest.mark.parametrize("metric", metrics.METRICS)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(-44, 37),
    spread=st.integers(0, 6),
    query=st.integers(-44, 37),
    told=st.booleans(),
)
@example(1, -20, 0, 0, True)
@example(1, -18, 0, 0, False)
@example(1, 0, 6, -42, False)
@example(1, 18, 1, 18, True)
def test_rows_of_any_size_are_ranked_as_in_float64_or_named(
    metric, seed, rows, spread, query, told
):
    """#238: no score is wrong, and no row is lost, where float32 leaves its range."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** (rows - random.integers(0, spread + 1, (60, 1)))
    with np.errstate(over="ignore"):
        matrix = (random.standard_normal((60, 5)) * sizes).astype(np.float32)
        queries = (random.standard_normal((1, 5)) * 10.0**query).astype(np.float32)
    lengths = metrics.norms(matrix)
    sides = (float(lengths.max()), float(lengths.max()) * 1.0001) if told and not spread else None
    if told and not spread:  # all of one length, as the file says
        matrix = (matrix / lengths[:, None] * sides[0]).astype(np.float32)
    try:
        hits = search(Rows(matrix, 20, lengths=sides), queries, metric, k=7)[0]
    except InputError as error:
        assert "row" in error.where or "does not match" in error.what
        assert min(rows - spread, query) < -13 or max(rows, query) > 15
        return
    ((_, scores),) = plain(matrix, queries, metric, 7)
    size = 1.0 if metric == "cosine" else max(np.abs(scores).max(), 1e-300)
    assert np.abs(hits.scores - scores).max() <= 1e-6 * size


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_rows_too_small_to_multiply_are_named(metric):
    """#253: the squares of components near 1e-18 underflow, and scores would be wrong."""
    matrix = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    for scale, fine in ((1e-12, True), (1e-18, False), (1e-25, False)):
        tiny = matrix.copy()
        tiny[17] *= np.float32(scale)
        if fine:
            metrics.check(tiny, "f")
            continue
        with pytest.raises(InputError, match="are below 1e-15") as caught:
            metrics.check(tiny, "f")
        assert "row 17" in caught.value.where
        with pytest.raises(InputError, match="are below 1e-15"):
            search(Rows(tiny, 16), matrix[:1], metric, k=3)
