"""Sums of the words that many texts share: how the embedded model reads texts in bulk.

A word is what stands between two spaces, with no white space at its ends. Whatever its neighbours
are, cl100k splits before the space in front of it: a text's tokens are those of " " + word, one
word after the other, and the first of two spaces is a token of its own. So a word's token count and
the sum of its rows are found once, and then a text costs a look-up and an addition per word. Words
not seen before are tokenized together, text by text; a text with white space at its ends, or beside
a space, is tokenized as a whole. Sums are whole numbers: the vectors are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.local.model import DIMENSIONS, StaticModel, normalise_text
from tovec.text import tokens

MAX_WORDS = 49_152  # 24 MiB of sums
MAX_WORD_CHARACTERS = 32  # at most 129 tokens of at most 127 each: a word's sum fits int16
MAX_SEEN_ONCE = 65_536  # words
LOOK_UP_TEXTS = 64  # whose words are taken apart at once: they stay in the processor's cache
UNKNOWN = -1  # the id of a word that is not cached
EMPTY_WORD = 0  # its id: what stands between two spaces in a row


class TextSums(NamedTuple):
    """The sum of each text's rows, and the token count of each text as given."""

    sums: NDArray[np.int32]
    counts: NDArray[np.int64]


class _Words(NamedTuple):
    """The words of several texts, one text after the other, by their ids."""

    ids: NDArray[np.intp]  # UNKNOWN for a word that is not cached
    starts: list[int]  # of each text
    ends: list[int]
    first: list[str]  # the first word of each text
    unknown: list[str]  # those of UNKNOWN, in order


class _Unknown(NamedTuple):
    """What is to be tokenized, by text: the unknown words of some, the whole of others."""

    words: Mapping[int, list[str]]
    whole: Sequence[int]


class WordCache:
    """The words that were seen more than once; emptied when it is full. A lock guards it."""

    def __init__(self, model: StaticModel, max_words: int = MAX_WORDS) -> None:
        self._model = model
        self._max_words = max_words
        self._lock = Lock()
        self._ids: dict[str, int] = {}
        self._seen_once: set[str] = set()
        self._sums = np.empty((max_words, DIMENSIONS), np.int16)
        self._counts = np.empty(max_words + 1, np.int64)  # the last for words that are unknown
        self._counts[-1] = 0
        self._first: dict[str, int] = {}  # tokens that a text's first word has more, or fewer
        self._store([""])

    def read(self, texts: Sequence[str]) -> TextSums:
        """Return the sums of the normalised texts, and the token counts of the texts as given."""
        with self._lock:
            found = self._look_up(texts)
            unknown = _unknown(found)
            result = TextSums(self._add_up(found), self._count(found))
            self._count_first_words(found, unknown.whole, result.counts)
            self._tokenize(unknown, texts, result)
            self._learn(unknown.words)
        return result

    def _look_up(self, texts: Sequence[str]) -> _Words:
        lengths = np.fromiter((text.count(" ") + 1 for text in texts), np.int64, len(texts))
        ends = np.cumsum(lengths).tolist()
        starts = [0, *ends[:-1]]
        found, first, unknown = [], [], []
        for batch in range(0, len(texts), LOOK_UP_TEXTS):
            words = " ".join(texts[batch : batch + LOOK_UP_TEXTS]).split(" ")
            ids = np.fromiter(map(self._ids.get, words, repeat(UNKNOWN)), np.intp, len(words))
            found.append(ids)
            offset = starts[batch]
            first += [words[start - offset] for start in starts[batch : batch + LOOK_UP_TEXTS]]
            unknown += [words[place] for place in np.flatnonzero(ids == UNKNOWN).tolist()]
        return _Words(np.concatenate(found), starts, ends, first, unknown)

    def _add_up(self, found: _Words) -> NDArray[np.int32]:
        sums = np.empty((len(found.ends), DIMENSIONS), np.int32)
        for text, (start, end) in enumerate(zip(found.starts, found.ends, strict=True)):
            ids = found.ids[start:end]
            if found.unknown:
                ids = ids[ids != UNKNOWN]
            np.add.reduce(self._sums.take(ids, axis=0), axis=0, dtype=np.int32, out=sums[text])
        return sums

    def _count(self, found: _Words) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = np.add.reduceat(self._counts[found.ids], found.starts)
        return counts

    def _count_first_words(
        self, found: _Words, whole: Sequence[int], counts: NDArray[np.int64]
    ) -> None:
        """Correct the counts: no space stands in front of a text's first word."""
        first = found.first.copy()
        for text in whole:
            first[text] = ""
        new = list({word for word in first if word not in self._first})
        if len(self._first) + len(new) > self._max_words:
            self._first.clear()
            new = list(set(first))
        bare, spaced = (tokens.count_batch([lead + word for word in new]) for lead in ("", " "))
        self._first.update(zip(new, (np.subtract(bare, spaced)).tolist(), strict=True))
        counts += np.fromiter(map(self._first.__getitem__, first), np.int64, len(first))

    def _tokenize(self, unknown: _Unknown, texts: Sequence[str], result: TextSums) -> None:
        """Add what the cache does not know; a whole text replaces what was found of it."""
        result.sums[unknown.whole] = 0
        result.counts[unknown.whole] = 0
        places = [*unknown.words, *unknown.whole]
        if not places:
            return
        given = [" " + " ".join(words) for words in unknown.words.values()]
        lowered = [text.lower() for text in given]
        given += [texts[text] for text in unknown.whole]
        lowered += [normalise_text(texts[text]) for text in unknown.whole]
        sums, counts = self._measure(lowered, given)
        result.sums[places] += sums
        result.counts[places] += counts

    def _measure(
        self, normalised: Sequence[str], given: Sequence[str]
    ) -> tuple[NDArray[np.int32], list[int]]:
        """Return the sums of normalised texts, and the token counts of the texts as given."""
        encoded = tokens.encode_batch(normalised)
        counts = list(map(len, encoded))
        other = [i for i, text in enumerate(given) if text != normalised[i]]
        recounted = tokens.count_batch([given[i] for i in other])
        for i, count in zip(other, recounted, strict=True):
            counts[i] = count
        return self._model.sums(encoded), counts

    def _learn(self, unknown: Mapping[int, list[str]]) -> None:
        """Take in the words that are seen for a second time."""
        again: dict[str, None] = {}
        for word in chain.from_iterable(unknown.values()):
            if len(word) > MAX_WORD_CHARACTERS:
                continue
            if word in self._seen_once:
                again[word] = None
            else:
                self._seen_once.add(word)
        if len(self._seen_once) > MAX_SEEN_ONCE:
            self._seen_once.clear()
        words = list(again)[: self._max_words - 1]
        if not words:
            return
        self._seen_once.difference_update(words)
        if len(self._ids) + len(words) > self._max_words:
            self._ids.clear()
            self._store([""])
        self._store(words)

    def _store(self, words: Sequence[str]) -> None:
        given = [" " + word for word in words]
        sums, counts = self._measure([text.lower() for text in given], given)
        start, end = len(self._ids), len(self._ids) + len(words)
        self._sums[start:end] = sums
        self._counts[start:end] = counts
        self._ids.update(zip(words, range(start, end), strict=True))


def _unknown(found: _Words) -> _Unknown:
    places = np.flatnonzero(found.ids == UNKNOWN)
    words: dict[int, list[str]] = {}
    for text, word in zip(_texts_of(places, found), found.unknown, strict=True):
        words.setdefault(text, []).append(word)
    whole = set(_texts_with_odd_spaces(found))
    whole.update(
        text
        for text, several in words.items()
        if list(map(str.strip, several)) != several
        # A long first word is not worth the two counts that it takes.
        or len(found.first[text]) > MAX_WORD_CHARACTERS
    )
    rest = {text: several for text, several in words.items() if text not in whole}
    return _Unknown(rest, sorted(whole))


def _texts_with_odd_spaces(found: _Words) -> list[int]:
    """Return the texts that have a space at an end, or more than two spaces in a row."""
    empty = found.ids == EMPTY_WORD
    if not empty.any():
        return []
    odd = empty.copy()
    odd[1:] &= empty[:-1]
    edges = [*found.starts, *(end - 1 for end in found.ends)]
    odd[edges] = empty[edges]
    return _texts_of(np.flatnonzero(odd), found)


def _texts_of(places: NDArray[np.intp], found: _Words) -> list[int]:
    texts: list[int] = np.searchsorted(found.ends, places, side="right").tolist()
    return texts
