"""What an answer's headers say of rates: how long to wait, what is allowed, what is left.

All are optional, none is trusted blindly, and what cannot be read is as if it were not there.
Source: RFC 9110 (Retry-After), OpenAI's rate-limit guide (x-ratelimit-*, durations as `6m0s`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|h|m|s|d)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_ASKED = re.compile(
    r"(?:try again|retry)\w* (?:in|after) "
    r"((?:[0-9.]+ ?(?:seconds?|minutes?|hours?|days?|[hmsd]+))+)",
    re.I,
)
_EPOCH = 1e9  # a bare number this large is a time, not a wait


class Rates(NamedTuple):
    """Limits a minute and what is left of them; resets in seconds from now. None: not said."""

    limit_requests: int | None = None
    limit_tokens: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests: float | None = None
    reset_tokens: float | None = None


def number(text: str | None) -> float | None:
    """Return a plain non-negative decimal; float() would also take inf, 1_0 and other digits."""
    text = (text or "").strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def duration(text: str | None, now: float) -> float | None:
    """Return seconds from `6m0s`, `20ms`, `7.66s`, a number of seconds, or an epoch time."""
    text = (text or "").strip()
    plain = number(text)
    if plain is not None:
        return plain if plain < _EPOCH else max(0.0, plain - now)
    parts = _PART.findall(text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return _until(text, now)
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that the endpoint asks to wait; `now` is the epoch time of this machine.

    A date is taken against the answer's own Date where it has one: clocks differ.
    """
    exact = number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    said = headers.get("retry-after")
    plain = number(said)
    if plain is not None:
        return plain
    there = _epoch(headers.get("date"))
    return _until(said, now if there is None else there)


def wait_in(message: str) -> float | None:
    """Return the seconds that an error's words ask for: "try again in 6m0s", "retry after 20 s"."""
    found = _ASKED.search(message)
    if found is None:
        return None
    return duration(re.sub(r" ?(second|minute|hour|day)s?", _initial, found[1].lower()), 0.0)


def rates(headers: Mapping[str, str], now: float) -> Rates:
    """Return what the x-ratelimit-* headers say."""

    def whole(name: str) -> int | None:
        value = number(headers.get(f"x-ratelimit-{name}"))
        return None if value is None else int(value)

    return Rates(
        whole("limit-requests") or None,
        whole("limit-tokens") or None,
        whole("remaining-requests"),
        whole("remaining-tokens"),
        duration(headers.get("x-ratelimit-reset-requests"), now),
        duration(headers.get("x-ratelimit-reset-tokens"), now),
    )


def _initial(word: re.Match[str]) -> str:
    return word[1][0]


def _until(text: str | None, now: float) -> float | None:
    then = _epoch(text)
    return None if then is None else max(0.0, then - now)


def _epoch(text: str | None) -> float | None:
    if not text:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
