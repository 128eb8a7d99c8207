"""`tovec similarity`, put together: what is compared, with what, and what comes out as rows.

Every result is a row of named values, handed over in lists as it is known; how rows look is the
command line's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tovec import formats
from tovec.errors import UsageError
from tovec.events import Note, Observer
from tovec.formats.fields import PlainText
from tovec.formats.protocols import ReadOptions
from tovec.pipeline.connect import Hide, connect
from tovec.pipeline.long_texts import LongTexts
from tovec.search import metrics
from tovec.search.embedding import (
    embed_all,
    embed_texts,
    given,
    interleaved,
    preparation,
    without_empty,
)
from tovec.search.metrics import Bound, Scores, Vectors
from tovec.settings import Settings

MATRIX_ROWS = 256  # of a matrix computed at once

Row = Mapping[str, Any]
Show = Callable[[Sequence[Row]], None]


class Similarity(NamedTuple):
    """What one `tovec similarity` is to do."""

    settings: Settings
    environ: Mapping[str, str]
    texts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    read: ReadOptions = ReadOptions()
    long: LongTexts = LongTexts()
    metric: str = "cosine"
    bound: Bound = Bound()
    corpus: str | None = None
    k: int | None = None
    like: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    job_dir: str | None = None
    query_template: str | None = None  # of the texts that rows are compared with


class Outcome(NamedTuple):
    """How many results passed, and how many rows of the input were left out."""

    passed: int
    rejected: int = 0


class Matrix(NamedTuple):
    """Texts compared with each other."""

    names: list[str]
    vectors: Vectors
    metric: str
    model: str

    def blocks(self) -> Iterator[Scores]:
        """Give the (n, n) scores, some rows at a time."""
        for start in range(0, len(self.names), MATRIX_ROWS):
            some = self.vectors[start : start + MATRIX_ROWS]
            yield metrics.matrix(self.metric, some, self.vectors)

    def pair(self) -> float:
        """Give the score of the first two."""
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


def compare(work: Similarity, observer: Observer, hide: Hide) -> Matrix:
    """Return the texts with their vectors, ready to be compared with each other."""
    with connect(work.settings, work.environ, observer, hide) as connection:
        texts = embed_texts(
            connection,
            given(work.texts, work.paths, work.read),
            preparation(connection, work.long),
            work.read.id_field,
        )
    if len(texts.names) < 2:
        raise UsageError(
            "one text has nothing to be compared with",
            hint="give two or more, or --in FILE to rank its rows",
        )
    return Matrix(texts.names, texts.vectors, work.metric, connection.client.endpoint.model)


def compare_lines(work: Similarity, observer: Observer, hide: Hide, show: Show) -> Outcome:
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
            show([{"score": scores[i], "a": texts[2 * i], "b": texts[2 * i + 1]} for i in kept])
    if prepare.blank:
        observer(Note("blank lines were skipped: there is no score for them"))
    return Outcome(passed)
