"""From blocks to units of work and back: which input belongs to which row, in input order.

A block's rows become inputs to embed (`Prepared`); vectors come back by request, and are put
together again by block (`Assembly`), so that rows leave in the order in which they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.records import Answer, Inputs, Rows

Extra = Mapping[str, NDArray[np.int64]]
Refused = tuple[tuple[str, int, str], ...]
"""Rows that the endpoint refused: source, line, reason."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Inputs ready to be sent, and the row that each belongs to.

    `rows[i]` is the row of `inputs[i]`, which stands in line `lines[i]` of `source` (a row that
    was split is repeated). `extra` are columns of ours, one value a row. With `groups`, the
    number of consecutive inputs that make up each row, a row's vector is the mean of its inputs'
    weighted by `weights`, L2-normalised; `rows`, `lines` and `extra` then have one entry a group.
    """

    inputs: Inputs
    rows: Rows
    source: str
    lines: NDArray[np.int64]
    extra: Extra = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None


class Finished(NamedTuple):
    """Rows with their vectors, in input order: float32 (len(rows), dimensions)."""

    rows: Rows
    extra: Extra
    vectors: NDArray[np.float32]
    refused: Refused = ()
    left_out: Rows | None = None  # the rows that were refused


class Assembly:
    """Takes answers in the order of their requests and returns blocks, whole and in order."""

    def __init__(self) -> None:
        self._fields: Rows | None = None  # rows with the fields of the input's
        self._waiting: deque[Prepared] = deque()
        self._vectors: NDArray[np.float32] | None = None
        self._filled = 0
        self._refused: dict[int, str] = {}
        self._completed = False  # whether a block has been

    def expect(self, prepared: Prepared) -> None:
        """Announce a block whose inputs will be answered next, after those announced before."""
        if self._fields is None:
            self._fields = prepared.rows
        if len(prepared.inputs):
            self._waiting.append(prepared)

    def fill(self, answer: Answer, size: int) -> list[Finished]:
        """Take the answer to the next `size` inputs; return the blocks that are now complete."""
        vectors, refused = spread(answer, size)
        taken, found = 0, []
        while taken < size:
            block = self._waiting[0]
            step = min(size - taken, len(block.inputs) - self._filled)
            if vectors.shape[1]:  # an answer in which every input was refused has no width
                if self._vectors is None:
                    self._vectors = np.zeros((len(block.inputs), vectors.shape[1]), np.float32)
                self._vectors[self._filled : self._filled + step] = vectors[taken : taken + step]
            for i in range(taken, taken + step) if refused else ():
                if i in refused:
                    self._refused[self._filled + i - taken] = refused[i]
            self._filled += step
            taken += step
            if self._filled == len(block.inputs):
                whole = self._vectors
                if whole is None:
                    whole = np.zeros((len(block.inputs), 0), np.float32)
                self._completed = True
                found.append(finish(block, whole, self._refused))
                self._waiting.popleft()
                self._vectors, self._filled, self._refused = None, 0, {}
        return found

    def empty(self, extra: Extra, dimensions: int | None) -> Finished | None:
        """Return a block of no rows that says what the input's fields are, or None.

        None where there was no input, or a block has been completed.
        """
        if self._fields is None or self._completed:
            return None
        return no_rows(self._fields, extra, dimensions)

    def partial(self) -> Finished | None:
        """Return the answered rows at the head of the block that is not complete, if any."""
        if self._vectors is None or not self._waiting:
            return None
        block, inputs = self._waiting[0], self._filled
        rows = inputs
        if block.groups is not None:  # a row is there when all its inputs are
            ends = np.cumsum(block.groups)
            rows = int(np.searchsorted(ends, inputs, side="right"))
            inputs = int(ends[rows - 1]) if rows else 0
        if not rows:
            return None
        refused = {place: why for place, why in self._refused.items() if place < inputs}
        return finish(head(block, rows, inputs), self._vectors[:inputs], refused)


def no_rows(like: Rows, extra: Extra, dimensions: int | None) -> Finished:
    """Return a block of no rows with the fields of others, which says what an output holds."""
    return Finished(like.take([]), extra, np.zeros((0, dimensions or 0), np.float32))


def head(block: Prepared, rows: int, inputs: int) -> Prepared:
    """Return the first rows of a block, which its first inputs make up."""
    return Prepared(
        block.inputs[:inputs],
        block.rows.take(range(rows)),
        block.source,
        block.lines[:rows],
        {name: column[:rows] for name, column in block.extra.items()},
        None if block.groups is None else block.groups[:rows],
        None if block.weights is None else block.weights[:inputs],
    )


def spread(answer: Answer, size: int) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return a request's vectors at the places of its inputs (zeros where refused), and why."""
    if answer.kept is None:
        return answer.vectors, {}
    vectors = np.zeros((size, answer.vectors.shape[1]), np.float32)
    vectors[list(answer.kept)] = answer.vectors
    return vectors, dict(answer.refused)


def finish(block: Prepared, vectors: NDArray[np.float32], refused: Mapping[int, str]) -> Finished:
    """Return a block's rows with their vectors, without the rows that the endpoint refused."""
    reasons: dict[int, str] = {}
    owner = (
        np.arange(len(vectors))
        if block.groups is None
        else np.repeat(np.arange(len(block.groups)), block.groups)
    )
    for place, reason in refused.items():
        reasons.setdefault(int(owner[place]), reason)
    if block.groups is not None:
        vectors = mean_by_group(vectors, block.groups, block.weights)
    if not reasons:
        return Finished(block.rows, block.extra, vectors)
    kept = np.setdiff1d(np.arange(len(vectors)), list(reasons))
    return Finished(
        block.rows.take(kept.tolist()),
        {name: column[kept] for name, column in block.extra.items()},
        vectors[kept],
        tuple((block.source, int(block.lines[row]), why) for row, why in sorted(reasons.items())),
        block.rows.take(sorted(reasons)),
    )


def mean_by_group(
    vectors: NDArray[np.float32],
    groups: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
) -> NDArray[np.float32]:
    """Average consecutive vectors by group and L2-normalise: float32 (len(groups), dimensions).

    A group of one keeps its vector untouched. Source: OpenAI's cookbook, "Embedding texts that
    are longer than the model's maximum context length" (weights are the chunks' token counts).
    """
    starts = np.concatenate([[0], np.cumsum(groups)[:-1]])
    means: NDArray[np.float32] = vectors[starts]
    for row in np.flatnonzero(groups > 1):
        part = slice(starts[row], starts[row] + groups[row])
        share = None if weights is None else weights[part]
        mean = np.average(vectors[part].astype(np.float64), axis=0, weights=share)
        means[row] = mean / (np.linalg.norm(mean) or 1.0)
    return means
