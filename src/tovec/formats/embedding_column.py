"""What stored vectors share: the column's name, the type they are stored in, their lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError

EMBEDDING = "embedding"


def squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each row's squared length: (n, dimensions) to (n,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        found: NDArray[np.float32]
        if hasattr(np, "vecdot"):  # from numpy 2.0 on; half einsum's time
            found = np.vecdot(vectors, vectors)
        else:
            found = np.einsum("ij,ij->i", vectors, vectors)
    return found


def as_stored(vectors: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Return the matrix in the type that is stored, C-contiguous.

    Raises InputError when a component is beyond float16: infinity must not be stored for it.
    """
    if dtype == "float32":
        return np.ascontiguousarray(vectors)
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(vectors, np.float16)
    if not np.isfinite(stored).all():
        raise InputError(
            "a vector has a component beyond float16", hint="write it with --dtype float32"
        )
    return stored
