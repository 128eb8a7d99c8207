"""Arithmetic on the vectors of local models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def normalize_rows(vectors: NDArray[np.float32]) -> None:
    """Scale each row to the length 1, in place; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    lengths[lengths == 0] = 1
    vectors /= lengths[:, None].astype(np.float32)
