"""Packing never exceeds a limit, keeps order, and loses nothing."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tovec.pipeline.packing import GATE_BYTES, Packer, utf8_bytes
from tovec.records import Limits, Request

texts = st.lists(st.text(min_size=1, max_size=40), max_size=60)
limits = st.builds(
    Limits,
    items=st.one_of(st.none(), st.integers(1, 20)),
    tokens=st.one_of(st.none(), st.integers(1, 200)),
    item_tokens=st.none(),
    body_bytes=st.one_of(st.none(), st.integers(1, 400)),
)


def pack(blocks: list[list[str]], limits: Limits, **options) -> list[Request]:
    packer = Packer(lambda: limits, **options)
    requests = [request for block in blocks for request in packer.add(block)]
    return requests + packer.flush()


@given(st.lists(texts, max_size=4), limits, st.integers(1, 30))
def test_every_input_is_sent_once_in_order(blocks, limits, target):
    requests = pack(blocks, limits, target=target)
    assert [t for r in requests for t in r.inputs] == [t for b in blocks for t in b]


@given(st.lists(texts, max_size=4), limits, st.integers(1, 30), st.booleans())
def test_no_request_exceeds_a_limit_unless_one_input_does_alone(blocks, limits, target, exact):
    count = (lambda texts: [max(1, len(t) // 3) for t in texts]) if exact else None
    for request in pack(blocks, limits, target=target, count=count):
        size = sum(utf8_bytes(request.inputs))
        tokens = sum(count(request.inputs)) if count else size
        assert len(request) <= min(target, limits.items or target)
        if len(request) > 1:
            assert limits.tokens is None or tokens <= limits.tokens
            assert limits.tokens is None or size <= limits.tokens * GATE_BYTES
            assert limits.body_bytes is None or size <= limits.body_bytes
        assert request.tokens == -(-size // GATE_BYTES)


@given(st.lists(texts, max_size=4), limits, st.integers(1, 30))
def test_no_request_has_room_for_the_next_input(blocks, limits, target):
    requests = pack(blocks, limits, target=target)
    for request, following in itertools.pairwise(requests):
        both = [*request.inputs, following.inputs[0]]
        size = sum(utf8_bytes(both))
        assert (
            len(both) > min(target, limits.items or target)
            or (limits.tokens is not None and size > limits.tokens)
            or (limits.body_bytes is not None and size > limits.body_bytes)
        )


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=30), max_size=30))
def test_token_arrays_are_packed_by_their_length(arrays):
    requests = pack([arrays], Limits(tokens=50))
    assert [a for r in requests for a in r.inputs] == arrays
    assert all(sum(map(len, r.inputs)) <= 50 for r in requests if len(r) > 1)
    assert all(r.tokens == sum(map(len, r.inputs)) for r in requests)


def test_a_limit_learned_in_between_holds_for_the_next_request():
    current = Limits(items=10)
    packer = Packer(lambda: current)
    assert [len(r) for r in packer.add(["x"] * 25)] == [10, 10]
    current = Limits(items=2)
    assert [len(r) for r in packer.flush()] == [2, 2, 1]
