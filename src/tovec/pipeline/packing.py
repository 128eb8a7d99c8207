"""Packing inputs into requests: input order kept, no limit of the endpoint ever exceeded.

A text cannot have more byte-level BPE tokens than UTF-8 bytes, so a request is filled by bytes,
which are known for nothing; only where a limit is tight are tokens counted. Two counts must stay
under the limit of summed tokens: real tokens, and a quarter of the bytes, which is what OpenAI's
gate was observed to count. `TARGET_ITEMS` is measured: some hundred texts a request overlap best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tovec.records import Inputs, Limits, Request

TARGET_ITEMS = 512
GATE_BYTES = 4  # bytes a token in the endpoint's gate

Counter = Callable[[list[str]], list[int]]


def utf8_bytes(texts: Sequence[str]) -> list[int]:
    """Return each text's length in UTF-8 bytes."""
    return [len(t) if t.isascii() else len(t.encode("utf-8", "surrogatepass")) for t in texts]


class Packer:
    """Gathers inputs and gives full requests; `flush` gives the rest.

    `limits` is asked anew for each request, because a limit may be learned from a refusal. With
    `count` (texts -> token counts) tokens are exact, which fills requests further; without it the
    bytes stand for them, which is never too few.
    """

    def __init__(
        self,
        limits: Callable[[], Limits],
        *,
        count: Counter | None = None,
        target: int = TARGET_ITEMS,
    ) -> None:
        self._limits = limits
        self._count = count
        self._target = target
        self._inputs: list[object] = []
        self._tokens: NDArray[np.int64] = np.empty(0, np.int64)
        self._bytes: NDArray[np.int64] = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._inputs)

    def add(self, inputs: Inputs) -> list[Request]:
        """Take inputs, and give the requests that are full now, in order."""
        tokens, size = self._measure(inputs)
        self._inputs.extend(inputs)
        self._tokens = np.concatenate([self._tokens, tokens])
        self._bytes = np.concatenate([self._bytes, size])
        return self._cut(keep_open=True)

    def flush(self) -> list[Request]:
        """Return everything that is left, in order."""
        return self._cut(keep_open=False)

    def _measure(self, inputs: Inputs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if inputs and not isinstance(inputs[0], str):
            exact = np.fromiter((len(one) for one in inputs), np.int64, len(inputs))
            return exact, exact * GATE_BYTES
        texts: list[str] = inputs  # type: ignore[assignment]
        size = np.fromiter(utf8_bytes(texts), np.int64, len(texts))
        if self._count is None:
            return size, size
        return np.fromiter(self._count(texts), np.int64, len(texts)), size

    def _cut(self, *, keep_open: bool) -> list[Request]:
        requests = []
        tokens, gate = np.cumsum(self._tokens), np.cumsum(self._bytes)
        start, total = 0, len(self._inputs)
        while start < total:
            end = self._end(start, tokens, gate)
            if keep_open and end == total and end - start < self._full():
                break
            before = int(gate[start - 1]) if start else 0
            estimate = -(-(int(gate[end - 1]) - before) // GATE_BYTES)
            requests.append(Request(self._inputs[start:end], estimate))  # type: ignore[arg-type]
            start = end
        if start:
            del self._inputs[:start]
            self._tokens, self._bytes = self._tokens[start:], self._bytes[start:]
        return requests

    def _full(self) -> int:
        return min(self._target, self._limits().items or self._target)

    def _end(self, start: int, tokens: NDArray[np.int64], gate: NDArray[np.int64]) -> int:
        """Return the end of the longest request from `start` that passes every limit.

        An input that exceeds a limit alone still makes a request of its own: whether it may be
        sent is the long-text policy's decision, and the endpoint's.
        """
        limits = self._limits()
        end = min(len(tokens), start + self._full())
        for sums, room in (
            (tokens, limits.tokens),
            (gate, limits.tokens and limits.tokens * GATE_BYTES),
            (gate, limits.body_bytes),
        ):
            if room is not None:
                used = int(sums[start - 1]) if start else 0
                end = min(end, int(np.searchsorted(sums, used + room, side="right")))
        return max(end, start + 1)
