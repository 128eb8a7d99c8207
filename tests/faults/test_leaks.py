"""What a job holds open stays the same; `python -m tests.faults.leaks 10000` looks longer."""

from __future__ import annotations

import pytest
from tests.faults import leaks
from tests.servers.loopback import Loopback


def test_descriptors_tasks_and_objects_stay_flat_over_answers_and_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """#26 #129: the first look comes after everything has been used once."""
    monkeypatch.setattr("tovec.endpoint.retry_budget.PROBE_SECONDS", (0.001,))
    with Loopback(dimensions=16, faults=leaks.FAULTS, keep_bodies=False) as server:
        looks = list(leaks.looked_at(600, 4, server.base_url))
    first, last = looks[1], looks[-1]
    # The server is in this process: it holds a connection's other end, and its ledger an entry.
    assert last.descriptors <= first.descriptors + 2 * leaks.CONCURRENCY
    assert last.tasks <= first.tasks + leaks.CONCURRENCY
    assert last.objects - first.objects < 10 * (last.requests - first.requests)
