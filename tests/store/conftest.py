"""What the tests of stored jobs share."""

import pytest

from tovec.store import log as logs
from tovec.store.filesystem import RealFileSystem


@pytest.fixture
def quick(monkeypatch):
    """Take what takes the time away; what a power cut leaves is the crash model's subject."""
    monkeypatch.setattr(logs, "RESERVE_BYTES", 64)
    monkeypatch.setattr(RealFileSystem, "sync", lambda *_args, **_more: None)
