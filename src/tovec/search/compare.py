"""`tovec similarity` without --in: texts compared with each other, or lines of two texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tovec import formats
from tovec.errors import UsageError
from tovec.events import Note, Observer
from tovec.formats.fields import PlainText
from tovec.formats.protocols import ReadOptions
from tovec.pipeline.complete import embed_all, preparation, without_empty
from tovec.pipeline.connect import Hide, connect
from tovec.search import metrics
from tovec.search.embedding import embed_texts, given, interleaved
from tovec.search.metrics import Bound, Scores, Vectors
from tovec.search.task import Found, Outcome, Similarity

MATRIX_ROWS = 256  # of a matrix computed at once


class Matrix(NamedTuple):
    """Texts compared with each other."""

    names: list[str]
    vectors: Vectors
    metric: str
    model: str

    def blocks(self) -> Iterator[Scores]:
        """Yield the (n, n) scores, some rows at a time."""
        for start in range(0, len(self.names), MATRIX_ROWS):
            some = self.vectors[start : start + MATRIX_ROWS]
            yield metrics.matrix(self.metric, some, self.vectors)

    def whole(self) -> Scores:
        """Return all (n, n) scores."""
        return np.concatenate(list(self.blocks()))

    def pair(self) -> float:
        """Return the score of the first two."""
        return float(metrics.pairwise(self.metric, self.vectors[:1], self.vectors[1:2])[0])

    def passed(self, bound: Bound) -> int:
        """Count the pairs of two different texts whose score passes."""
        if len(self.names) == 2:
            return int(bound.passes(np.array([self.pair()])).sum())
        found = 0
        for number, scores in enumerate(self.blocks()):
            upper = np.triu_indices(len(scores), 1 + number * MATRIX_ROWS, len(self.names))
            found += int(bound.passes(scores[upper]).sum())
        return found


def compare_texts(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Compare texts with each other: the outcome holds their matrix."""
    yield from ()  # no rows
    queries, id_field = work.queries, work.read.id_field
    with connect(work.settings, work.environ, observer, hide) as connection:
        blocks = given(queries.texts, queries.paths, work.read)
        texts = embed_texts(connection, blocks, preparation(connection, work.long), id_field)
    if len(texts.names) < 2:
        raise UsageError(
            "only one text is given",
            hint="give two or more, or --in FILE to rank its rows",
        )
    matrix = Matrix(texts.names, texts.vectors, work.metric, connection.client.endpoint.model)
    return Outcome(matrix.passed(work.bound) if work.bound else 1, matrix=matrix)


def compare_lines(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Score each line of two texts, as lines come; a line that does not pass is left out."""
    halves = ReadOptions(template=work.read.template)
    make = PlainText(halves, ("text",), "one of a line's two texts")
    if work.read.id_field is not None:
        raise UsageError("--id-field names rows, and a line of two texts is not one")
    form = "lines" if work.read.format == "auto" else work.read.format
    lines = formats.read(("-",), work.read._replace(template=None, format=form))
    passed = 0
    with connect(work.settings, work.environ, observer, hide) as connection:
        prepare = preparation(connection, work.long)
        blocks = (interleaved(make, block) for block in without_empty(lines))
        for finished in embed_all(connection, blocks, prepare):
            scores = metrics.pairwise(work.metric, finished.vectors[::2], finished.vectors[1::2])
            kept = np.flatnonzero(work.bound.passes(scores)).tolist()
            passed += len(kept)
            texts = finished.rows.ids("text")
            yield [{"score": scores[i], "a": texts[2 * i], "b": texts[2 * i + 1]} for i in kept]
    if prepare.blank:
        observer(Note("blank lines were skipped: they get no score"))
    return Outcome(passed)
