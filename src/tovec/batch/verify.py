"""`--verify`: at the end of a job, ask for a sample of its texts again and compare the vectors.

Some servers' vectors change with what else is asked for. The sample is drawn by the texts' keys,
so that it is the same in each run, and asked for in other company than the first time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.pipeline.connect import Connection
from tovec.pipeline.packing import Packer
from tovec.records import Inputs, Limits
from tovec.store.content_keys import Keys

MAX_TEXTS = 4_096  # of a sample: 25 MiB of vectors of 1536 dimensions
REQUEST_TEXTS = 32
MIN_COSINE = 0.999


class Verified(NamedTuple):
    """What came of asking again."""

    texts: int
    least_cosine: float | None  # None where the endpoint now refuses every text

    @property
    def is_good(self) -> bool:
        """Return whether the vectors are the same as far as a search can tell."""
        return self.least_cosine is not None and self.least_cosine >= MIN_COSINE


class Sample:
    """Texts with the vectors that a job stored for them: those with the lowest keys."""

    def __init__(self, share: float, max_texts: int = MAX_TEXTS) -> None:
        self._share, self._max_texts = share, max_texts
        self.clear()

    def clear(self) -> None:
        """Forget what was taken: the input is read anew."""
        self._taken: dict[int, tuple[object, NDArray[np.float32]]] = {}
        self._lowest: tuple[int, object, NDArray[np.float32]] | None = None

    def take(
        self, inputs: Inputs, keys: Keys, vectors: NDArray[np.float32], refused: Collection[int]
    ) -> None:
        """Take a share of a block; of the whole job, one text at least."""
        places = keys[:, 0]
        for i in np.flatnonzero(places <= np.uint64(self._share * (2**64 - 2**11))).tolist():
            if i not in refused:
                self._taken[int(places[i])] = (inputs[i], vectors[i].copy())
        if len(self._taken) > 2 * self._max_texts:
            self._taken = dict(sorted(self._taken.items())[: self._max_texts])
        i = int(places.argmin())
        if i not in refused and (self._lowest is None or places[i] < self._lowest[0]):
            self._lowest = (int(places[i]), inputs[i], vectors[i].copy())

    def verify(self, connection: Connection) -> Verified | None:
        """Ask for the sample again; None where the job has no vector at all."""
        if not self._taken and self._lowest is not None:
            place, text, vector = self._lowest
            self._taken[place] = (text, vector)
        if not self._taken:
            return None
        texts, vectors = zip(*[self._taken[key] for key in self._keys()], strict=True)
        stored, cosines = np.array(vectors), []
        packer = Packer(lambda: _of_few_texts(connection.client.limits))
        start = 0
        for request in [*packer.add(list(texts)), *packer.flush()]:
            answer = connection.run(connection.dispatcher.embed(request))
            kept = answer.kept
            rows = stored[start : start + len(request)]
            cosines += _cosines(rows if kept is None else rows[list(kept)], answer.vectors)
            start += len(request)
        return Verified(len(texts), min(cosines, default=None))

    def _keys(self) -> list[int]:
        return sorted(self._taken)[: self._max_texts]


def _of_few_texts(limits: Limits) -> Limits:
    return limits._replace(items=min(limits.items or REQUEST_TEXTS, REQUEST_TEXTS))


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> list[float]:
    if one.shape != other.shape:
        return [0.0]  # other dimensions: nothing to compare
    left, right = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: list[float] = (np.einsum("ij,ij->i", left, right) / lengths).tolist()
    return cosines
