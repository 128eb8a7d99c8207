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
        """Return the tokens of each text, as a bill counts them."""
        ...

    def embed(self, dimensions: int) -> NDArray[np.float32]:
        """Return the vectors, one row per text."""
        ...


class LocalModel(Protocol):
    """A model in this process. It is used by several threads at once."""

    def read(self, texts: Sequence[str]) -> ReadTexts:
        """Return the texts as the model reads them."""
        ...

    def load(self) -> None:
        """Load everything now, for a server or a bulk run that is sure to need it."""
        ...
