"""Small integers and bits: what they stand for comes back, and other tools agree bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tovec.errors import InputError, UsageError
from tovec.formats.quantised import (
    Ranges,
    as_bits,
    as_integers,
    from_bits,
    from_integers,
    parse_scale,
    shorten,
    unit_scale,
    unsigned,
)

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 20))


def matrices(shape=SIZES, low=-1.0, high=1.0):
    return shape.flatmap(
        lambda size: hnp.arrays(np.float32, size, elements=st.floats(low, high, width=32))
    )


@given(matrices(), st.sampled_from(("int8", "uint8")))
def test_the_unit_scale_inverts_within_half_a_step(vectors, dtype):
    """#310: a stored integer without its scale stands for nothing."""
    stored = as_integers(vectors, dtype)
    assert stored.dtype == dtype
    back = from_integers(stored, unit_scale(dtype))
    assert np.abs(back - vectors).max() <= 0.5 / 127 * 1.0001
    assert np.array_equal(stored.astype(int) - 128 * (dtype == "uint8"), np.rint(vectors * 127))


@given(
    st.floats(1e-6, 1e6).flatmap(
        lambda most: matrices(low=-np.float32(most).item(), high=np.float32(most).item())
    ),
    st.sampled_from(("int8", "uint8")),
)
def test_a_scale_per_dimension_inverts_within_half_a_step(vectors, dtype):
    """A dimension that never changes has a step of 0, and comes back exactly."""
    ranges = Ranges()
    for part in np.array_split(vectors, 3):
        ranges.add(part)
    scale = parse_scale(ranges.scale(dtype).as_json(), vectors.shape[1])
    back = from_integers(as_integers(vectors, dtype, scale), scale)
    rounding = 2.0**-22 * np.abs(vectors).max()
    assert (np.abs(back - vectors) <= scale.scale / 2 * 1.001 + rounding).all()


@given(matrices(low=-3, high=3), matrices(st.just((6, 4)), -3, 3))
def test_values_outside_the_calibrated_range_are_clipped(vectors, seen):
    """sentence-transformers lets them wrap around to the other end."""
    ranges = Ranges()
    ranges.add(seen)
    scale = ranges.scale("int8")
    outside = np.full((1, 4), np.float32(1000))
    assert set(as_integers(outside, "int8", scale)[0].tolist()) <= {127, -128}
    assert (as_integers(-outside, "int8", scale) == -128).all()
    assert (as_integers(outside, "int8", scale)[0] == 127)[scale.scale > 0].all()


def test_int8_per_dimension_is_sentence_transformers_within_one():
    """Its formula truncates, where ours rounds."""
    vectors = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    least, most = vectors.min(0), vectors.max(0)
    theirs = ((vectors - least) / ((most - least) / 255) - 128).astype(np.int8)
    ranges = Ranges()
    ranges.add(vectors)
    ours = as_integers(vectors, "int8", ranges.scale("int8"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@given(st.integers(1, 9).flatmap(lambda n: matrices(st.just((3, 8 * n)))))
def test_bits_are_packed_with_the_first_dimension_in_the_top_bit(vectors):
    """#311: another order of bits is another vector; 0 is not positive."""
    stored = as_bits(vectors, "ubinary")
    first = stored[:, 0] >> 7
    assert np.array_equal(first, vectors[:, 0] > 0)
    assert np.array_equal(from_bits(stored), np.where(vectors > 0, 1, -1))
    signed = as_bits(vectors, "binary")
    assert np.array_equal(signed, (stored.astype(np.int16) - 128).astype(np.int8))
    assert np.array_equal(unsigned(signed), stored)
    assert np.array_equal(from_bits(signed), from_bits(stored))


@pytest.mark.parametrize("bad", [1.01, -2.0, float("nan"), float("inf")])
def test_a_component_beyond_one_is_refused_on_the_unit_scale(bad):
    """#312: clipped in silence it would be another vector."""
    vectors = np.array([[0.5, bad]], np.float32)
    with pytest.raises(InputError, match="beyond 1") as caught:
        as_integers(vectors, "int8")
    assert "--int8-scale dimension" in str(caught.value.hint)


def test_dimensions_that_do_not_fill_bytes_are_refused():
    """#313: padding would add dimensions that the model does not have."""
    with pytest.raises(UsageError, match="12 is not divisible by 8"):
        as_bits(np.ones((1, 12), np.float32), "ubinary")


@pytest.mark.parametrize(
    "found",
    [None, 3, {}, {"scale": 1}, {"scale": [1, 2], "offset": 0}, {"scale": "x", "offset": 0},
     {"scale": float("nan"), "offset": 0}, {"scale": [[1]], "offset": 0}],
)  # fmt: skip
def test_what_is_not_a_scale_is_not_taken_for_one(found):
    """A side file is written by anyone."""
    assert parse_scale(found, 3) is None


@given(matrices(), st.integers(1, 20))
def test_shortened_vectors_have_length_one_and_the_same_direction(vectors, dimensions):
    """Zeros stay zeros: they have no direction."""
    short = shorten(vectors, dimensions)
    lengths = np.linalg.norm(short.astype(np.float64), axis=1)
    zero = ~vectors[:, :dimensions].any(axis=1)
    assert np.allclose(lengths[~zero], 1, atol=1e-6)
    assert not short[zero].any()
    part = vectors[:, : short.shape[1]].astype(np.float64)
    assert np.allclose(short * np.linalg.norm(part, axis=1, keepdims=True), part, atol=1e-6)
