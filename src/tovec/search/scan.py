"""`tovec similarity --in FILE`: a corpus ranked against queries, or each of its rows labelled."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tovec import formats
from tovec.errors import UsageError
from tovec.events import Note, Observer
from tovec.formats.applicability import check_stored
from tovec.formats.rows import checked
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.reorder import Finished
from tovec.records import Block
from tovec.search import corpus, embedding, metrics
from tovec.search.compare import Outcome, Row, Show, Similarity
from tovec.search.embedding import Source, Take, Texts
from tovec.search.metrics import Scores
from tovec.search.ranking import Hits, search
from tovec.search.vector_files.stored import Stored, Vectors, every, open_stored

HITS = 10  # of each query, when neither a number nor a bound is given
SHOWN = 1024  # rows handed over at once
LABELLED = 50  # hits of a query marked in a picture

Fields = Callable[[Sequence[int]], list[dict[str, Any]]]


def opened(
    work: Similarity,
    observer: Observer,
    hide: Hide,
    texts: Texts | None = None,
    take: Take | None = None,
) -> tuple[Stored, int]:
    """Give the corpus, and how many of its rows were left out; embed `texts` with its model.

    A corpus of texts is embedded after them; with `take`, its vectors go there as they come, and
    not into what is given back.
    """
    path = str(work.corpus)
    stored = None if path == "-" else open_stored(path, work.read.glob)
    _check_options(work, stored is not None)
    work = work._replace(read=work.read._replace(given=frozenset()))
    rejected = 0
    if stored is None and work.job_dir is not None:
        stored, rejected = _through_job(work, observer, hide)
    if stored is not None:
        if texts is not None and (work.texts or work.paths):
            settings = corpus.settings_for(stored, work.settings)
            connection = connect(settings, work.environ, observer, hide)
            model = connection.client.endpoint.model
            corpus.check_model(stored, model)
            embedding.embed(connection, [texts.source], work.long)
            if texts.names:
                corpus.check_dimensions(stored, texts.vectors, model)
        return stored, rejected
    source, gathered = corpus.texts(path, work.read)
    if take is not None:
        source = source._replace(take=take)
    connection = connect(work.settings, work.environ, observer, hide)
    before = [texts.source] if texts is not None else []
    return gathered, _embed(connection, [*before, source], work.long, observer)


def _check_options(work: Similarity, stored: bool) -> None:
    """Raise UsageError for an option about texts that acts neither on the rows nor the queries."""
    read = work.read
    if not stored:
        formats.check_given((str(work.corpus), *work.paths), read)
        return
    if work.paths:
        formats.check_given(work.paths, read)
    else:
        directory = os.path.isdir(str(work.corpus))  # noqa: PTH112 - a path as it was given
        check_stored(read.given - {"--glob"} if directory else read.given)
    if read.template is not None and (
        work.query_template is not None or not (work.texts or work.paths)
    ):
        raise UsageError(
            "--template makes texts of rows, and --in names stored vectors",
            hint="--query-template is for the texts that they are compared with",
        )


def _through_job(work: Similarity, observer: Observer, hide: Hide) -> tuple[Stored, int]:
    """Give a corpus of texts, whose vectors a job keeps: the next search asks for new rows only."""
    import atexit
    import tempfile

    from tovec.batch import run

    place = tempfile.TemporaryDirectory(prefix="tovec-")
    atexit.register(place.cleanup)
    target = f"{place.name}/corpus.parquet"
    done = run.run(
        run.Batch(
            settings=work.settings,
            environ=work.environ,
            paths=(str(work.corpus),),
            output=target,
            read=work.read,
            long=work.long,
            job_dir=work.job_dir,
            keep_job=True,
        ),
        observer,
        hide,
    )
    kept = f"{done.reused:,} of the corpus's vectors were kept, {done.asked:,} were asked for"
    observer(Note(kept, "info"))
    stored = open_stored(target)
    assert stored is not None
    return stored, done.rejected


class Picture(NamedTuple):
    """A corpus on the plane of its first principal components, its queries and their hits.

    `rows` is (n, 2), some of the rows; `share` the variance along each axis. A query is its name,
    its hits' places (n, 2) and labels, and its own place (2,).
    """

    rows: Scores
    share: tuple[float, float]
    queries: list[tuple[str, Scores, list[str], Scores]]


Draw = Callable[[Picture], None]


def rank(
    work: Similarity, observer: Observer, hide: Hide, show: Show, draw: Draw | None = None
) -> Outcome:
    """Show the rows nearest to each query, nearest first; a row like others is not its own hit.

    `draw` is given the corpus with the hits marked.
    """
    texts = queries_of(work)
    stored, rejected = opened(work, observer, hide, texts)
    names, queries = [*texts.names, *work.like], texts.vectors
    some(names)
    if not stored.rows:
        return Outcome(0, rejected)
    skip = np.full(len(names), -1)
    if work.like:
        places = corpus.find(stored, work.like, work.read.id_field)
        skip[len(texts.names) :] = places
        alike = corpus.take(stored, places)
        queries = np.concatenate([queries, alike]) if len(queries) else alike
    k = work.k or (None if work.bound else HITS)
    found = search(stored, queries, work.metric, k=k, bound=work.bound, skip=skip)
    if any(len(hits.rows) for hits in found):
        explain_missing_texts(work, stored, observer)
    for name, hits in zip(names, found, strict=True):
        for start in range(0, len(hits.rows), SHOWN):
            rows = hits.rows[start : start + SHOWN].tolist()
            scores = hits.scores[start : start + SHOWN].tolist()
            ours = [
                {"query": name, "rank": rank, "score": score, "row": stored.number(row)}
                for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start + 1)
            ]
            show(with_fields(ours, stored.fields(rows), work.columns))
    if draw is not None:
        draw(_picture(work, stored, names, queries, found))
    return Outcome(sum(len(hits.rows) for hits in found), rejected)


def _picture(
    work: Similarity, stored: Stored, names: list[str], queries: Vectors, found: list[Hits]
) -> Picture:
    from tovec.search import projection

    plane = projection.plane(work.metric, stored)
    marked = []
    for name, query, hits in zip(names, queries, found, strict=True):
        rows = hits.rows[:LABELLED].tolist()
        labels = [
            _label(work, stored.number(r), f)
            for r, f in zip(rows, stored.fields(rows), strict=True)
        ]
        places = plane.points(corpus.take(stored, rows)) if rows else np.empty((0, 2))
        marked.append((name, places, labels, plane.points(query[None])[0]))
    return Picture(projection.sample(stored, plane), plane.share, marked)


def _label(work: Similarity, number: int, fields: Row) -> str:
    preferred = (work.read.id_field, *work.read.text_fields, "id")
    known = (str(fields[name]) for name in preferred if name is not None and name in fields)
    return next(known, f"row {number}")


def label_each(work: Similarity, observer: Observer, hide: Hide, show: Show) -> Outcome:
    """Show each row with the text nearest to it, its label, in the order of the rows."""
    labels = queries_of(work)
    passed = 0

    def label(block: Vectors, numbers: Sequence[int], fields: Fields) -> None:
        nonlocal passed
        some(labels.names)
        metrics.check(block, str(work.corpus), numbers[0])
        scores = metrics.matrix(work.metric, block, labels.vectors)
        best = scores.argmin(axis=1) if work.metric == "euclidean" else scores.argmax(axis=1)
        top = scores[np.arange(len(best)), best]
        kept = np.flatnonzero(work.bound.passes(top)).tolist()
        passed += len(kept)
        ours = [
            {"row": numbers[i], "label": labels.names[best[i]], "score": float(top[i])}
            for i in kept
        ]
        show(with_fields(ours, fields(kept), work.columns))

    def take(_block: Block, finished: Finished) -> None:
        rows = finished.rows
        label(finished.vectors, rows.index, lambda kept: corpus.plain_fields(rows.take(kept)))

    stored, rejected = opened(work, observer, hide, labels, take)
    if stored.rows:
        explain_missing_texts(work, stored, observer)
    for first, block in every(stored) if stored.rows else ():
        for start in range(first, first + len(block), SHOWN):
            numbers = range(start, min(start + SHOWN, first + len(block)))
            part = block[start - first : start - first + SHOWN]
            label(part, numbers, lambda kept, at=start: stored.fields([at + i for i in kept]))  # type: ignore[misc]
    some(labels.names)
    return Outcome(passed, rejected)


def explain_missing_texts(work: Similarity, stored: Stored, observer: Observer) -> None:
    """Say why results have no texts, and how to get them, where the file stores none."""
    if stored.has_columns or work.columns is not None:
        return
    said = f"{stored.source} stores no texts: results have the rows' numbers and ids"
    observer(Note(f"{said}; .parquet and .jsonl keep the texts", "summary"))


def with_fields(
    ours: Sequence[Row], fields: Sequence[Row], columns: Sequence[str] | None
) -> list[Row]:
    """Give results with their rows' fields; InputError for a column that no row has."""
    if columns is not None and fields:
        checked(columns, dict.fromkeys(name for one in fields for name in one))
    return [corpus.named(a, b, columns) for a, b in zip(ours, fields, strict=True)]


def queries_of(work: Similarity) -> Texts:
    """Return the texts that rows are compared with, not embedded yet.

    --text-field and --id-field are about the rows; a template holds for both, unless the queries
    have their own.
    """
    read = work.read._replace(plain_as_text=True, given=frozenset())
    if work.query_template is not None:
        option = "--query-template"
        read = read._replace(
            template=work.query_template, template_option=option, given=frozenset((option,))
        )
    return Texts(embedding.given(work.texts, work.paths, read), read.id_field)


def some(names: Sequence[str]) -> None:
    """Raise UsageError where there is nothing to compare the rows with."""
    if not names:
        raise UsageError(
            "there is no text to compare the rows with",
            hint="give texts, files of texts with -f, or --like ID",
        )


def _embed(
    connection: Connection, sources: Sequence[Source], long: LongTexts, observer: Observer
) -> int:
    """Embed, say what was left out, and give how many rows that were."""
    done = embedding.embed(connection, sources, long)
    for note in done.notes():
        observer(Note(note))
    return done.rejected
