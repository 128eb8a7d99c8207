"""From the rows of a block to the inputs that are sent: bad rows and long texts are met here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tovec.errors import InputError
from tovec.formats.encoding import NAME_IT
from tovec.pipeline.long_texts import CountTokens, Cutter, LongTexts, nothing
from tovec.pipeline.reorder import Extra, Prepared, Refused
from tovec.records import Block, Problem
from tovec.wording import count_phrase

KEPT_PROBLEMS = 5  # named in the summary; all are counted

OnReject = Callable[[Problem], None]

_NAMED = LongTexts()  # a text that is too long is an error that names it


class Preparation:
    """Counts and judges rows on their way to the endpoint.

    `item_tokens` is the model's limit for one input. With `count`, a text that may be over it is
    counted exactly; without (a model whose tokenizer is not known) the endpoint is the judge.
    `long` says what is done with texts over the limit (`pipeline.long_texts`).
    An empty field is a rejected row; a row that cannot be read or is too long stops the run
    (InputError), or, with `strict` off, is rejected as well. `on_reject` is told each.
    With `id_field`, ids that came before are counted, at eight bytes a row.
    Raises UsageError for a `long` that cannot be carried out.
    """

    def __init__(
        self,
        item_tokens: int | None,
        count: CountTokens | None,
        *,
        strict: bool = True,
        on_reject: OnReject = lambda _problem: None,
        long: LongTexts = _NAMED,
        id_field: str | None = None,
    ) -> None:
        self._cutter = Cutter(long, item_tokens, count)
        self._strict = strict
        self._on_reject = on_reject
        self._ids = None if id_field is None else _Ids(id_field)
        self.rows = 0
        self.blank = 0
        self._skipped: Counter[str] = Counter()
        self.rejected = 0
        self.problems: list[Problem] = []

    def __call__(self, block: Block) -> Prepared:
        """Return a block's inputs; raises InputError for a row that stops the run."""
        self.blank += block.blank
        self._skipped.update(block.skipped)
        if not self.rows and not block.inputs and block.problems:
            self._check_options(block.problems)
        for problem in block.problems:
            if problem.kind == "empty":
                self.reject(problem)
            elif problem.kind == "encoding":
                self._refuse(problem, f"{NAME_IT}; `tovec batch` rejects such rows and continues")
            else:
                self._refuse(problem, "fix the row; `tovec batch` rejects such rows and continues")
        long = self._cutter.too_long(block)
        if long and self._cutter.policy == "error":
            block, long = self._without(block, long), {}
        self.rows += len(block.inputs)
        if self._ids is not None:
            self._ids.add(block)
        return self._cutter.prepared(block, long)

    def _check_options(self, problems: Sequence[Problem]) -> None:
        """Stop where no row has the field or is in the encoding: the option is wrong."""
        first = problems[0]
        hints = {"missing": "--text-field names the field that is embedded", "encoding": NAME_IT}
        if first.kind in hints and all(problem.kind == first.kind for problem in problems):
            raise InputError(first.reason, where=first.where, hint=hints[first.kind])

    @property
    def no_extra(self) -> Extra:
        """Return the columns of ours that rows have, with no rows in them."""
        return nothing(self._cutter.columns)

    @property
    def cut(self) -> int:
        """Return how many texts were truncated, split or averaged."""
        return self._cutter.rows

    def reject(self, problem: Problem) -> None:
        """Count a row that is left out of the output."""
        self.rejected += 1
        self._on_reject(problem)
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(problem)

    def leave_out(self, refused: Refused) -> None:
        """Count the rows of a block that the endpoint refused."""
        for source, line, reason in refused:
            self.reject(Problem(source, line, -1, reason, "refused"))

    def notes(self) -> list[str]:
        """Return what a user should know about the rows that have passed."""
        blank = count_phrase(self.blank, "blank line was", "blank lines were")
        notes = [f"{blank} skipped"] if self.blank else []
        notes += self.remarks()
        if self.rejected:
            first = self.problems[0]
            out = f"{count_phrase(self.rejected, 'row was', 'rows were')} left out"
            notes.append(f"{out}; the first: {first.where}: {first.reason}")
        return notes

    def remarks(self) -> list[str]:
        """Return what there is to say of the rows that were kept: texts cut, ids that came twice.

        And of what directories held beside them.
        """
        notes = self._cutter.notes() + (self._ids.notes() if self._ids is not None else [])
        for reason, count in sorted(self._skipped.items()):
            what = count_phrase(count, "entry was", "entries were")
            notes.append(f"{what} skipped in a directory: {reason}")
        return notes

    def _refuse(self, problem: Problem, hint: str) -> None:
        """Stop the run at a row, or reject the row."""
        if self._strict:
            raise InputError(problem.reason, where=problem.where, hint=hint)
        self.reject(problem)

    def _without(self, block: Block, long: Mapping[int, int]) -> Block:
        """Refuse the rows that are too long; return the others."""
        hint = "--long truncate, split or mean says what to do with long texts"
        for i, size in long.items():
            tokens = count_phrase(size, "token")
            why = f"the text has {tokens}, the model takes {self._cutter.limit:,}"
            row = block.rows.take([i]).json()[0]
            place = (block.source, block.lines[i], block.index[i])
            self._refuse(Problem(*place, why, "long", row, block.unit), hint)
        kept = [i for i in range(len(block.inputs)) if i not in long]
        return replace(
            block,
            inputs=[block.inputs[i] for i in kept],  # type: ignore[arg-type]
            rows=block.rows.take(kept),
            index=[block.index[i] for i in kept],
            lines=[block.lines[i] for i in kept],
        )


class _Ids:
    """Counts ids that are missing or came before; of each only a hash is kept."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._hashes: list[NDArray[np.int64]] = []
        self._missing = 0

    def add(self, block: Block) -> None:
        """Take a block's ids."""
        ids = block.rows.ids(self._field)
        # repr, because -1 and -2 have one hash, as have 0 and the empty text
        there = [hash(repr(one)) for one in ids if one is not None]
        self._missing += len(ids) - len(there)
        self._hashes.append(np.array(there, np.int64))

    def notes(self) -> list[str]:
        """Return how many there were."""
        hashes = np.concatenate([np.empty(0, np.int64), *self._hashes])
        again = int((np.unique(hashes, return_counts=True)[1] > 1).sum())
        notes = []
        if self._missing:
            rows = count_phrase(self._missing, "row has", "rows have")
            notes.append(f"{rows} no {self._field!r} field")
        if again:
            ids = count_phrase(again, "id appears", "ids appear")
            notes.append(f"{ids} more than once")
        return notes
