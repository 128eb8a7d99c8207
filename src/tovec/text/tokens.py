"""Token counting offline: cl100k_base, from the vocabulary shipped in the package.

Every function equals tiktoken's `encode_ordinary` on any text: special-token strings count as the
plain text they are. tiktoken takes 120 ms to load and does the bulk; a few short ASCII texts, as
typed at a terminal, are merged here in pure Python from the same ranks (`_encode_short`), which
takes a few milliseconds.

Source: the vocabulary and its splitting pattern are those of tiktoken's `cl100k_base`; byte pair
encoding is Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units".
"""

from __future__ import annotations

import itertools
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

VOCABULARY = Path(__file__).parent / "data" / "cl100k_base.tiktoken"
VOCABULARY_SIZE = 100_256

PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
# The same pattern where every character is ASCII; \Z because Python's $ also stands before a
# last newline.
_ASCII_PATTERN = (
    PATTERN.replace(r"\p{L}\p{N}", "A-Za-z0-9")
    .replace(r"\p{L}", "[A-Za-z]")
    .replace(r"\p{N}", "[0-9]")
    .replace("$", r"\Z")
)
_TOKEN_CHARACTERS = 6  # of a token, more than the average in any language
_SHORT_CHARACTERS = 2_000  # in all, for the pure-Python path: below 10 ms of work
_SEARCHES = 40  # half a millisecond each, until building the table is cheaper
_SHORT_PIECE = 64  # merging one piece is quadratic in its length


@cache
def _ranks() -> dict[bytes, int]:
    # The file's lines are "base64-of-token rank", ranks from 0 without a gap.
    tokens = VOCABULARY.read_bytes().split()[::2]
    return dict(zip(map(a2b_base64, tokens), range(len(tokens)), strict=True))


@cache
def _encoding() -> tiktoken.Encoding:
    import tiktoken

    return tiktoken.Encoding(
        "cl100k_base", pat_str=PATTERN, mergeable_ranks=_ranks(), special_tokens={}
    )


@cache
def _ascii_pieces() -> re.Pattern[str]:
    return re.compile(_ASCII_PATTERN, re.ASCII)


def encode(text: str) -> list[int]:
    """Return the text's token ids."""
    return encode_batch([text])[0]


def encode_batch(texts: Sequence[str]) -> list[list[int]]:
    """Return each text's token ids."""
    return _encode_short(texts) or [_encoding().encode_ordinary(text) for text in texts]


def count(text: str) -> int:
    """Count the text's tokens."""
    return len(encode(text))


def count_batch(texts: Sequence[str]) -> list[int]:
    """Count each text's tokens."""
    return [len(tokens) for tokens in encode_batch(texts)]


def decode_bytes(tokens: Sequence[int]) -> bytes:
    """Return the bytes that the tokens stand for; they may begin or end inside a character."""
    return _encoding().decode_bytes(tokens)


def prefix(text: str, start: int, limit: int) -> int:
    """Return where a stretch from `start` with at most `limit` tokens ends, as far as it can.

    It never ends inside a character, and has more than `limit` tokens with the next one.
    """
    window = _TOKEN_CHARACTERS * limit
    ids = encode(text[start : start + window])
    while len(ids) <= limit and start + window < len(text):  # long tokens, such as spaces
        window *= 4
        ids = encode(text[start : start + window])
    if len(ids) <= limit:
        return len(text)
    while len(ids) > limit:  # cut short, a text may have more tokens than it had before
        kept = decode_bytes(ids[:limit]).decode(errors="ignore")
        ids = encode(kept)
    end = start + len(kept)
    # A character that several tokens share with what follows it may be a single one at the end.
    while end < len(text) and count(text[start : end + 1]) <= limit:
        end += 1
    return end


def suffix(text: str, end: int, limit: int) -> int:
    """Return the start of a stretch that ends at `end` and has about `limit` tokens."""
    window = text[max(0, end - _TOKEN_CHARACTERS * limit) : end]
    return end - len(decode_bytes(encode(window)[-limit:]).decode(errors="ignore"))


def load() -> None:
    """Load tiktoken now, for work that is sure to need it (a warm server, a bulk run)."""
    _encoding()


def _encode_short(texts: Sequence[str]) -> list[list[int]] | None:
    """Encode a few short ASCII texts, or give None where tiktoken is the better tool."""
    if (
        len(texts) > _SHORT_CHARACTERS
        or _encoding.cache_info().currsize
        or sum(map(len, texts)) > _SHORT_CHARACTERS
        or not all(map(str.isascii, texts))
    ):
        return None
    find = _ascii_pieces().findall
    pieces: list[list[str]] = [find(text) for text in texts]
    if any(len(piece) > _SHORT_PIECE for one in pieces for piece in one):
        return None
    ranks = _FewRanks()
    return [[t for piece in one for t in _merge(piece.encode(), ranks)] for one in pieces]


class _FewRanks:
    """The ranks, searched for in the file: quicker than to build the table, for a few of them."""

    def __init__(self) -> None:
        self._searches = _SEARCHES
        self._file = b"\n" + VOCABULARY.read_bytes()

    def get(self, token: bytes, default: int) -> int:
        if not self._searches:
            return _ranks().get(token, default)
        self._searches -= 1
        line = b"\n%b " % b2a_base64(token, newline=False)
        start = self._file.find(line)
        if start < 0:
            return default
        start += len(line)
        return int(self._file[start : self._file.index(b"\n", start)])


def _merge(piece: bytes, ranks: _FewRanks) -> list[int]:
    whole = ranks.get(piece, -1)
    if whole >= 0:
        return [whole]
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 1:
        pairs = [ranks.get(a + b, VOCABULARY_SIZE) for a, b in itertools.pairwise(parts)]
        lowest = min(pairs)
        if lowest == VOCABULARY_SIZE:
            break
        i = pairs.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [ranks.get(part, -1) for part in parts]
