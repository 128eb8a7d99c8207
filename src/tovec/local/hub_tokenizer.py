"""A folder's tokenizer.json, by the library `tokenizers`: neither truncated nor padded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tovec.errors import UsageError
from tovec.local.model_folder import ModelFolder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_PROMPTS = 64  # whose lengths are remembered


def missing_extra(error: ModuleNotFoundError, extra: str) -> UsageError:
    """Return the error for a library that belongs to an extra."""
    return UsageError(
        f"this needs {error.name}, which is not installed", hint=f"pip install 'tovec[{extra}]'"
    )


class HubTokenizer:
    """Texts to token ids, each text after the prompt that was asked for."""

    def __init__(self, folder: ModelFolder, extra: str, *, special_tokens: bool) -> None:
        self._folder = folder
        self._special_tokens = special_tokens
        self._tokenizer = _load(folder, extra)
        self._cached_overhead = lru_cache(MAX_PROMPTS)(self._measure_overhead)

    def overhead(self, prompt: str | None) -> int:
        """Return the tokens that a prompt and the special tokens take."""
        return self._cached_overhead(self._folder.prompt_text(prompt))

    def _measure_overhead(self, prompt: str) -> int:
        encoded = self._tokenizer.encode(prompt, add_special_tokens=self._special_tokens)
        return len(encoded.ids)

    def encode(self, texts: Sequence[str], prompt: str | None) -> list[NDArray[np.int64]]:
        """Return the token ids of each text, with the prompt and the special tokens."""
        lead = self._folder.prompt_text(prompt)
        encoded = self._tokenizer.encode_batch_fast(
            [lead + text for text in texts], add_special_tokens=self._special_tokens
        )
        return [np.array(one.ids, np.int64) for one in encoded]

    def count(self, text: str, prompt: str | None = None) -> int:
        """Return the tokens of a text, without those of the prompt and the special tokens."""
        return self.count_many([text], prompt)[0]

    def count_many(self, texts: Sequence[str], prompt: str | None = None) -> list[int]:
        """Return the tokens of each text, counted as `count` does."""
        overhead = self.overhead(prompt)
        return [max(0, len(ids) - overhead) for ids in self.encode(texts, prompt)]

    def pad_id(self) -> int:
        """Return the id that fills short texts up; it is masked, so that any would do."""
        padding = self._folder.config.get("pad_token_id")
        return padding if type(padding) is int and padding >= 0 else 0

    def vocabulary_size(self) -> int:
        """Return the number of tokens, those added included."""
        return self._tokenizer.get_vocab_size()

    def unknown_id(self) -> int | None:
        """Return the id of the token that stands for what the vocabulary lacks, if there is one."""
        table = json.loads(self._tokenizer.to_str())["model"]
        if "unk_id" in table:  # Unigram
            unknown: int | None = table["unk_id"]
            return unknown
        name = table.get("unk_token")
        return self._tokenizer.token_to_id(name) if name is not None else None


def _load(folder: ModelFolder, extra: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise missing_extra(error, extra) from None
    try:
        tokenizer = Tokenizer.from_file(str(folder.tokenizer))
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        where = str(folder.tokenizer)
        raise UsageError(f"the tokenizer cannot be loaded: {reason}", where=where) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
