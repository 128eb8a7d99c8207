"""From the values of the options of `tovec similarity` to its mode and its task."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from tovec.cli.arguments import load_settings, long_texts, read_options, split_names
from tovec.cli.options import Common, EndpointOptions, InputOptions, TextInputs
from tovec.cli.similarity_options import ComparisonOptions, ResultOptions, SearchOptions
from tovec.cli.terminal import is_terminal
from tovec.errors import UsageError
from tovec.search.task import MODES, Acting, Mode, Queries, Similarity, select_mode

if TYPE_CHECKING:
    from tovec.pipeline.long_texts import LongTexts


class Given(NamedTuple):
    """All options of `tovec similarity`."""

    common: Common
    texts: TextInputs
    search: SearchOptions
    comparison: ComparisonOptions
    display: ResultOptions
    endpoint: EndpointOptions
    input: InputOptions


def mode_of(given: Given) -> Mode:
    """Return the mode that the options ask for. Raises UsageError for one that would not act."""
    search = given.search
    return select_mode(
        search.modes,
        _used(given),
        given.comparison.metric,
        corpus=search.corpus is not None,
        piped=not is_terminal(sys.stdin),
    )


def task_of(mode: Mode, given: Given) -> Similarity:
    """Return what is to be done. numpy is loaded."""
    from tovec.search.metrics import Bound
    from tovec.store.collisions import check_collisions

    search, display, comparison = given.search, given.display, given.comparison
    reads = [path for path in (*(given.texts.file or ()), search.corpus) if path is not None]
    outputs = {"--plot": display.plot, "the job directory": search.job_dir}
    check_collisions(outputs, reads, search.job_dir)
    return Similarity(
        settings=load_settings(given.common, given.endpoint),
        environ=os.environ,
        queries=_queries(mode, given),
        read=read_options(given.input),
        long=_one_vector_each(long_texts(given.input)),
        metric=comparison.metric,
        bound=Bound(comparison.least, comparison.most).checked(comparison.metric),
        corpus=search.corpus,
        k=search.k,
        columns=split_names(display.columns),
        job_dir=search.job_dir,
        clusters=search.clusters or 1,
        rescore=_rescore(search, comparison),
        has_picture=display.plot is not None,
    )


def _rescore(search: SearchOptions, comparison: ComparisonOptions) -> int | None:
    """Return how many times -k rows are scored; UsageError where no number of rows is asked for."""
    bounded = comparison.least is not None or comparison.most is not None
    if search.rescore is not None and bounded and search.k is None:
        raise UsageError("--rescore takes a number of candidates", hint="add -k N to the bound")
    return search.rescore


def _used(given: Given) -> list[Acting]:
    """Return what is given of that which acts in some modes only."""
    search, comparison, display = given.search, given.comparison, given.display
    values = {
        Acting.TEXTS: given.texts.texts or given.texts.file,
        Acting.LIKE: search.like,
        Acting.QUERY_TEMPLATE: search.query_template is not None,
        Acting.K: search.k,
        Acting.RESCORE: search.rescore,
        Acting.BOUNDS: comparison.least is not None or comparison.most is not None,
        Acting.COLUMNS: display.columns is not None,
        Acting.JOB_DIR: search.job_dir is not None,
        Acting.PLOT: display.plot is not None,
    }
    return [one for one, value in values.items() if value]


def _queries(mode: Mode, given: Given) -> Queries:
    """Return what rows are compared with: where nothing else is given, the lines of a pipe."""
    search = given.search
    queries = Queries(
        tuple(given.texts.texts or ()),
        tuple(given.texts.file or ()),
        tuple(search.like or ()),
        search.query_template,
    )
    takes_texts = search.corpus not in (None, "-") and Acting.TEXTS in MODES[mode].acting
    nothing = not (queries.has_texts or queries.like)
    if takes_texts and nothing and not is_terminal(sys.stdin):
        queries = queries._replace(paths=("-",))
    if queries.template is not None and not queries.has_texts:
        raise UsageError("--query-template is for texts, but no text is given")
    return queries


def _one_vector_each(long: LongTexts) -> LongTexts:
    """Return what is done with long texts; UsageError where one text would become several rows."""
    if long.policy == "split":
        raise UsageError(
            "a comparison needs one vector per text",
            hint="--long mean or truncate; or store the chunks with tovec embed --long split",
        )
    return long
