"""`tovec similarity --in FILE` without a query: what the rows are to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from tovec.errors import UsageError
from tovec.events import Observer, Progress
from tovec.pipeline.connect import Hide
from tovec.search import pairwise
from tovec.search.compare import Outcome, Show, Similarity
from tovec.search.corpus import named
from tovec.search.scan import HITS, SHOWN, explain_missing_texts, opened, with_fields
from tovec.search.vector_files.stored import Stored


def _progress(observer: Observer, stored: Stored) -> pairwise.OnRows:
    """Return what tells the observer how many rows have been compared."""
    return lambda rows: observer(Progress("comparing", rows, stored.rows, 0, None, 0))


def pairs(work: Similarity, observer: Observer, hide: Hide, show: Show) -> Outcome:
    """Show the pairs of rows nearest to each other, nearest first."""
    _, stored, rejected = opened(work, observer, hide)
    k = work.k or (None if work.bound else HITS)
    found = pairwise.near_pairs(work.metric, stored, work.bound, k, _progress(observer, stored))
    if len(found.scores):
        explain_missing_texts(work, stored, observer)
    for start in range(0, len(found.scores), SHOWN):
        one, two, scores = (column[start : start + SHOWN].tolist() for column in found)
        ours: list[dict[str, Any]] = [
            {"score": score, "row": stored.number(a), "other": stored.number(b)}
            for a, b, score in zip(one, two, scores, strict=True)
        ]
        rows = with_fields(ours, stored.fields(one), work.columns)
        others = stored.fields(two)
        show([
            named(row, fields, work.columns, "other_", always=True)
            for row, fields in zip(rows, others, strict=True)
        ])  # fmt: skip
    return Outcome(len(found.scores), rejected)


def outliers(work: Similarity, observer: Observer, hide: Hide, show: Show) -> Outcome:
    """Show the rows least like their nearest neighbours, the loneliest first."""
    _, stored, rejected = opened(work, observer, hide)
    nearest, scores = pairwise.nearest_others(work.metric, stored, _progress(observer, stored))
    far = scores if work.metric == "euclidean" else -scores
    order = np.lexsort((np.arange(len(far)), -far))[: work.k or HITS]
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
    show(with_fields(ours, stored.fields(order.tolist()), work.columns))
    return Outcome(len(ours), rejected)


def diversity(work: Similarity, observer: Observer, hide: Hide, show: Show) -> Outcome:
    """Show the mean distance of two rows: 1 - cosine, or Euclidean."""
    if work.metric == "dot":
        raise UsageError("--metric dot cannot be used here", hint="choose cosine or euclidean")
    _, stored, rejected = opened(work, observer, hide)
    if stored.rows < 2:
        raise UsageError("the mean distance of rows needs two rows or more", where=stored.source)
    mean = pairwise.diversity(work.metric, stored, _progress(observer, stored))
    show([{"diversity": mean, "metric": work.metric, "rows": stored.rows}])
    return Outcome(1, rejected)


def clusters(
    work: Similarity, observer: Observer, hide: Hide, show: Show, count: int = 2
) -> Outcome:
    """Show each row with its cluster, the largest first, its most typical rows first."""
    if work.metric == "dot":
        raise UsageError("--metric dot cannot be used here", hint="choose cosine or euclidean")
    _, stored, rejected = opened(work, observer, hide)
    if not stored.rows:
        return Outcome(0, rejected)
    labels, scores = pairwise.clusters(work.metric, stored, count, _progress(observer, stored))
    far = scores if work.metric == "euclidean" else -scores
    order = np.lexsort((np.arange(len(labels)), far, labels))
    if work.k:
        first = np.searchsorted(labels[order], labels[order])
        order = order[np.arange(len(order)) - first < work.k]
    explain_missing_texts(work, stored, observer)
    for start in range(0, len(order), SHOWN):
        rows = order[start : start + SHOWN].tolist()
        ours = [
            {"cluster": int(labels[i]), "score": float(scores[i]), "row": stored.number(i)}
            for i in rows
        ]
        show(with_fields(ours, stored.fields(rows), work.columns))
    return Outcome(stored.rows, rejected)
