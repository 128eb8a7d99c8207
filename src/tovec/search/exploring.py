"""`tovec similarity --in FILE` without a query: what the rows are to each other."""

from __future__ import annotations

import numpy as np

from tovec.errors import UsageError
from tovec.events import Observer, Progress
from tovec.pipeline.connect import Hide
from tovec.search import pairwise
from tovec.search.corpus import merge_fields
from tovec.search.opening import explain_missing_texts, open_corpus
from tovec.search.scan import BLOCK_ROWS, DEFAULT_HITS, with_fields
from tovec.search.task import Found, Outcome, Row, Similarity
from tovec.search.vector_files.stored import Stored


def _progress(observer: Observer, stored: Stored) -> pairwise.OnRows:
    """Return what tells the observer how many rows have been compared."""
    return lambda rows: observer(Progress("comparing", rows, stored.rows, 0, None, 0))


def pairs(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Yield the pairs of rows nearest to each other, nearest first."""
    stored, rejected, _ = open_corpus(work, observer, hide)
    k = work.k or (None if work.bound else DEFAULT_HITS)
    found = pairwise.near_pairs(work.metric, stored, work.bound, k, _progress(observer, stored))
    if len(found.scores):
        explain_missing_texts(work, stored, observer)
    for start in range(0, len(found.scores), BLOCK_ROWS):
        one, two, scores = (column[start : start + BLOCK_ROWS].tolist() for column in found)
        ours: list[Row] = [
            {"score": score, "row": stored.number(a), "other": stored.number(b)}
            for a, b, score in zip(one, two, scores, strict=True)
        ]
        rows = with_fields(ours, stored.fields(one), work.columns)
        others = stored.fields(two)
        yield [
            merge_fields(row, fields, work.columns, "other_", always=True)
            for row, fields in zip(rows, others, strict=True)
        ]
    return Outcome(len(found.scores), rejected)


def outliers(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Yield the rows least like their nearest neighbours, the loneliest first."""
    stored, rejected, _ = open_corpus(work, observer, hide)
    nearest, scores = pairwise.nearest_others(work.metric, stored, _progress(observer, stored))
    far = scores if work.metric == "euclidean" else -scores
    order = np.lexsort((np.arange(len(far)), -far))[: work.k or DEFAULT_HITS]
    order = order[nearest[order] >= 0]
    ours = [
        {
            "rank": rank,
            "score": float(scores[row]),
            "row": stored.number(row),
            "nearest": stored.number(int(nearest[row])),
        }
        for rank, row in enumerate(order.tolist(), 1)
    ]
    explain_missing_texts(work, stored, observer)
    yield with_fields(ours, stored.fields(order.tolist()), work.columns)
    return Outcome(len(ours), rejected)


def diversity(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Yield the mean distance of two rows: 1 - cosine, or Euclidean."""
    stored, rejected, _ = open_corpus(work, observer, hide)
    if stored.rows < 2:
        raise UsageError("the mean distance of rows needs two rows or more", where=stored.source)
    mean = pairwise.diversity(work.metric, stored, _progress(observer, stored))
    yield [{"diversity": mean, "metric": work.metric, "rows": stored.rows}]
    return Outcome(1, rejected)


def clusters(work: Similarity, observer: Observer, hide: Hide) -> Found:
    """Yield each row with its cluster, the largest first, its most typical rows first."""
    stored, rejected, _ = open_corpus(work, observer, hide)
    if not stored.rows:
        return Outcome(0, rejected)
    labels, scores = pairwise.clusters(
        work.metric, stored, work.clusters, _progress(observer, stored)
    )
    far = scores if work.metric == "euclidean" else -scores
    order = np.lexsort((np.arange(len(labels)), far, labels))
    if work.k:
        first = np.searchsorted(labels[order], labels[order])
        order = order[np.arange(len(order)) - first < work.k]
    explain_missing_texts(work, stored, observer)
    for start in range(0, len(order), BLOCK_ROWS):
        rows = order[start : start + BLOCK_ROWS].tolist()
        ours = [
            {"cluster": int(labels[i]), "score": float(scores[i]), "row": stored.number(i)}
            for i in rows
        ]
        yield with_fields(ours, stored.fields(rows), work.columns)
    return Outcome(stored.rows, rejected)
