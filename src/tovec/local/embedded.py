"""The embedded model as texts meet it: tokenizer and table together, quick for one text or many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tovec.errors import UsageError
from tovec.local.model import (
    DIMENSIONS,
    MODEL_ID,
    StaticModel,
    normalise_sums,
    normalise_text,
)
from tovec.local.word_cache import TextSums, WordCache
from tovec.text import tokens

MAX_TEXT_TOKENS = 8192  # as OpenAI's models take
LONGEST_TOKEN = 128  # bytes, in cl100k: a longer text has more tokens than its bytes over this
MIN_BULK_CHARACTERS = 16_384  # in one request; below, filling the cache takes longer than it saves


class EmbeddedModel:
    """The model that the package ships."""

    id = MODEL_ID
    dimensions = DIMENSIONS
    max_text_characters = MAX_TEXT_TOKENS * LONGEST_TOKEN
    reads_cl100k = True
    prompts = False
    note = ""

    @cached_property
    def _table(self) -> StaticModel:
        return StaticModel.load()

    @cached_property
    def _words(self) -> WordCache:
        return WordCache(self._table)

    def load(self) -> None:
        """Load table and tokenizer."""
        _ = self._table
        tokens.load()

    def max_text_tokens(self, prompt: str | None = None) -> int:  # noqa: ARG002 - it has none
        """Return the tokens that a text may have."""
        return MAX_TEXT_TOKENS

    def count(self, texts: Sequence[str], prompt: str | None = None) -> list[int]:  # noqa: ARG002
        """Return the tokens of each text."""
        return tokens.count_batch(texts)

    def read(self, texts: Sequence[str], prompt: str | None = None) -> _Encoded | _Summed:
        """Return the texts as the table reads them."""
        if prompt is not None:
            raise UsageError(f"the model {MODEL_ID} has no prompts")
        if sum(map(len, texts)) >= MIN_BULK_CHARACTERS:
            return _Summed(self._words.read(texts))
        return _Encoded(self._table, texts)


class _Encoded:
    """A few texts: counted at once, looked up when their vectors are asked for."""

    def __init__(self, table: StaticModel, texts: Sequence[str]) -> None:
        self._table = table
        self._texts = texts

    @cached_property
    def counts(self) -> list[int]:
        """Return the tokens of the texts as given."""
        return tokens.count_batch(self._texts)

    def embed(self, dimensions: int) -> NDArray[np.float32]:
        """Return the vectors of the texts."""
        encoded = tokens.encode_batch([normalise_text(text) for text in self._texts])
        return self._table.embed(encoded, dimensions)


class _Summed:
    """Many texts, read through the cache of words."""

    def __init__(self, read: TextSums) -> None:
        self._sums = read.sums
        self.counts: list[int] = read.counts.tolist()

    def embed(self, dimensions: int) -> NDArray[np.float32]:
        """Return the vectors of the texts."""
        return normalise_sums(self._sums, dimensions)
