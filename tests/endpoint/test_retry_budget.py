"""The retry budget: when one request probes for all, and when trouble has lasted too long."""

from __future__ import annotations

import pytest

from tovec.endpoint.retry_budget import MAX_RETRIES, PROBE_SECONDS, RetryBudget


def proven(seconds: float = 900.0) -> RetryBudget:
    budget = RetryBudget(seconds)
    budget.recovered(0.0)
    return budget


def test_the_fifth_failure_in_a_row_opens_the_circuit() -> None:
    """#2: four may be chance."""
    budget = proven()
    assert [budget.failed(now, now - 0.5, 1) for now in (1.0, 2.0, 3.0, 4.0, 5.0)] == [
        *[False] * 4,
        True,
    ]
    assert budget.recovered(6.0)
    assert not budget.recovered(7.0)
    assert not budget.failed(8.0, 7.5, 1)


def test_what_was_sent_before_the_circuit_opened_says_nothing_new() -> None:
    """Its failures must not lengthen the pause before the next probe."""
    budget = proven()
    for now in range(1, 6):
        budget.failed(now, now - 0.5, 1)
    assert not any(budget.failed(6.0, 4.9, 1) for _ in range(10))
    assert budget.probe_seconds == PROBE_SECONDS[0]


def test_each_failed_probe_lengthens_the_next_pause_up_to_a_minute() -> None:
    """#24: an endpoint that is down for long is asked once a minute."""
    budget, seconds = proven(), list[float]()
    for now in range(1, 15):
        if budget.failed(now, now - 0.5, 0):
            seconds.append(budget.probe_seconds)
    assert seconds == [5, 10, 20, 40, *[60] * 6]


def test_before_any_success_one_failure_opens_it_and_bursts_are_tries() -> None:
    """#1: tries are counted for the run, not for each of the eight requests of the first burst."""
    budget = RetryBudget(900.0)
    assert all(budget.failed(1.0 + i / 100, 0.5, 1) for i in range(8))
    assert budget.tries == 1
    budget.throttled(3.0, 2.0)
    assert budget.tries == 2
    budget.recovered(4.0)
    budget.failed(6.0, 5.0, 1)
    assert budget.tries == 2


def test_a_tenth_of_the_requests_may_be_retries_in_the_long_run() -> None:
    """A spent budget opens the circuit at the next failure."""
    budget = proven()
    for now in range(100):
        budget.failed(now, now - 0.5, 1)
        budget.recovered(now)
    assert budget.left == 0
    assert budget.failed(200.0, 199.0, 1)
    for _ in range(10):
        budget.succeeded()
    assert budget.left == pytest.approx(1.0)
    for _ in range(10_000):
        budget.succeeded()
    assert budget.left == MAX_RETRIES


def test_trouble_is_measured_from_its_first_failure() -> None:
    """`tail -f` of a quiet file is no trouble."""
    budget = proven(60.0)
    assert not budget.is_exhausted(36_000.0)
    budget.throttled(36_000.0, 35_999.0)
    budget.failed(36_030.0, 36_029.0, 1)
    assert budget.failing_seconds(36_050.0) == 50.0
    assert not budget.is_exhausted(36_060.0)
    assert budget.is_exhausted(36_061.0)
    budget.recovered(36_061.0)
    assert not budget.is_exhausted(36_100.0)


def test_a_success_ends_the_pause_of_an_open_circuit() -> None:
    """A request that was under way shows that the endpoint is back."""
    budget = RetryBudget(900.0)
    budget.failed(1.0, 0.5, 1)
    budget.pause_until(30.0)
    budget.recovered(2.0)
    assert budget.paused_until == 2.0
