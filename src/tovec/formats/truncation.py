"""A writer before another one: vectors are truncated and normalised again on their way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tovec.errors import UsageError
from tovec.formats.protocols import Writer
from tovec.formats.quantised import shorten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tovec.records import Rows


class TruncatingWriter:
    """Hands rows on with the first `dimensions` of their vectors."""

    def __init__(self, writer: Writer, dimensions: int) -> None:
        self._writer = writer
        self._dimensions = dimensions

    def write(
        self, rows: Rows, extra: Mapping[str, NDArray[np.int64]], vectors: NDArray[np.float32]
    ) -> None:
        """Write rows. Raises UsageError for vectors that are shorter already."""
        if len(vectors):
            check_longer(vectors.shape[1], self._dimensions)
        self._writer.write(rows, extra, shorten(vectors, self._dimensions))

    def finish(self) -> None:
        """Write what ends the output."""
        self._writer.finish()


def check_longer(found: int | None, dimensions: int) -> None:
    """Raise UsageError where vectors have fewer dimensions than they are truncated to."""
    if found is not None and found < dimensions:
        raise UsageError(
            f"--truncate-dim {dimensions} does not truncate vectors of {found} dimensions",
            hint=f"choose fewer than {found}",
        )
