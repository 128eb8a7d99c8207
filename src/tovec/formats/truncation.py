"""A writer before another one: vectors are truncated and normalised again on their way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tovec.errors import UsageError
from tovec.formats.protocols import VectorMeta, Writer
from tovec.formats.quantised import shorten
from tovec.wording import count_phrase

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tovec.records import Rows


class TruncatingWriter:
    """Hands rows on with the first `dimensions` of their vectors.

    `make` makes the writer behind it, when the dimensions that the model gives are known.
    """

    def __init__(
        self, make: Callable[[VectorMeta], Writer], meta: VectorMeta, dimensions: int
    ) -> None:
        self._make = make
        self._meta = meta
        self._dimensions = dimensions
        self._writer: Writer | None = None

    def write(
        self, rows: Rows, extra: Mapping[str, NDArray[np.int64]], vectors: NDArray[np.float32]
    ) -> None:
        """Write rows. Raises UsageError for vectors that are shorter already."""
        found = vectors.shape[1] if len(vectors) else self._meta.dimensions
        check_longer(found, self._dimensions)
        self._behind(found).write(rows, extra, shorten(vectors, self._dimensions))

    def finish(self) -> None:
        """Write what ends the output."""
        self._behind(self._meta.dimensions).finish()

    def _behind(self, found: int | None) -> Writer:
        if self._writer is None:
            meta = self._meta._replace(dimensions=self._dimensions, truncated_from=found)
            self._writer = self._make(meta)
        return self._writer


def check_longer(found: int | None, dimensions: int) -> None:
    """Raise UsageError where vectors have fewer dimensions than they are truncated to."""
    if found is not None and found < dimensions:
        raise UsageError(
            f"--truncate-dim {dimensions} does not shorten vectors of "
            f"{count_phrase(found, 'dimension')}",
            hint=f"choose fewer than {found}",
        )
