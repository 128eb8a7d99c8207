"""What is done with texts over the model's limit: name them, truncate, split, or take the mean.

Source of `mean`: OpenAI's cookbook, "Embedding texts that are longer than the model's maximum
context length": the chunks' vectors averaged by their tokens, then L2-normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.errors import UsageError
from tovec.pipeline.reorder import Extra, Prepared
from tovec.records import Block
from tovec.wording import count_phrase

if TYPE_CHECKING:
    from tovec.text.split import Chunk, Measure

POLICIES = ("error", "truncate", "split", "mean")
CHUNK_COLUMNS = ("chunk", "start", "end")

CountTokens = Callable[[str], int]


class LongTexts(NamedTuple):
    """What is done with texts over the limit: all that makes their vectors differ."""

    policy: str = "error"  # one of POLICIES
    chunk_tokens: int | None = None  # the limit; None is the model's own
    overlap: int = 0  # tokens that neighbouring chunks share, about


class Cutter:
    """Finds the texts of a block that are over the limit, and cuts them as the policy says.

    With `count` tokens are exact. Without (a model whose tokenizer is not known) nothing is found
    under the policy "error", and elsewhere a token is taken for two bytes (`text.split.ASSUMED`).
    Raises UsageError for a policy that cannot be carried out.
    """

    def __init__(self, long: LongTexts, item_tokens: int | None, count: CountTokens | None) -> None:
        self.policy = long.policy
        self.limit = _limit(long, item_tokens)
        self.rows = 0  # that were cut
        self.chunks = 0  # of these rows
        self._overlap = long.overlap
        self._count = count

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns of ours that rows have."""
        return CHUNK_COLUMNS if self.policy == "split" else ()

    def too_long(self, block: Block) -> dict[int, int]:
        """Return the token counts of the inputs that are over the limit, by position."""
        limit, count, found = self.limit, self._count, dict[int, int]()
        if limit is None:
            return found
        if count is None and self.policy != "error":
            count = self._measure().count
        for i, one in enumerate(block.inputs):
            if len(one) * 4 <= limit:  # a character is at most four bytes, a token at least one
                continue
            if not isinstance(one, str):
                size = len(one)
            elif count is None or len(one.encode()) <= limit:
                continue
            else:
                size = count(one)
            if size > limit:
                found[i] = size
        return found

    def prepared(self, block: Block, long: Collection[int]) -> Prepared:
        """Return a block's inputs, those at the positions `long` cut."""
        lines = np.asarray(block.lines, np.int64)
        self.rows += len(long)
        if self.policy == "split":
            return self._split(block, long, lines)
        if not long:
            return Prepared(block.inputs, block.rows, block.source, lines)
        if self.policy == "mean":
            return self._mean(block, long, lines)
        inputs: Any = list(block.inputs)
        for i in long:
            inputs[i] = self._truncated(inputs[i])
        return Prepared(inputs, block.rows, block.source, lines)

    def notes(self) -> list[str]:
        """Say what was done."""
        if not self.rows:
            return []
        chunks = count_phrase(self.chunks, "chunk")
        done = {
            "truncate": f"truncated to {count_phrase(self.limit or 0, 'token')}",
            "split": f"split into {chunks}",
            "mean": f"given the mean of {chunks}",
        }[self.policy]
        rows = count_phrase(self.rows, "long text was", "long texts were")
        unknown = "the model's tokenizer is not known; tokens were estimated at two bytes each"
        return [f"{rows} {done}", *([unknown] if self._count is None else [])]

    def _measure(self) -> Measure:
        from tovec.text.split import measure_of

        return measure_of(self._count)

    def _truncated(self, one: str | list[int]) -> str | list[int]:
        limit = self.limit or 0
        return one[: self._measure().prefix(one, 0, limit) if isinstance(one, str) else limit]

    def _chunked(self, block: Block, long: Collection[int]) -> list[list[Chunk]]:
        """Return the chunks of each input; one that fits is one chunk, and its tokens are moot."""
        from tovec.text import split

        limit = self.limit or 0
        chunks = [[split.Chunk(0, len(one), 1)] for one in block.inputs]
        for i in long:
            one = block.inputs[i]
            if isinstance(one, str):
                chunks[i] = split.split(one, limit, self._overlap, self._measure())
            else:
                chunks[i] = split.split_tokens(one, limit, self._overlap)
            self.chunks += len(chunks[i])
        return chunks

    def _split(self, block: Block, long: Collection[int], lines: NDArray[np.int64]) -> Prepared:
        chunks = self._chunked(block, long)
        owner = [i for i, its in enumerate(chunks) for _ in its]
        flat = [(n, chunk.start, chunk.end) for its in chunks for n, chunk in enumerate(its)]
        extra = np.array(flat, np.int64).reshape(len(flat), 3)
        return Prepared(
            _pieces(block, chunks),
            block.rows.take(owner) if long else block.rows,
            block.source,
            lines[owner],
            {name: extra[:, i].copy() for i, name in enumerate(CHUNK_COLUMNS)},
        )

    def _mean(self, block: Block, long: Collection[int], lines: NDArray[np.int64]) -> Prepared:
        chunks = self._chunked(block, long)
        return Prepared(
            _pieces(block, chunks),
            block.rows,
            block.source,
            lines,
            groups=np.array([len(its) for its in chunks], np.int64),
            weights=np.array([chunk.tokens for its in chunks for chunk in its], np.float64),
        )


def nothing(columns: Sequence[str]) -> Extra:
    """Return columns of ours with no rows in them."""
    return {name: np.empty(0, np.int64) for name in columns}


def _pieces(block: Block, chunks: Sequence[Sequence[Chunk]]) -> Any:
    pairs = zip(block.inputs, chunks, strict=True)
    return [one[chunk.start : chunk.end] for one, its in pairs for chunk in its]


def _limit(long: LongTexts, item_tokens: int | None) -> int | None:
    """Return the tokens that an input may have; UsageError for what contradicts itself."""
    policy, size, overlap = long
    if policy not in POLICIES:
        raise UsageError(
            f"--long does not accept {policy!r}", hint=f"one of: {', '.join(POLICIES)}"
        )
    if policy == "error":
        if size is not None or overlap:
            raise UsageError(
                "--chunk-tokens and --overlap are for texts that are cut",
                hint="add --long truncate, split or mean",
            )
        return item_tokens
    from tovec.text.split import MIN_CHUNK_TOKENS

    limit = size or item_tokens
    if limit is None:
        raise UsageError("the model's limit is not known", hint="set it with --chunk-tokens N")
    if item_tokens is not None and limit > item_tokens:
        raise UsageError(f"--chunk-tokens {limit:,} is more than the model takes, {item_tokens:,}")
    if limit < MIN_CHUNK_TOKENS:
        raise UsageError(f"--chunk-tokens is at least {MIN_CHUNK_TOKENS}")
    if overlap and policy == "truncate":
        raise UsageError("--overlap is for --long split and mean")
    if not 0 <= overlap <= limit // 2:
        raise UsageError(
            f"--overlap is at most half of a chunk: {count_phrase(limit // 2, 'token')}"
        )
    return limit
