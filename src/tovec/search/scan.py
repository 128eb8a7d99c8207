"""`tovec similarity --in FILE`: a corpus ranked against queries, or each of its rows labelled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import orjson

from tovec import formats
from tovec.errors import UsageError
from tovec.events import Note, Observer
from tovec.formats.applicability import check_stored
from tovec.formats.rows import checked
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.reorder import Finished
from tovec.records import Block, Rows
from tovec.search import corpus, metrics
from tovec.search.compare import Outcome, Row, Show, Similarity
from tovec.search.embedding import Texts, embed_rows, embed_texts, given, preparation
from tovec.search.metrics import Scores
from tovec.search.ranking import Hits, search
from tovec.search.vector_files.stored import Gathered, Stored, Vectors, every, open_stored

HITS = 10  # of each query, when neither a number nor a bound is given
SHOWN = 1024  # rows handed over at once
LABELLED = 50  # hits of a query marked in a picture

NO_TEXTS = Texts()
Fields = Callable[[Sequence[int]], Sequence[Row]]


def opened(
    work: Similarity, observer: Observer, hide: Hide, *, with_queries: bool = False
) -> tuple[Texts, Stored, int]:
    """Return the queries, the corpus, and how many of its rows were left out.

    A corpus of texts is embedded after the queries, with the same model.
    """
    stored, rejected = _stored_corpus(work, observer, hide)
    if stored is not None:
        queries = _queries_for(stored, work, observer, hide) if with_queries else NO_TEXTS
        return queries, stored, rejected
    with connect(work.settings, work.environ, observer, hide) as connection:
        prepare = preparation(connection, work.long)
        gathered = Gathered("standard input" if work.corpus == "-" else str(work.corpus))
        queries = Texts()
        texts = _query_blocks(work) if with_queries else iter(())
        for finished in _embedded_corpus(connection, work, prepare, queries, texts):
            fields = [orjson.dumps(one) for one in corpus.plain_fields(finished.rows)]
            gathered.add(finished.vectors, fields, finished.rows.index)
        _say(prepare, observer)
    return queries, gathered, prepare.rejected


def _stored_corpus(work: Similarity, observer: Observer, hide: Hide) -> tuple[Stored | None, int]:
    """Return the corpus if it is a file of vectors, or a job keeps those of its texts."""
    path = str(work.corpus)
    stored = None if path == "-" else open_stored(path, work.read.glob)
    _check_options(work, stored is not None)
    if stored is None and work.job_dir is not None:
        return _through_job(work, observer, hide)
    return stored, 0


def _queries_for(stored: Stored, work: Similarity, observer: Observer, hide: Hide) -> Texts:
    """Return the queries of stored vectors, embedded with the model that made those."""
    if not work.texts and not work.paths:
        return NO_TEXTS
    settings = corpus.settings_for(stored, work.settings)
    with connect(settings, work.environ, observer, hide) as connection:
        model = connection.client.endpoint.model
        corpus.check_model(stored, model)
        prepare = preparation(connection, work.long)
        queries = embed_texts(connection, _query_blocks(work), prepare, work.read.id_field)
        _say(prepare, observer)
    if queries.names:
        corpus.check_dimensions(stored, queries.vectors, model)
    return queries


def _query_blocks(work: Similarity) -> Iterator[Block]:
    """Return the texts that rows are compared with.

    --text-field and --id-field are about the rows; a template holds for both, unless the queries
    have their own.
    """
    read = work.read._replace(plain_as_text=True, given=frozenset())
    if work.query_template is not None:
        option = "--query-template"
        read = read._replace(
            template=work.query_template, template_option=option, given=frozenset((option,))
        )
    return given(work.texts, work.paths, read)


def _embedded_corpus(
    connection: Connection,
    work: Similarity,
    prepare: Preparation,
    queries: Texts,
    texts: Iterator[Block],
) -> Iterator[Finished]:
    """Yield the rows of a corpus of texts with their vectors; `queries` takes `texts` before."""
    rows = formats.read((str(work.corpus),), work.read._replace(given=frozenset()))
    return embed_rows(connection, rows, prepare, queries, texts, work.read.id_field)


def _say(prepare: Preparation, observer: Observer) -> None:
    for note in prepare.notes():
        observer(Note(note))


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
    texts, stored, rejected = opened(work, observer, hide, with_queries=True)
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
    stored, rejected = _stored_corpus(work, observer, hide)
    passed = 0
    if stored is not None:
        labels = _queries_for(stored, work, observer, hide)
        some(labels.names)
        if stored.rows:
            explain_missing_texts(work, stored, observer)
        for numbers, vectors, fields in _parts(stored):
            passed += _label_part(work, labels, vectors, numbers, fields, show)
        return Outcome(passed, rejected)
    with connect(work.settings, work.environ, observer, hide) as connection:
        prepare = preparation(connection, work.long)
        labels = Texts()
        for finished in _embedded_corpus(connection, work, prepare, labels, _query_blocks(work)):
            some(labels.names)
            fields = partial(_fields_of, finished.rows)
            numbers = finished.rows.index
            passed += _label_part(work, labels, finished.vectors, numbers, fields, show)
        some(labels.names)
        _say(prepare, observer)
    return Outcome(passed, prepare.rejected)


def _parts(stored: Stored) -> Iterator[tuple[Sequence[int], Vectors, Fields]]:
    """Yield stored rows, some at a time: their numbers, their vectors, what looks up the rest."""
    for first, block in every(stored) if stored.rows else ():
        for start in range(0, len(block), SHOWN):
            part = block[start : start + SHOWN]
            numbers = range(first + start, first + start + len(part))
            yield numbers, part, partial(_stored_fields, stored, first + start)


def _fields_of(rows: Rows, kept: Sequence[int]) -> Sequence[Row]:
    return corpus.plain_fields(rows.take(kept))


def _stored_fields(stored: Stored, first: int, kept: Sequence[int]) -> Sequence[Row]:
    return stored.fields([first + i for i in kept])


def _label_part(
    work: Similarity,
    labels: Texts,
    vectors: Vectors,
    numbers: Sequence[int],
    fields: Fields,
    show: Show,
) -> int:
    """Show some rows with their labels; return how many passed."""
    if not len(vectors):
        return 0
    metrics.check(vectors, str(work.corpus), numbers[0])
    scores = metrics.matrix(work.metric, vectors, labels.vectors)
    best = scores.argmin(axis=1) if work.metric == "euclidean" else scores.argmax(axis=1)
    top = scores[np.arange(len(best)), best]
    kept = np.flatnonzero(work.bound.passes(top)).tolist()
    ours = [
        {"row": numbers[i], "label": labels.names[best[i]], "score": float(top[i])} for i in kept
    ]
    show(with_fields(ours, fields(kept), work.columns))
    return len(kept)


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


def some(names: Sequence[str]) -> None:
    """Raise UsageError where there is nothing to compare the rows with."""
    if not names:
        raise UsageError(
            "there is no text to compare the rows with",
            hint="give texts, files of texts with -f, or --like ID",
        )
