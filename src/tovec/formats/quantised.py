"""Vectors as small integers and as bits, and back. numpy alone.

int8 and uint8 stand for `scale * integer + offset`. Without a calibration that is the unit scale,
round(127 x), with 128 added for uint8; per dimension, 255 steps from the least to the greatest
value, as sentence-transformers does it, but rounded and clipped. ubinary packs eight dimensions
to a byte, the first in the top bit, set where a component is positive (numpy.packbits, pgvector's
binary_quantize); binary is that minus 128, as int8. Bits stand for -1 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError, UsageError

Dtype = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
DTYPES: tuple[str, ...] = get_args(Dtype)
INTEGERS = frozenset(("int8", "uint8"))
BITS = frozenset(("binary", "ubinary"))
UNIT = 127  # steps from 0 to 1 on the unit scale
STEPS = 255  # from a dimension's least value to its greatest
CACHE_ROWS_BYTES = 1 << 18  # of rows made integers at once: they stay in a core's cache
# Between these, differences and their quotients with a step stay exact enough in float32.
MIN_STEP, MAX_VALUE = 1e-30, 1e30
DIMENSION_SCALE = "--int8-scale dimension (tovec batch) takes any range; float32 stores any number"

Vectors = NDArray[np.float32]
Stored = NDArray[np.int8] | NDArray[np.uint8]


class Scale(NamedTuple):
    """What stored integers stand for: `scale * integer + offset`; of each dimension, or of all."""

    scale: NDArray[np.float64]  # (dimensions,), or () for all
    offset: NDArray[np.float64]

    def as_json(self) -> dict[str, object]:
        """Return the scale as it is stored with the vectors."""
        return {"scale": self.scale.tolist(), "offset": self.offset.tolist()}


class Ranges:
    """The least and the greatest value of each dimension, of all vectors added."""

    def __init__(self) -> None:
        self._least: NDArray[np.float64] | None = None
        self._most: NDArray[np.float64] | None = None

    def add(self, vectors: Vectors) -> None:
        """Take vectors into account."""
        if not len(vectors):
            return
        least, most = (np.asarray(one, np.float64) for one in (vectors.min(0), vectors.max(0)))
        self._least = least if self._least is None else np.minimum(self._least, least)
        self._most = most if self._most is None else np.maximum(self._most, most)

    def scale(self, dtype: str) -> Scale:
        """Return the scale that spreads each dimension's range over all integers of a type."""
        if self._least is None or self._most is None:
            return unit_scale(dtype)
        step = (self._most - self._least) / STEPS
        return Scale(step, self._least - _lowest(dtype) * step)


def unit_scale(dtype: str) -> Scale:
    """Return the scale of round(127 x)."""
    middle = 0 if dtype == "int8" else 128
    return Scale(np.array(1 / UNIT), np.array(-middle / UNIT))


def parse_scale(found: object, dimensions: int) -> Scale | None:
    """Return the scale that `Scale.as_json` stored; None for anything else."""
    if not isinstance(found, Mapping):
        return None
    try:
        values = [np.asarray(found[name], np.float64) for name in ("scale", "offset")]
    except (KeyError, TypeError, ValueError):
        return None
    if any(one.shape not in ((), (dimensions,)) or not np.isfinite(one).all() for one in values):
        return None
    return Scale(*values)


def as_integers(vectors: Vectors, dtype: str, scale: Scale | None = None) -> Stored:
    """Return the nearest integers, C-contiguous: on the unit scale, or clipped to another's range.

    Raises InputError for a component that the unit scale cannot hold.
    """
    found = np.empty(vectors.shape, dtype)
    step = max(1, CACHE_ROWS_BYTES // max(1, 4 * vectors.shape[1]))
    parts = (slice(i, i + step) for i in range(0, len(vectors), step))
    if scale is None:
        for part in parts:
            found[part] = _on_unit_scale(vectors[part], dtype)
        return found
    least = scale.scale * _lowest(dtype) + scale.offset
    quotient = np.divide(1, scale.scale, out=np.zeros_like(scale.scale), where=scale.scale != 0)
    limit = np.abs(least).max(initial=0) + STEPS * scale.scale.max(initial=0)
    usual = limit < MAX_VALUE and quotient.max(initial=0) < 1 / MIN_STEP
    low = least.astype(np.float32) if usual else least
    factor = quotient.astype(np.float32) if usual else quotient
    for part in parts:
        steps = np.rint((vectors[part] - low) * factor)
        found[part] = np.clip(steps, 0, STEPS) + _lowest(dtype)
    return found


def _on_unit_scale(vectors: Vectors, dtype: str) -> NDArray[np.float32]:
    steps = vectors * np.float32(UNIT)
    np.rint(steps, out=steps)
    if not np.abs(steps).max(initial=0) <= UNIT:  # NaN is not either
        raise InputError(
            f"a vector has a component beyond 1, which {dtype} on the unit scale cannot hold",
            hint=DIMENSION_SCALE,
        )
    return steps if dtype == "int8" else steps + 128


def as_bits(vectors: Vectors, dtype: str) -> Stored:
    """Return eight dimensions to a byte. Raises UsageError where they do not fill bytes."""
    check_dimensions(vectors.shape[1], dtype)
    packed = np.packbits(vectors > 0, axis=1)
    return packed if dtype == "ubinary" else (packed ^ 0x80).view(np.int8)


def check_dimensions(dimensions: int | None, dtype: str | None) -> None:
    """Raise UsageError for dimensions that do not fill whole bytes of bits."""
    if dtype in BITS and dimensions is not None and dimensions % 8:
        raise UsageError(
            f"{dtype} packs eight dimensions to a byte, and {dimensions} is not divisible by 8",
            hint="choose --dtype int8, or --truncate-dim N for a Matryoshka model",
        )


def from_integers(stored: Stored, scale: Scale) -> Vectors:
    """Return the numbers that integers stand for."""
    if scale.scale.ndim == 0:  # a product and a sum in float32 err far less than half a step
        found: Vectors = stored.astype(np.float32)
        found *= np.float32(scale.scale)
        if scale.offset.any():
            found += scale.offset.astype(np.float32)
        return found
    return np.asarray(stored * scale.scale + scale.offset, np.float32)


def from_bits(stored: Stored) -> Vectors:
    """Return -1 and 1, for each bit."""
    found: Vectors = np.unpackbits(unsigned(stored), axis=1).astype(np.float32)
    found *= 2
    found -= 1
    return found


def stored_width(dimensions: int, dtype: str) -> int:
    """Return how many numbers are stored per vector."""
    return dimensions // 8 if dtype in BITS else dimensions


def unsigned(stored: Stored) -> NDArray[np.uint8]:
    """Return binary as ubinary, and ubinary as it is."""
    if stored.dtype == np.uint8:
        return np.asarray(stored, np.uint8)
    return np.asarray(stored.view(np.uint8) ^ 0x80, np.uint8)


def shorten(vectors: Vectors, dimensions: int) -> Vectors:
    """Return the first dimensions of each vector, L2-normalised again; zeros stay zeros.

    Source: Kusupati et al. 2022, "Matryoshka Representation Learning".
    """
    part = vectors[:, :dimensions].astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", part, part))[:, None]
    return np.asarray(part / np.where(lengths == 0, 1, lengths), np.float32)


def _lowest(dtype: str) -> int:
    """Return the least integer that is used."""
    return -128 if dtype == "int8" else 0
