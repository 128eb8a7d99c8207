"""Texts to vectors in memory, and the rows that other rows are compared with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain

import numpy as np

from tovec import formats
from tovec.errors import InputError
from tovec.formats.fields import PlainText
from tovec.formats.protocols import ReadOptions
from tovec.formats.rows import PlainRows
from tovec.pipeline.complete import check_complete, embed_all, without_empty
from tovec.pipeline.connect import Connection
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.reorder import Finished
from tovec.pipeline.stream import embed_blocks
from tovec.records import Block
from tovec.search.metrics import Vectors


class Texts:
    """A few texts: their names, as they are shown, and their vectors, as they come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._parts: list[Vectors] = []

    def add(self, vectors: Vectors) -> None:
        """Take the vectors of the next texts."""
        self._parts.append(vectors)

    def replace(self, vectors: Vectors) -> None:
        """Put other vectors in the place of those taken."""
        self._parts = [vectors]

    @property
    def vectors(self) -> Vectors:
        """Return the texts' vectors, in order: float32 (n, dimensions)."""
        return np.concatenate(self._parts) if self.names else np.empty((0, 0), np.float32)


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


def embed_texts(
    connection: Connection,
    blocks: Iterator[Block],
    prepare: Preparation,
    id_field: str | None = None,
) -> Texts:
    """Return texts with their vectors. Raises InputError for one that has none."""
    texts = Texts()
    for finished in embed_all(connection, _named(blocks, texts.names, id_field), prepare):
        texts.add(finished.vectors)
    return texts


def embed_rows(
    connection: Connection,
    rows: Iterator[Block],
    prepare: Preparation,
    queries: Texts,
    texts: Iterator[Block],
    id_field: str | None = None,
) -> Iterator[Finished]:
    """Yield rows with their vectors, but those that the endpoint refuses.

    `queries` takes `texts` before the first row comes; they share requests with the rows. Raises
    InputError for one of them that has no vector.
    """
    are_rows: deque[bool] = deque()  # of the blocks under way
    named = _named(without_empty(texts), queries.names, id_field)
    blocks = chain(_marked(named, are_rows, False), _marked(rows, are_rows, True))
    with closing(embed_blocks(connection, blocks, prepare)) as embedded:
        for finished in embedded:
            if not are_rows or are_rows.popleft():
                prepare.leave_out(finished.refused)
                if len(finished.rows):
                    yield finished
            else:
                check_complete(finished)
                queries.add(finished.vectors)


def _marked(blocks: Iterator[Block], marks: deque[bool], mark: bool) -> Iterator[Block]:
    """Yield the blocks, and mark those that have a text to embed."""
    for block in blocks:
        if len(block.inputs):
            marks.append(mark)
        yield block


def _named(blocks: Iterator[Block], names: list[str], id_field: str | None) -> Iterator[Block]:
    """Yield the blocks, and add their texts' names to `names`."""
    for block in blocks:
        found: Sequence[object] = block.inputs
        plain = isinstance(block.rows, PlainRows)
        if id_field is not None and (not plain or id_field in ("index", "text")):
            found = block.rows.ids(id_field)
        elif isinstance(block.rows, PlainRows):  # the texts without what a template adds
            found = block.rows.values
        names += [one if isinstance(one, str) else str(one) for one in found]
        yield block


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
