"""What a model in this process can do; `local.responder` puts the endpoint's API before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ReadTexts(Protocol):
    """Texts as a model has read them, to be counted before the vectors are computed."""

    @property
    def counts(self) -> list[int]:
        """Return the tokens of each text, without prompt and special tokens."""
        ...

    def embed(self, dimensions: int) -> NDArray[np.float32]:
        """Return the vectors, one row per text."""
        ...


class LocalModel(Protocol):
    """A model in this process. It is used by several threads at once."""

    @property
    def id(self) -> str:
        """Return the name that tells it from every other model and version."""
        ...

    @property
    def dimensions(self) -> int:
        """Return the dimensions of a whole vector; fewer are its first ones, normalised again."""
        ...

    @property
    def max_text_characters(self) -> int | None:
        """Return the length over which a text is sure to have too many tokens."""
        ...

    @property
    def reads_cl100k(self) -> bool:
        """Return whether token ids are those of cl100k_base."""
        ...

    @property
    def note(self) -> str:
        """Return what a user should know of how the model is read; "" for nothing."""
        ...

    @property
    def prompts(self) -> bool:
        """Return whether a prompt may stand before the texts."""
        ...

    def max_text_tokens(self, prompt: str | None = None) -> int:
        """Return the tokens that a text may have beside the prompt and special tokens."""
        ...

    def count(self, texts: Sequence[str], prompt: str | None = None) -> list[int]:
        """Return the tokens of each text, without prompt and special tokens."""
        ...

    def read(self, texts: Sequence[str], prompt: str | None = None) -> ReadTexts:
        """Return the texts as the model reads them. Raises UsageError for an unknown prompt."""
        ...

    def load(self) -> None:
        """Load everything now, for a server or a bulk run that is sure to need it."""
        ...
