"""Cutting long texts: each chunk fits a number of tokens and ends at the best place that does.

The best place is the last end of a paragraph in the second half of what fits, else of a sentence or
line, else of a word, else of a token (never inside a character). White space belongs to the chunk
before it, nothing is trimmed, and a chunk of white space alone is left out, because no endpoint
takes one: all else of the text is in a chunk, and text[chunk.start:chunk.end] is what is embedded.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tovec.text import tokens

MIN_CHUNK_TOKENS = 8  # a character has up to four
ASSUMED_BYTES = 2  # a token is taken to have at least so many bytes where the tokenizer is unknown

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCE = re.compile(r"[.!?…][\"')\]}”’»]*\s+|[。！？][」』”’]*\s*|\n\s*")  # noqa: RUF001 - as written
_WORD = re.compile(r"\s+")


class Measure(NamedTuple):
    """How the tokens of a text are counted.

    `prefix(text, start, limit)` returns the end of a stretch from `start` that has at most `limit`
    tokens, and with one more character has more; `suffix(text, end, limit)` about the start of the
    longest that ends there.
    """

    count: Callable[[str], int]
    prefix: Callable[[str, int, int], int]
    suffix: Callable[[str, int, int], int]


class Chunk(NamedTuple):
    """A stretch of a text, in characters, and its tokens."""

    start: int
    end: int
    tokens: int


EXACT = Measure(tokens.count, tokens.prefix, tokens.suffix)


def _assumed(text: str) -> int:
    return -(-len(text.encode()) // ASSUMED_BYTES)


def _assumed_prefix(text: str, start: int, limit: int) -> int:
    size = limit * ASSUMED_BYTES
    kept = text[start : start + size].encode()[:size]
    return start + len(kept.decode(errors="ignore"))


def _assumed_suffix(text: str, end: int, limit: int) -> int:
    size = limit * ASSUMED_BYTES
    kept = text[max(0, end - size) : end].encode()[-size:]
    return end - len(kept.decode(errors="ignore"))


ASSUMED = Measure(_assumed, _assumed_prefix, _assumed_suffix)
"""For a model whose tokenizer is not known: cautious for all but texts of odd characters."""


def measure_of(count: Callable[[str], int] | None) -> Measure:
    """Return the measure of a tokenizer that can only count; None is one that is not known."""
    if count is None:
        return ASSUMED
    return EXACT if count == tokens.count else _by_counting(count)


def _by_counting(count: Callable[[str], int]) -> Measure:
    """Return a measure that searches for a stretch's other end."""

    def longest(most: int, limit: int, stretch: Callable[[int], str]) -> int:
        """Return a length that fits, of which one character more does not."""
        fits, over = 0, min(most, limit) + 1
        while over <= most and count(stretch(over)) <= limit:
            fits, over = over, 2 * over
        over = min(over, most + 1)
        while over - fits > 1:
            middle = (fits + over) // 2
            if count(stretch(middle)) <= limit:
                fits = middle
            else:
                over = middle
        return fits

    def prefix(text: str, start: int, limit: int) -> int:
        def stretch(length: int) -> str:
            return text[start : start + length]

        return start + longest(len(text) - start, limit, stretch)

    def suffix(text: str, end: int, limit: int) -> int:
        return end - longest(end, limit, lambda length: text[end - length : end])

    return Measure(count, prefix, suffix)


def split(text: str, size: int, overlap: int, measure: Measure) -> list[Chunk]:
    """Return a text's chunks: at most `size` tokens each, about `overlap` shared by neighbours.

    `size` is at least MIN_CHUNK_TOKENS, `overlap` at most half of it.
    """
    chunks: list[Chunk] = []
    start = done = 0  # `done`: where the chunk before ended
    while done < len(text):
        end, count = _end(text, start, done, size, measure)
        if end <= done:  # the overlap left no room for anything new
            start = done
            continue
        if not text[start:end].isspace():
            chunks.append(Chunk(start, end, count))
        start = _next_start(text, start, end, overlap, measure) if overlap else end
        done = end
    return chunks


def split_tokens(ids: Sequence[int], size: int, overlap: int) -> list[Chunk]:
    """Return the chunks of an array of tokens; start and end count tokens."""
    starts = range(0, max(len(ids) - overlap, 1), size - overlap)
    ends = [min(start + size, len(ids)) for start in starts]
    return [Chunk(start, end, end - start) for start, end in zip(starts, ends, strict=True)]


def _end(text: str, start: int, done: int, size: int, measure: Measure) -> tuple[int, int]:
    """Return the best end of a chunk, and its tokens."""
    furthest = measure.prefix(text, start, size)
    if furthest < len(text):
        earliest = max(done, start + (furthest - start) // 2)
        for end in _boundaries(text, earliest, furthest):
            count = measure.count(text[start:end])
            if count <= size:  # a text cut short may have more tokens than the longer one
                return end, count
    return furthest, measure.count(text[start:furthest])


def _boundaries(text: str, earliest: int, furthest: int) -> Iterator[int]:
    for pattern in (_PARAGRAPH, _SENTENCE, _WORD):
        yield from (one.end() for one in deque(pattern.finditer(text, earliest, furthest), 1))


def _next_start(text: str, start: int, end: int, overlap: int, measure: Measure) -> int:
    """Return where the next chunk begins, after the start of this one and not after its end."""
    first = measure.suffix(text, end, overlap)
    if first <= start:
        return end
    for pattern, last in ((_SENTENCE, (first + end) // 2), (_WORD, end)):
        found = pattern.search(text, first, last)
        if found is not None and found.end() < end:
            return found.end()
    return first
