"""From the rows of a block to the inputs that are sent: bad rows and long texts are met here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tovec.errors import InputError
from tovec.jobs.assembly import Prepared
from tovec.records import Block, Problem

KEPT_PROBLEMS = 5  # named in the summary; all are counted

CountTokens = Callable[[str], int]


class Preparation:
    """Counts and judges rows on their way to the endpoint.

    `item_tokens` is the model's limit for one input. With `count`, a text that may be over it is
    counted exactly; without (a model whose tokenizer is not known) the endpoint is the judge.
    An empty field is a rejected row; a row that cannot be read stops the run (InputError).
    """

    def __init__(self, item_tokens: int | None, count: CountTokens | None) -> None:
        self._item_tokens = item_tokens
        self._count = count
        self.rows = 0
        self.blank = 0
        self.rejected = 0
        self.problems: list[Problem] = []

    def __call__(self, block: Block) -> Prepared:
        """Give a block's inputs; raises InputError for a row that stops the run."""
        self.blank += block.blank
        for problem in block.problems:
            if problem.kind != "empty":
                raise InputError(
                    problem.reason,
                    where=f"{problem.source}, line {problem.line}",
                    hint="mend the row; `tovec batch` sets such rows aside and goes on",
                )
            self.reject(problem)
        self._check_length(block)
        self.rows += len(block.inputs)
        return Prepared(block.inputs, block.rows, block.source, np.asarray(block.lines, np.int64))

    def reject(self, problem: Problem) -> None:
        """Count a row that is left out of the output."""
        self.rejected += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)

    def _check_length(self, block: Block) -> None:
        limit = self._item_tokens
        if limit is None:
            return
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
                raise InputError(
                    f"the text has {size:,} tokens, the model takes {limit:,}",
                    where=f"{block.source}, line {block.lines[i]}",
                    hint="shorten or split the text",
                )
