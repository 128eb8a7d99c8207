"""`tovec similarity --in FILE`: a corpus ranked against queries, or each of its rows labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from tovec.errors import UsageError
from tovec.events import Observer
from tovec.formats.quantised import BITS
from tovec.formats.rows import checked
from tovec.pipeline.complete import preparation
from tovec.pipeline.connect import Hide, connect
from tovec.records import Rows
from tovec.search import corpus, metrics, projection
from tovec.search.embedding import Texts
from tovec.search.hamming import search_bits
from tovec.search.metrics import Scores
from tovec.search.opening import (
    embed_corpus,
    embed_queries,
    explain_missing_texts,
    open_corpus,
    open_stored_corpus,
    say_left_out,
)
from tovec.search.ranking import Hits, Places, search
from tovec.search.task import Found, Outcome, Row, Similarity
from tovec.search.vector_files.stored import Stored, Vectors, all_blocks

DEFAULT_HITS = 10  # of each query, when neither a number nor a bound is given
BLOCK_ROWS = 1024  # rows handed over at once
MAX_LABELLED_HITS = 50  # hits of a query marked in a picture

Fields = Callable[[Sequence[int]], Sequence[Row]]


class Picture(NamedTuple):
    """A corpus on the plane of its first principal components, its queries and their hits.

    `rows` is (n, 2), some of the rows; `share` the variance along each axis. A query is its name,
    its hits' places (n, 2) and labels, and its own place (2,).
    """

    rows: Scores
    share: tuple[float, float]
    queries: list[tuple[str, Scores, list[str], Scores]]


def rank(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Yield the rows nearest to each query, nearest first; a row like others is not its own hit."""
    stored, rejected, texts = open_corpus(work, observer, hide)
    like = work.queries.like
    names, queries = [*texts.names, *like], texts.vectors
    _check_names(names)
    if not stored.rows:
        return Outcome(0, rejected)
    skip = np.full(len(names), -1)
    if like:
        places = corpus.find_rows(stored, like, work.read.id_field)
        skip[len(texts.names) :] = places
        alike = stored.take(places)
        queries = np.concatenate([queries, alike]) if len(queries) else alike
    k = work.k or (None if work.bound else DEFAULT_HITS)
    found = _nearest(work, stored, queries, k, skip)
    if any(len(hits.rows) for hits in found):
        explain_missing_texts(work, stored, observer)
    for name, hits in zip(names, found, strict=True):
        for start in range(0, len(hits.rows), BLOCK_ROWS):
            rows = hits.rows[start : start + BLOCK_ROWS].tolist()
            scores = hits.scores[start : start + BLOCK_ROWS].tolist()
            ours = [
                {"query": name, "rank": rank, "score": score, "row": stored.number(row)}
                for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start + 1)
            ]
            yield with_fields(ours, stored.fields(rows), work.columns)
    picture = _picture(work, stored, names, queries, found) if work.has_picture else None
    return Outcome(sum(len(hits.rows) for hits in found), rejected, picture=picture)


def _nearest(
    work: Similarity, stored: Stored, queries: Vectors, k: int | None, skip: Places
) -> list[Hits]:
    """Return each query's nearest rows, by their bits first where that is asked for."""
    only_bits = stored.dtype in BITS and stored.has_bits
    if k is None or (work.rescore is None and not only_bits):
        return search(stored, queries, work.metric, k=k, bound=work.bound, skip=skip)
    return search_bits(
        stored, queries, work.metric, k, multiple=work.rescore, bound=work.bound, skip=skip
    )


def _picture(
    work: Similarity, stored: Stored, names: list[str], queries: Vectors, found: list[Hits]
) -> Picture:
    plane = projection.fit_plane(work.metric, stored)
    marked = []
    for name, query, hits in zip(names, queries, found, strict=True):
        rows = hits.rows[:MAX_LABELLED_HITS].tolist()
        labels = [
            _point_label(work, stored.number(r), f)
            for r, f in zip(rows, stored.fields(rows), strict=True)
        ]
        places = plane.points(stored.take(rows)) if rows else np.empty((0, 2))
        marked.append((name, places, labels, plane.points(query[None])[0]))
    return Picture(projection.sample_points(stored, plane), plane.share, marked)


def _point_label(work: Similarity, number: int, fields: Row) -> str:
    preferred = (work.read.id_field, *work.read.text_fields, "id")
    known = (str(fields[name]) for name in preferred if name is not None and name in fields)
    return next(known, f"row {number}")


def label_each(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Yield each row with the text nearest to it, its label, in the order of the rows."""
    stored, rejected = open_stored_corpus(work, observer, hide)
    passed = 0
    if stored is not None:
        labels = embed_queries(stored, work, observer, hide)
        _check_names(labels.names)
        if stored.rows:
            explain_missing_texts(work, stored, observer)
        for numbers, vectors, fields in _parts(stored):
            rows = _label(work, labels, vectors, numbers, fields)
            passed += len(rows)
            yield rows
        return Outcome(passed, rejected)
    with connect(work.settings, work.environ, observer, hide) as connection:
        prepare = preparation(connection, work.long)
        labels = Texts()
        for finished in embed_corpus(connection, work, prepare, labels):
            _check_names(labels.names)
            fields = partial(_fields_of, finished.rows)
            rows = _label(work, labels, finished.vectors, finished.rows.index, fields)
            passed += len(rows)
            yield rows
        _check_names(labels.names)
        say_left_out(prepare, observer)
    return Outcome(passed, prepare.rejected)


def _parts(stored: Stored) -> Iterator[tuple[Sequence[int], Vectors, Fields]]:
    """Yield stored rows, some at a time: their numbers, their vectors, what looks up the rest."""
    for first, block in all_blocks(stored) if stored.rows else ():
        for start in range(0, len(block), BLOCK_ROWS):
            part = block[start : start + BLOCK_ROWS]
            numbers = range(first + start, first + start + len(part))
            yield numbers, part, partial(_stored_fields, stored, first + start)


def _fields_of(rows: Rows, kept: Sequence[int]) -> Sequence[Row]:
    return corpus.fields_of(rows.take(kept))


def _stored_fields(stored: Stored, first: int, kept: Sequence[int]) -> Sequence[Row]:
    return stored.fields([first + i for i in kept])


def _label(
    work: Similarity, labels: Texts, vectors: Vectors, numbers: Sequence[int], fields: Fields
) -> list[Row]:
    """Return those of some rows that pass, each with its label."""
    if not len(vectors):
        return []
    metrics.check(vectors, str(work.corpus), numbers[0])
    scores = metrics.matrix(work.metric, vectors, labels.vectors)
    best = scores.argmin(axis=1) if work.metric == "euclidean" else scores.argmax(axis=1)
    top = scores[np.arange(len(best)), best]
    kept = np.flatnonzero(work.bound.passes(top)).tolist()
    ours = [
        {"row": numbers[i], "label": labels.names[best[i]], "score": float(top[i])} for i in kept
    ]
    return with_fields(ours, fields(kept), work.columns)


def with_fields(
    ours: Sequence[Row], fields: Sequence[Row], columns: Sequence[str] | None
) -> list[Row]:
    """Return results with their rows' fields; InputError for a column that no row has."""
    if columns is not None and fields:
        checked(columns, dict.fromkeys(name for one in fields for name in one))
    return [corpus.merge_fields(a, b, columns) for a, b in zip(ours, fields, strict=True)]


def _check_names(names: Sequence[str]) -> None:
    """Raise UsageError where there is nothing to compare the rows with."""
    if not names:
        raise UsageError(
            "there is no text to compare the rows with",
            hint="give texts, files of texts with -f, or --like ID",
        )
