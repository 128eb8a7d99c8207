"""Words that messages share."""

from __future__ import annotations

import time


def count_phrase(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 row", "1,024 rows"; `plural` where it is not noun + s."""
    return f"1 {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"


def rfc3339(seconds: float | None = None) -> str:
    """Return a time, in seconds since the epoch, or now, as RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
