"""Texts to vectors in memory or block by block, for the jobs that compare vectors.

Several sources share one client, one event loop and its learned limits: their blocks go through
one stream, one source after the other, and each source takes its own back, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tovec import formats
from tovec.errors import InputError
from tovec.formats.fields import PlainText
from tovec.formats.protocols import ReadOptions
from tovec.formats.rows import PlainRows
from tovec.pipeline import stream
from tovec.pipeline.connect import Connection
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.packing import Packer
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.reorder import Finished, Prepared
from tovec.records import Block, Problem
from tovec.search.metrics import Vectors

Take = Callable[[Block, Finished], None]


class Source(NamedTuple):
    """Rows to embed, and who takes them with their vectors, block by block."""

    blocks: Iterator[Block]
    take: Take
    strict: bool = True  # a row without text, or refused, is an error and not left out
    adjust: Callable[[Block], Block] = lambda block: block


class Texts:
    """Gathers a few texts: their names, as they are shown, and one float32 (n, d) matrix."""

    def __init__(self, blocks: Iterator[Block], id_field: str | None = None) -> None:
        self.names: list[str] = []
        self._parts: list[Vectors] = []
        self._id_field = id_field
        self.source = Source(blocks, self._take)

    def _take(self, block: Block, finished: Finished) -> None:
        names: Sequence[object] = block.inputs
        plain = isinstance(block.rows, PlainRows)
        if self._id_field is not None and (not plain or self._id_field in ("index", "text")):
            names = block.rows.ids(self._id_field)
        elif isinstance(block.rows, PlainRows):  # the texts without what a template adds
            names = block.rows.values
        self.names += [one if isinstance(one, str) else str(one) for one in names]
        self._parts.append(finished.vectors)

    @property
    def vectors(self) -> Vectors:
        """The texts' vectors, in order."""
        return np.concatenate(self._parts) if self._parts else np.empty((0, 0), np.float32)


def given(texts: Sequence[str], paths: Sequence[str], read: ReadOptions) -> Iterator[Block]:
    """Yield the texts that were typed, then those in files.

    Where there are files, --text-field and --id-field are about their rows.
    """
    if texts:
        typed = [formats.argument(number, text) for number, text in enumerate(texts, 1)]
        plain = read.plain_as_text or bool(paths)
        yield from formats.from_texts(typed, read._replace(plain_as_text=plain))
    if paths:
        yield from formats.read(paths, read)


def embed(
    connection: Connection,
    sources: Sequence[Source],
    long: LongTexts = LongTexts(),  # noqa: B008
) -> Preparation:
    """Embed the sources, one after the other; give the counts of rows that were left out."""
    client = connection.client
    preparation = Preparation(client.limits.item_tokens, connection.count_text, long=long)
    packer = Packer(lambda: client.limits)
    expected: deque[tuple[Source, Block]] = deque()
    turn: deque[Source] = deque()

    def blocks() -> Iterator[Block]:
        for source in sources:
            for block in source.blocks:
                turn.append(source)
                yield block

    def prepare(block: Block) -> Prepared:
        source = turn.popleft()
        if source.strict:
            _refuse_empty(block)
        block = source.adjust(block)
        prepared = preparation(block)
        if len(prepared.inputs):
            expected.append((source, block))
        return prepared

    def write(finished: Finished) -> None:
        source, block = expected.popleft()
        for where, line, reason in finished.refused:
            if source.strict:
                raise InputError(
                    f"the endpoint refuses the text: {reason}", where=f"{where}, line {line}"
                )
            preparation.reject(Problem(where, line, -1, reason, "refused"))
        source.take(block, finished)

    stream.through(connection, blocks(), prepare, packer, write)
    return preparation


def _refuse_empty(block: Block) -> None:
    for problem in block.problems:
        if problem.kind == "empty":
            raise InputError(problem.reason, where=problem.where)


def interleaved(make: PlainText, block: Block) -> Block:
    """Return lines of two texts with a tab between them as two inputs each, made by `make`.

    Raises InputError, naming the line, for one that is not two texts.
    """
    inputs: list[str] = []
    for text, line in zip(block.inputs, block.lines, strict=True):
        one, tab, other = str(text).partition("\t")
        where = f"{block.source}, line {line}"
        if not tab or not isinstance(text, str):
            raise InputError(
                "the line is not two texts with a tab between them",
                where=where,
                hint="to compare each line with all others, read them with -f -",
            )
        if "\t" in other:
            raise InputError("the line has more than two columns", where=where, hint="cut -f1,2")
        if not one.strip() or not other.strip():
            raise InputError("one of the line's two texts is empty", where=where)
        inputs += [one, other]
    twice = np.repeat(np.arange(len(block.inputs)), 2).tolist()
    index = [block.index[i] for i in twice]
    return replace(
        block,
        inputs=make(inputs, index),
        rows=PlainRows(index, inputs),
        index=index,
        lines=[block.lines[i] for i in twice],
    )
