"""The embedded model gives each text its own vector, whatever stands beside it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.local.model import DIMENSIONS, NO_ROW, ROWS, StaticModel, missing_rows, normalise_text
from tovec.text import tokens

MODEL = StaticModel.load()
ids = st.integers(0, tokens.VOCABULARY_SIZE - 1)
texts = st.lists(st.lists(ids, min_size=1, max_size=50), min_size=1, max_size=8)


def embed(*several: str) -> np.ndarray:
    return MODEL.embed(tokens.encode_batch([normalise_text(text) for text in several]))


@given(texts)
def test_a_vector_does_not_depend_on_the_texts_beside_it(several):
    together = MODEL.embed(several)
    alone = np.concatenate([MODEL.embed([one]) for one in several])
    assert np.array_equal(together, alone)


def test_a_vector_does_not_depend_on_where_a_large_batch_is_cut():
    random = np.random.default_rng(1)
    several = [random.integers(0, 100_000, n).tolist() for n in random.integers(1, 300, 200)]
    assert np.array_equal(MODEL.embed(several), np.vstack([MODEL.embed([one]) for one in several]))


@given(texts, st.integers(1, DIMENSIONS))
def test_every_vector_has_length_one_in_any_dimension(several, dimensions):
    vectors = MODEL.embed(several, dimensions)
    assert vectors.shape == (len(several), dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=1e-6)


@given(texts, st.integers(1, DIMENSIONS))
def test_fewer_dimensions_are_the_first_ones_normalised_again(several, dimensions):
    cut = MODEL.embed(several)[:, :dimensions].astype(float)
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    whole = lengths[:, 0] > 1e-3
    wanted = cut[whole] / lengths[whole]
    assert np.allclose(MODEL.embed(several, dimensions)[whole], wanted, atol=1e-4)


def test_a_token_without_a_row_still_gives_a_vector_of_its_own():
    unknown = np.flatnonzero(np.load(ROWS) == NO_ROW)[:50]
    vectors = MODEL.embed([[int(one)] for one in unknown])
    assert len(np.unique(vectors, axis=0)) == len(unknown)


def test_missing_rows_are_the_same_for_ever():
    assert missing_rows(np.array([0, 99]), 8).tolist() == [
        [0, -1, 0, 0, 0, -1, 1, 1],
        [0, 1, -1, 1, 1, 1, 1, -1],
    ]


@pytest.mark.parametrize("wrong", [-1, tokens.VOCABULARY_SIZE])
def test_a_token_outside_the_vocabulary_is_named_with_its_input(wrong):
    with pytest.raises(ValueError, match=f"input 1 has token {wrong}"):
        MODEL.embed([[5], [7, wrong]])


def test_an_input_without_tokens_is_named():
    with pytest.raises(ValueError, match="input 1 has no tokens"):
        MODEL.embed([[5], [], [7]])


def test_case_and_outer_space_do_not_matter():
    assert np.array_equal(embed("  Hello World\n"), embed("hello world"))


def test_near_meanings_are_nearer_than_far_ones():
    cat, kitten, bond = embed(
        "a cat sleeps on the sofa", "a kitten naps on the couch", "bond yields rose sharply"
    )
    assert cat @ kitten > 0.6 > cat @ bond + 0.3


def test_the_shipped_table_gives_the_vectors_it_always_gave():
    first = [0.2346838265657425, 0.01729249209165573, -0.10622531175613403, 0.024703560397028923]
    assert np.allclose(embed("hello world")[0, :4], first, atol=1e-7)
