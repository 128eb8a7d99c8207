"""Every fault of the catalogue has its tests, or the reason why it can have none."""

from __future__ import annotations

import pytest
from tools import faults

CATALOGUE = faults.catalogue()
TESTS = faults.marked()


def test_the_catalogue_has_every_number_once() -> None:
    numbers = [one.number for one in CATALOGUE]
    assert len(set(numbers)) == len(numbers)
    assert set(range(1, 191)) <= set(numbers)  # later ones are given out in ranges


@pytest.mark.parametrize("one", CATALOGUE, ids=lambda one: str(one.number))
def test_a_fault_has_tests_or_a_reason_and_not_both(one: faults.Fault) -> None:
    tests = TESTS.get(one.number, [])
    assert bool(tests) != bool(one.reason), f"{one.fault}: {tests or 'neither'}"
    assert one.fault and one.promise


def test_no_test_carries_a_number_that_no_fault_has() -> None:
    assert set(TESTS) <= {one.number for one in CATALOGUE}


def test_at_least_150_faults_have_tests() -> None:
    assert sum(bool(TESTS.get(one.number)) for one in CATALOGUE) >= 150


def test_a_mark_counts_in_a_docstring_or_a_comment_of_the_test_alone() -> None:
    source = '''
# #1: not in a test
def test_one():
    """#2 and #3."""
    do("#4")  # #5


@parametrize(
    [6],  # #6
)
def test_two():
    return None


def helper():
    """#7"""
'''
    found = {name: sorted(faults._MARK.findall(words)) for name, words in faults._tests(source)}
    assert found == {"test_one": ["2", "3", "5"], "test_two": ["6"]}
