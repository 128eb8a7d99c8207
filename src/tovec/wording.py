"""Words that messages share."""

from __future__ import annotations


def count_phrase(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 row", "1,024 rows"; `plural` where it is not noun + s."""
    return f"1 {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
