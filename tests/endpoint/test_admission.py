"""Admission for one process: the user's limits, the endpoint's, and the pause after a 429."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.endpoint.admission import Admission, LearnedLimits, ProcessAdmission, Ticket
from tovec.endpoint.rate_headers import Rates

SILENT = Rates()
FULL = Rates(600, 1_000_000, 600, 1_000_000, 0.0, 0.0)


def sent(one: Admission, now: float, tokens: int) -> Ticket:
    ticket = one.request(now, tokens)
    assert isinstance(ticket, Ticket)
    return ticket


def test_without_any_limit_everything_is_admitted_at_once() -> None:
    """Nothing is known of an endpoint that has not answered yet."""
    one = ProcessAdmission()
    for _ in range(1_000):
        sent(one, 0.0, 10**9)
    assert one.max_tokens is None


def test_the_users_limits_hold_from_the_first_request() -> None:
    """Requests and tokens alike, for a minute and a little more."""
    for one in (ProcessAdmission(rpm=2), ProcessAdmission(tpm=200)):
        sent(one, 0.0, 100)
        sent(one, 1.0, 100)
        assert one.request(2.0, 100) == pytest.approx(58.5)
        sent(one, 60.6, 100)


def test_tokens_are_charged_as_the_endpoint_counts_them() -> None:
    """The estimate follows the counts of the answers, never below itself where limits are known."""
    one = ProcessAdmission()
    for _ in range(40):
        one.answered(0.0, sent(one, 0.0, 100), SILENT, 100, 50)
    assert sent(one, 0.0, 100).tokens == pytest.approx(50, abs=1)
    one.answered(0.0, sent(one, 0.0, 100), FULL, 100, 50)
    assert sent(one, 0.0, 100).tokens == 100
    for _ in range(40):
        one.answered(0.0, sent(one, 0.0, 100), FULL, 100, 200)
    assert sent(one, 0.0, 100).tokens == pytest.approx(200, abs=1)
    assert one.max_tokens == pytest.approx(500_000, rel=0.01)


def test_a_count_that_cannot_be_true_moves_the_estimate_by_a_bounded_step() -> None:
    """#88: an endpoint that counts a billion tokens must not stop all requests."""
    one = ProcessAdmission()
    for _ in range(100):
        one.answered(0.0, sent(one, 0.0, 100), SILENT, 100, 10**9)
    assert sent(one, 0.0, 100).tokens <= 400


def test_refusals_of_requests_that_were_sent_together_count_as_one_burst() -> None:
    """Sixteen answers to one burst must not double the pause sixteen times."""
    one = ProcessAdmission()
    tickets = [sent(one, 1.0, 10) for _ in range(4)]
    assert [one.throttled(1.5, ticket, SILENT, None) for ticket in tickets] == [1, 1, 1, 1]
    assert one.throttled(3.0, sent(one, 2.0, 10), SILENT, None) == 2
    one.answered(4.0, sent(one, 3.5, 10), SILENT, 10, 10)
    assert one.throttled(6.0, sent(one, 5.0, 10), SILENT, None) == 1


def test_a_pause_holds_every_request_and_is_never_shortened() -> None:
    """A later refusal with a shorter wait does not take back what was promised before."""
    one = ProcessAdmission()
    one.pause_until(10.0)
    one.pause_until(5.0)
    assert one.request(4.0, 1) == one.pause(4.0) == 6.0
    sent(one, 10.0, 1)
    assert one.pause(11.0) == 0.0


def steps(limits: LearnedLimits, numbers: list[int], then: Callable[[], None]) -> list[float]:
    """Return the waits of a run in which limits are learned, used up and refused."""
    now, waits, tickets = 0.0, list[float](), list[Ticket]()
    for number in numbers:
        then()
        now += number / 7
        waits.append(limits.wait(now, number))
        if waits[-1] <= 0 or number % 3 == 0:
            tickets.append(limits.take(now, number))
        if number % 5 == 0 and tickets:
            left = max(0, 600 - number * 9)
            said = Rates(600, 6_000, left, left * 10, (600 - left) / 10, float(number % 60))
            limits.learn(now, tickets[0], said)
        if number % 11 == 0 and tickets:
            limits.throttled(now, tickets[0], SILENT, 1.0)
        if number % 2 == 0 and tickets:
            limits.end(1, tickets.pop(0).tokens)
    return waits


@given(st.lists(st.integers(0, 300), max_size=40))
def test_limits_that_were_exported_and_restored_are_the_same_limits(numbers: list[int]) -> None:
    """What one process has learned is what another one knows."""
    kept, moved = LearnedLimits(), LearnedLimits()
    assert steps(kept, numbers, lambda: None) == steps(
        moved, numbers, lambda: moved.restore(moved.export())
    )
    assert repr(kept.export()) == repr(moved.export())
