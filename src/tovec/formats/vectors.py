"""What the writers share: the name of the vector's column and the type it is stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError

EMBEDDING = "embedding"
DTYPES = ("float32", "float16")


def as_stored(vectors: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Give the matrix in the type that is stored, C-contiguous.

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
