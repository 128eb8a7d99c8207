"""From the rows of a block to the inputs that are sent: bad rows and long texts are met here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tovec.errors import InputError
from tovec.jobs.assembly import Prepared
from tovec.records import Block, Problem

KEPT_PROBLEMS = 5  # named in the summary; all are counted

CountTokens = Callable[[str], int]
OnReject = Callable[[Problem], None]


class Preparation:
    """Counts and judges rows on their way to the endpoint.

    `item_tokens` is the model's limit for one input. With `count`, a text that may be over it is
    counted exactly; without (a model whose tokenizer is not known) the endpoint is the judge.
    An empty field is a rejected row; a row that cannot be read or is too long stops the run
    (InputError), or, with `strict` off, is rejected as well. `on_reject` is told each.
    """

    def __init__(
        self,
        item_tokens: int | None,
        count: CountTokens | None,
        *,
        strict: bool = True,
        on_reject: OnReject = lambda _problem: None,
    ) -> None:
        self._item_tokens = item_tokens
        self._count = count
        self._strict = strict
        self._on_reject = on_reject
        self.rows = 0
        self.blank = 0
        self.rejected = 0
        self.problems: list[Problem] = []

    def __call__(self, block: Block) -> Prepared:
        """Give a block's inputs; raises InputError for a row that stops the run."""
        self.blank += block.blank
        for problem in block.problems:
            if problem.kind != "empty":
                self._refuse(problem, "mend the row; `tovec batch` sets such rows aside")
            else:
                self.reject(problem)
        block = self._of_fitting_length(block)
        self.rows += len(block.inputs)
        return Prepared(block.inputs, block.rows, block.source, np.asarray(block.lines, np.int64))

    def reject(self, problem: Problem) -> None:
        """Count a row that is left out of the output."""
        self.rejected += 1
        self._on_reject(problem)
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)

    def _refuse(self, problem: Problem, hint: str) -> None:
        """Stop the run at a row, or set the row aside."""
        if self._strict:
            raise InputError(problem.reason, where=problem.where, hint=hint)
        self.reject(problem)

    def _of_fitting_length(self, block: Block) -> Block:
        long = self._too_long(block)
        if not long:
            return block
        for i, size in long.items():
            why = f"the text has {size:,} tokens, the model takes {self._item_tokens:,}"
            row = block.rows.take([i]).json()[0]
            problem = Problem(
                block.source, block.lines[i], block.index[i], why, "long", row, block.unit
            )
            self._refuse(problem, "shorten or split the text")
        kept = [i for i in range(len(block.inputs)) if i not in long]
        return replace(
            block,
            inputs=[block.inputs[i] for i in kept],  # type: ignore[arg-type]
            rows=block.rows.take(kept),
            index=[block.index[i] for i in kept],
            lines=[block.lines[i] for i in kept],
        )

    def _too_long(self, block: Block) -> dict[int, int]:
        """Give the token counts of the inputs that are over the limit, by position."""
        limit, found = self._item_tokens, dict[int, int]()
        if limit is None:
            return found
        for i, one in enumerate(block.inputs):
            if len(one) * 4 <= limit:  # a character is at most four bytes, a token at least one
                continue
            if isinstance(one, str):
                if self._count is None or len(one.encode()) <= limit:
                    continue
                size = self._count(one)
            else:
                size = len(one)
            if size > limit:
                found[i] = size
        return found
