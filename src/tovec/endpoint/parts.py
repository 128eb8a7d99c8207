"""How much one request may hold, what it is cut into when it holds more, and its parts' answer."""

from __future__ import annotations

import re

import numpy as np

from tovec.records import Answer, Limits, Request, Usage


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


def parts(request: Request, limits: Limits) -> list[Request]:
    """Return the parts of a request that is too large: as many inputs as may be, or its halves."""
    size, most = len(request), limits.items
    step = most if most is not None and most < size else -(-size // 2)
    weights = [len(one) for one in request.inputs]
    whole = sum(weights) or 1
    return [
        Request(
            request.inputs[start : start + step],
            max(1, request.tokens * sum(weights[start : start + step]) // whole),
            None if request.ordinals is None else request.ordinals[start : start + step],
        )
        for start in range(0, size, step)
    ]


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
        return found, f"{found.tokens:,} tokens"
    if re.search(r"batch|input|item|array|text", words, re.I):
        fitting = [number for number in named if 0 < number < size]
        items = max(fitting, default=max(1, size // 2))
        found = limits._replace(items=min(limits.items or items, items))
        return found, f"{found.items:,} inputs"
    half = max(1, request.tokens * 2)
    found = limits._replace(body_bytes=min(limits.body_bytes or half, half))
    return found, f"about {found.body_bytes:,} bytes"


def joined(answers: list[Answer], sizes: list[int]) -> Answer:
    """Return the answers to consecutive parts of a request as one."""
    kept: list[int] = []
    refused: list[tuple[int, str]] = []
    before = 0
    for part, size in zip(answers, sizes, strict=True):
        places = range(size) if part.kept is None else part.kept
        kept += [before + place for place in places]
        refused += [(before + place, why) for place, why in part.refused]
        before += size
    filled = [part.vectors for part in answers if len(part.vectors)] or [answers[0].vectors]
    usages = [part.usage.prompt_tokens for part in answers]
    total = None if None in usages else sum(u for u in usages if u is not None)
    return Answer(
        np.concatenate(filled),
        next((part.model for part in answers if part.model), ""),
        Usage(total, total),
        tuple(name for part in answers for name in part.request_ids),
        None if len(kept) == before else tuple(kept),
        tuple(refused),
    )
