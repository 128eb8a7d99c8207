"""How much one request may hold, and what refusals teach of it."""

from __future__ import annotations

import re

from tovec.records import Limits, Request
from tovec.wording import count_phrase


def fits(request: Request, limits: Limits, most_tokens: float | None) -> bool:
    """Return whether a request is within the endpoint's limits, and `most_tokens` at any time.

    A single input cannot be made smaller, so it is tried whatever one request may hold.
    """
    if most_tokens is not None and request.tokens > most_tokens:
        return False
    if limits.items is not None and len(request) > limits.items:
        return False
    if len(request) == 1:
        return True
    too_many = limits.tokens is not None and request.tokens > limits.tokens
    too_large = limits.body_bytes is not None and request.tokens * 4 > limits.body_bytes
    return not too_many and not too_large


def learned(request: Request, limits: Limits, words: str) -> tuple[Limits, str]:
    """Return the limits that a refusal for size teaches, and which one, in words.

    A number that the endpoint names counts, if it is less than the request had; else half of that.
    """
    size = len(request)
    named = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", words)]
    if re.search(r"token", words, re.I):
        fitting = [number for number in named if 0 < number < request.tokens]
        tokens = max(fitting, default=max(1, request.tokens // 2))
        found = limits._replace(tokens=min(limits.tokens or tokens, tokens))
        return found, count_phrase(found.tokens or 0, "token")
    if re.search(r"batch|input|item|array|text", words, re.I):
        fitting = [number for number in named if 0 < number < size]
        items = max(fitting, default=max(1, size // 2))
        found = limits._replace(items=min(limits.items or items, items))
        return found, count_phrase(found.items or 0, "input")
    half = max(1, request.tokens * 2)
    found = limits._replace(body_bytes=min(limits.body_bytes or half, half))
    return found, f"about {count_phrase(found.body_bytes or 0, 'byte')}"
