"""A server that answers, and a job of six requests over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.injection import DIMENSIONS, Job
from tests.servers.loopback import Loopback


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(dimensions=DIMENSIONS) as running:
        yield running


@pytest.fixture
def job(tmp_path: Path, server: Loopback) -> Job:
    return Job(tmp_path, server)
