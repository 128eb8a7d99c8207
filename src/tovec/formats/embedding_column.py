"""What stored vectors share: the column's name, the type they are stored in, their lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError
from tovec.formats.protocols import VectorMeta
from tovec.formats.quantised import BITS, INTEGERS, Scale, as_bits, as_integers, unit_scale

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


def vector_columns(also: str | None) -> tuple[str, ...]:
    """Return the names of the columns of vectors: the first, and the one that --also adds."""
    return (EMBEDDING,) if also is None else (EMBEDDING, f"{EMBEDDING}_{also}")


def as_stored(vectors: NDArray[np.float32], dtype: str, scale: Scale | None = None) -> NDArray[Any]:
    """Return the matrix in the type that is stored, C-contiguous.

    Raises InputError when a component is beyond what the type holds: infinity, or the end of its
    range, must not be stored for it.
    """
    if dtype in INTEGERS:
        return as_integers(vectors, dtype, scale)
    if dtype in BITS:
        return as_bits(vectors, dtype)
    if dtype == "float32":
        return np.ascontiguousarray(vectors)
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(vectors, np.float16)
    if not np.isfinite(stored).all():
        raise InputError(
            "a vector has a component beyond float16", hint="write it with --dtype float32"
        )
    return stored


def quantisation(meta: VectorMeta) -> dict[str, object] | None:
    """Return what turns stored integers into numbers again; None for other types."""
    if meta.dtype not in INTEGERS:
        return None
    return (meta.scale or unit_scale(meta.dtype)).as_json()
