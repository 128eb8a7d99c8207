"""Answers by request become blocks again, in order, whatever the two have in common."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.formats.rows import PlainRows
from tovec.pipeline.connect import complete
from tovec.pipeline.reorder import Assembly, Prepared, mean_by_group
from tovec.records import Answer


def prepared(first: int, count: int) -> Prepared:
    texts = [f"t{i}" for i in range(first, first + count)]
    rows = PlainRows(list(range(first, first + count)), texts)
    return Prepared(texts, rows, "test", np.arange(first, first + count) + 1)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=8),
    st.lists(st.integers(1, 7), max_size=30),
    st.sets(st.integers(0, 47)),
)
def test_every_row_gets_its_own_vector_and_refused_ones_are_named(blocks, sizes, refused):
    total = sum(blocks)
    assembly = Assembly()
    first = 0
    for count in blocks:
        assembly.expect(prepared(first, count))
        first += count
    found, named, done = [], [], 0
    while done < total:
        size = min(sizes.pop() if sizes else 3, total - done)
        places = range(done, done + size)
        kept = [i for i in places if i not in refused]
        width = 2 if kept else 0
        vectors = np.array([[i, 1] for i in kept], np.float32).reshape(len(kept), width)
        answer = Answer(
            vectors,
            "m",
            kept=None if len(kept) == size else tuple(i - done for i in kept),
            refused=tuple((i - done, f"no {i}") for i in places if i in refused),
        )
        for finished in assembly.fill(answer, size):
            values = finished.vectors[:, :1].ravel()
            found += zip(finished.rows.ids("index"), values, strict=False)
            named += [line - 1 for _, line, _ in finished.refused]
        done += size
    expected = [i for i in range(total) if i not in refused]
    assert [(int(index), int(value)) for index, value in found] == [(i, i) for i in expected]
    assert named == sorted(i for i in range(total) if i in refused)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 24), st.booleans())
def test_the_head_of_a_block_has_each_row_whose_inputs_are_all_answered(groups, size, averaged):
    """#214: also where a row's vector is the mean of several inputs'."""
    total = sum(groups)
    size = min(size, total)
    block = prepared(0, total)
    if averaged:
        index = list(range(len(groups)))
        rows, lines = PlainRows(index, [str(i) for i in index]), np.array(index) + 1
        block = Prepared(block.inputs, rows, "test", lines, {"n": lines}, np.array(groups),
                         np.ones(total))  # fmt: skip
    vectors = np.arange(2 * total, dtype=np.float32).reshape(total, 2) + 1
    whole, assembly = Assembly(), Assembly()
    whole.expect(block)
    (finished,) = whole.fill(Answer(vectors, "m"), total)
    assembly.expect(block)
    if size:
        assembly.fill(Answer(vectors[:size], "m"), size)
    part = assembly.partial()
    rows = sum(np.cumsum(groups) <= size) if averaged else size
    if size == total or not rows:
        assert part is None
        return
    assert list(part.rows.index) == list(range(rows))
    assert np.array_equal(part.vectors, finished.vectors[:rows])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_a_mean_is_weighted_and_of_length_one_and_one_part_stays_as_it_is(groups, seed):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((sum(groups), 5)).astype(np.float32)
    weights = random.integers(1, 100, sum(groups)).astype(float)
    means = mean_by_group(vectors, np.array(groups), weights)
    start = 0
    for mean, size in zip(means, groups, strict=True):
        part = vectors[start : start + size].astype(float)
        if size == 1:
            assert np.array_equal(mean, vectors[start])
        else:
            exact = (part * weights[start : start + size, None]).sum(axis=0)
            assert np.allclose(mean, exact / np.linalg.norm(exact), atol=1e-5)
        start += size


def test_driving_a_coroutine_without_a_loop_gives_its_result():
    async def answer():
        return 42

    assert complete(answer()) == 42


def test_driving_a_coroutine_that_waits_is_a_bug_that_shows():
    class Wait:
        def __await__(self):
            yield

    async def wait():
        await Wait()

    with pytest.raises(AssertionError):
        complete(wait())
