"""SECURITY.md names a test for each promise, and each test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
PROMISES = [line for line in LINES if line.startswith("| ") and "promise |" not in line]
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
TESTS = set(re.findall(r"^def (test_\w+)", SOURCES, re.M))


@pytest.mark.parametrize("line", PROMISES, ids=lambda line: line[2:40])
def test_a_promise_is_kept_by_tests_that_are_there(line: str) -> None:
    named = re.findall(r"`(test_\w+)`", line)
    assert named
    assert set(named) <= TESTS


def test_there_are_promises_of_each_kind() -> None:
    assert len(PROMISES) > 15
    assert {line for line in LINES if line.startswith("### ")} == {
        "### Keys", "### Network", "### Files", "### Terminal",
    }  # fmt: skip
