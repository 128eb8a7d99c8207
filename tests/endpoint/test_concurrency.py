"""Concurrency: how many requests may be under way, by what answers and refusals show."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from tovec.endpoint.concurrency import START_CONCURRENCY, Concurrency


def fill(slots: Concurrency) -> int:
    """Take all that is free; return how many are under way."""
    while not slots.is_full():
        slots.take()
    return slots.under_way


def round_trip(slots: Concurrency, now: float, seconds: float = 0.2, tokens: int = 100) -> int:
    """Answer all that is under way, and take all that is free then."""
    for _ in range(fill(slots)):
        slots.answered(now, seconds, tokens)
        slots.release()
    return fill(slots)


def test_it_starts_with_eight_doubles_each_round_and_ends_at_the_cap() -> None:
    """The endpoint has not objected: there is no reason to go slowly."""
    slots = Concurrency(50)
    assert fill(slots) == START_CONCURRENCY
    assert [round_trip(slots, now) for now in (1.0, 2.0, 3.0)] == [16, 32, 50]
    assert fill(Concurrency(3)) == 3


def test_a_refusal_cuts_by_a_third_once_for_all_that_were_sent_before_it() -> None:
    """Sixteen refusals of one burst are one lesson."""
    slots = Concurrency(16)
    round_trip(slots, 1.0)
    for _ in range(16):
        slots.throttled(5.0, sent_at=4.9)
        slots.release()
    assert fill(slots) == 11
    slots.throttled(8.0, sent_at=7.0)
    assert int(slots._limit) == 7


def test_after_a_cut_it_grows_by_half_a_request_a_second_at_most() -> None:
    """The endpoint has objected: the limit is looked for in small steps."""
    slots = Concurrency(64)
    round_trip(slots, 1.0)
    slots.throttled(5.0, sent_at=4.0)
    while slots.under_way:
        slots.release()
    for tenths in range(50, 151):
        round_trip(slots, tenths / 10)
    assert 11.2 + 0.5 * 9.9 < slots._limit <= 11.2 + 0.5 * 10.2


def test_answers_that_queue_at_the_endpoint_lower_the_limit_to_two() -> None:
    """Four times the fastest, and above two seconds: more under way only wait there."""
    slots = Concurrency(16)
    round_trip(slots, 1.0, seconds=0.4)
    for now in range(2, 60):
        round_trip(slots, now, seconds=0.4 * slots.under_way + 2)
    assert fill(slots) == 2


def test_one_request_probes_and_a_few_follow_when_it_succeeds() -> None:
    """#2: the endpoint is not flooded on its return."""
    slots = Concurrency(16)
    slots.probe()
    assert fill(slots) == 1
    slots.restart()
    assert fill(slots) == 2
    assert round_trip(slots, 1.0) == 4


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 60)), max_size=80), st.integers(1, 64))
def test_the_limit_is_never_below_one_nor_above_the_cap(
    events: list[tuple[int, float]], cap: int
) -> None:
    """Nothing that an endpoint does may stop all requests for good, or exceed --concurrency."""
    slots, now = Concurrency(cap), 0.0
    for kind, seconds in events:
        now += seconds
        fill(slots)
        [
            partial(slots.answered, now, seconds, 10),
            partial(slots.throttled, now, now - seconds),
            partial(slots.cut, now),
            slots.probe,
            slots.restart,
            lambda: None,
        ][kind]()
        while slots.under_way:
            slots.release()
        assert 1 <= fill(slots) <= cap
