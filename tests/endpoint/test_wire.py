"""The wire format: right rows or a BadAnswer, and never a wrong vector."""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tovec.endpoint import wire
from tovec.endpoint.refusal import BadAnswer
from tovec.records import Usage

VECTORS = np.arange(1, 13, dtype=np.float32).reshape(4, 3) / 7


def item(i: int, *, text: bool = True) -> dict[str, Any]:
    row = VECTORS[i]
    coded = base64.b64encode(row.tobytes()).decode() if text else row.tolist()
    return {"object": "embedding", "index": i, "embedding": coded}


def answer(data: object, **more: object) -> bytes:
    return orjson.dumps({"object": "list", "data": data, "model": "m", **more})


@pytest.mark.parametrize(
    ("inputs", "fields", "golden"),
    [
        (
            ["a", "ü"],
            {"model": "m", "encoding_format": "base64"},
            '{"input":["a","ü"],"model":"m","encoding_format":"base64"}',
        ),
        ([[1, 2], [3]], {"model": "m"}, '{"input":[[1,2],[3]],"model":"m"}'),
        (
            ["a"],
            {"model": "m", "dimensions": None, "user": None, "input_type": "passage"},
            '{"input":["a"],"model":"m","input_type":"passage"}',
        ),
    ],
)
def test_a_request_is_written_to_the_byte_as_documented_and_holds_no_null(
    inputs: Any, fields: dict[str, object], golden: str
) -> None:
    assert wire.encode(inputs, fields).decode() == golden


@given(order=st.permutations(range(4)), text=st.booleans())
def test_rows_stand_where_their_index_says_whatever_their_order(
    order: list[int], text: bool
) -> None:
    """#29"""
    found = wire.decode(answer([item(i, text=text) for i in order]), 4)
    assert found.vectors.tolist() == VECTORS.tolist()
    assert found.vectors.dtype == np.float32
    assert found.vectors.flags.c_contiguous


@given(picks=st.lists(st.integers(0, 3), max_size=6))
def test_anything_but_each_row_once_is_refused(picks: list[int]) -> None:
    """#31 #32 #33"""
    if sorted(picks) == [0, 1, 2, 3]:
        return
    with pytest.raises(BadAnswer):
        wire.decode(answer([item(i) for i in picks]), 4)


@pytest.mark.parametrize("text", [True, False])
def test_an_answer_cut_at_any_byte_is_refused(text: bool) -> None:
    """#15"""
    whole = answer([item(i, text=text) for i in range(4)], usage={"prompt_tokens": 1})
    for end in range(len(whole)):
        with pytest.raises(BadAnswer):
            wire.decode(whole[:end], 4)


@settings(max_examples=300)
@given(where=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_refusal_or_vectors_of_the_right_shape(
    where: int, byte: int
) -> None:
    whole = bytearray(answer([item(i, text=False) for i in range(4)]))
    whole[where % len(whole)] = byte
    try:
        found = wire.decode(whole, 4).vectors
    except BadAnswer:
        return
    assert found.shape == (4, 3)
    assert np.isfinite(found).all()
    assert found.any(axis=1).all()


def test_answers_without_any_index_are_taken_in_order() -> None:
    """#30"""
    data = [{k: v for k, v in item(i).items() if k != "index"} for i in range(4)]
    assert wire.decode(answer(data), 4).vectors.tolist() == VECTORS.tolist()


@pytest.mark.parametrize("bad", [None, True, "1", 1.0, -1, 4, "digits"])
def test_an_index_that_is_no_place_is_refused(bad: object) -> None:
    """#31 #52"""
    text = orjson.dumps(bad) if bad != "digits" else b"1" * 5_000
    body = answer([item(0), {**item(1), "index": "HERE"}, item(2), item(3)])
    with pytest.raises(BadAnswer, match=r"index|JSON"):
        wire.decode(body.replace(b'"HERE"', text), 4)


@pytest.mark.parametrize(
    "embedding",
    [
        [],
        None,
        {},
        [None, 1, 2],
        [True, 1.0, 2.0],
        ["1", "2", "3"],
        [[1, 2, 3]],
        "[1,2,3]",
        [1, 2],  # ragged
        [1e39, 1, 1],  # beyond float32
        [0, 0, 0],
        "AAAA",  # three bytes
        "AAAAAAAA\nAAAA",
        "____AAAAAAAAAAAA",  # url-safe
        base64.b64encode(struct.pack("<3f", 1, float("nan"), 1)).decode(),
        base64.b64encode(struct.pack("<3f", 1, float("inf"), 1)).decode(),
        base64.b64encode(struct.pack("<3d", 1, 2, 3)).decode(),
        base64.b64encode(bytes(12)).decode(),
    ],
)
def test_an_embedding_that_is_none_is_refused_among_good_ones(embedding: object) -> None:
    """#37 #38 #39 #41 #43 #44 #45"""
    with pytest.raises(BadAnswer):
        wire.decode(answer([item(0), {**item(1), "embedding": embedding}]), 2)


@pytest.mark.parametrize(
    "literal", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"null", b"0x1", b"01"]
)
def test_a_literal_that_json_does_not_know_is_refused(literal: bytes) -> None:
    """#37 #38"""
    with pytest.raises(BadAnswer):
        wire.decode(b'{"data":[{"index":0,"embedding":[1.0,' + literal + b"]}]}", 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"data":null}',
        b'{"data":{}}',
        b'{"data":[]}',
        b'{"data":[1]}',
        b"{} {}",
        b"[" * 1_000_000,
        '{"data":[]}'.encode("utf-16"),
        b'{"data":[{"embedding":"\xff"}]}',
    ],
)
def test_a_body_that_is_no_answer_is_refused(body: bytes) -> None:
    """#34 #48 #49 #51"""
    with pytest.raises(BadAnswer):
        wire.decode(body, 1)


def test_an_html_page_is_known_as_no_endpoint_at_all() -> None:
    """#25"""
    with pytest.raises(BadAnswer, match="HTML") as caught:
        wire.decode(b"\n<!doctype html><title>Log in</title>", 1)
    assert caught.value.foreign


def test_small_numbers_and_minus_zero_keep_their_bits() -> None:
    """#38"""
    row = np.array([1e-45, -0.0, 1.0], np.float32)
    data = [{"embedding": base64.b64encode(row.tobytes()).decode()}]
    assert wire.decode(answer(data), 1).vectors.tobytes() == row.tobytes()


def test_a_byte_order_mark_is_no_error() -> None:
    """#48"""
    assert wire.decode(b"\xef\xbb\xbf" + answer([item(0)]), 1).vectors.shape == (1, 3)


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 5)),
        ({"total_tokens": 10}, Usage(10, 10)),  # Nugen
        ({"prompt_tokens": -1, "total_tokens": "5"}, Usage()),
        ({"prompt_tokens": True}, Usage()),
        ({"prompt_tokens": 10**16}, Usage()),
        (None, Usage()),
        ([1], Usage()),
    ],
)
def test_usage_is_believed_only_where_it_can_be_true(said: object, usage: Usage) -> None:
    """#47"""
    assert wire.decode(answer([item(0)], usage=said), 1).usage == usage


def test_nugens_shape_and_the_meta_of_ai_ml_api_are_answers_too() -> None:
    nugen = {
        "id": "embed-abc123xyz",
        "object": "embedding",
        "data": [{"embedding": [0.5, 0.25], "index": 0}],
        "model": "m",
        "created": 1705329600.0,
        "usage": {"total_tokens": 10},
        "meta": {"usage": {"credits_used": 1}},
    }
    found = wire.decode(orjson.dumps(nugen), 1)
    assert (found.vectors.tolist(), found.usage.prompt_tokens) == ([[0.5, 0.25]], 10)


@given(
    st.integers(1, 8), st.sampled_from([16, 64, 768]), st.floats(0.2, 1), st.integers(0, 2**32 - 1)
)
def test_float64_taken_for_float32_is_suspected_and_float32_is_not(
    rows: int, width: int, scale: float, seed: int
) -> None:
    """#44"""
    true = np.random.default_rng(seed).standard_normal((rows, width)) * scale / width**0.5
    single = np.ascontiguousarray(true.astype(np.float32))
    assert not wire.like_float64(single)
    assert wire.like_float64(np.ascontiguousarray(single.astype("<f8")).view(np.float32))


@pytest.mark.parametrize("dimensions", [1, 2, 65_536])
def test_any_number_of_dimensions_is_taken_up_to_a_bound(dimensions: int) -> None:
    """#41"""
    row = base64.b64encode(np.ones(dimensions, "<f4").tobytes()).decode()
    data = [{"index": i, "embedding": row} for i in range(2)]
    assert wire.decode(answer(data), 2).vectors.shape == (2, dimensions)
    more = base64.b64encode(np.ones(65_537, "<f4").tobytes()).decode()
    with pytest.raises(BadAnswer, match="65,537 dimensions"):
        wire.decode(answer([{"index": 0, "embedding": more}]), 1)


def test_of_a_field_that_stands_twice_the_last_counts() -> None:
    """#50: as in every other reader of JSON; an index is still checked."""
    rows = [orjson.dumps(VECTORS[i].tolist()).decode() for i in range(2)]
    twice = '{"data":[{"index":9,"index":1,"embedding":%s},{"index":0,"embedding":%s}]}'
    found = wire.decode((twice % (rows[1], rows[0])).encode(), 2)
    assert found.vectors.tolist() == VECTORS[:2].tolist()
    with pytest.raises(BadAnswer, match="index"):
        wire.decode((twice.replace('9,"index":1', '1,"index":9') % (rows[1], rows[0])).encode(), 2)


def test_a_depth_bomb_takes_no_memory() -> None:
    """#51"""
    import tracemalloc

    bomb = b'{"data":' + b"[" * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(BadAnswer):
            wire.decode(bomb, 1)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
