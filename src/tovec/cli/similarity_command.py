"""The command `tovec similarity`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from tovec.cli.hints import warn_of_file_names
from tovec.cli.options import Common, EndpointOptions, InputOptions, TextInputs
from tovec.cli.progress import Watch, stream_display
from tovec.cli.reporting import Reporter
from tovec.cli.similarity_options import ComparisonOptions, ResultOptions, SearchOptions
from tovec.errors import UsageError
from tovec.startup import load_numpy

if TYPE_CHECKING:
    from tovec.cli.plots import Drawing
    from tovec.search.task import Outcome, Similarity


def similarity(
    reporter: Reporter,
    common: Common,
    given: TextInputs,
    search: SearchOptions,
    comparison: ComparisonOptions,
    display: ResultOptions,
    endpoint: EndpointOptions,
    input_options: InputOptions,
) -> None:
    """Compare texts with each other, or search files of texts and stored vectors.

    if tovec similarity -q "$a" "$b" --min 0.8; then echo alike; fi

    tovec similarity "how do I pay" --in faq.parquet -k 3
    """
    from tovec.cli.similarity_arguments import Given, mode_of, task_of
    from tovec.cli.similarity_view import results_for, show_matrix
    from tovec.search.task import MODES, Findings

    options = Given(common, given, search, comparison, display, endpoint, input_options)
    mode = mode_of(options)
    if not MODES[mode].parallel:
        load_numpy()
    warn_of_file_names(given.texts or (), reporter)
    work = task_of(mode, options)
    drawing = _drawing(display)
    results = results_for(mode, work, display.format, quiet=common.quiet)
    shown = stream_display(reporter, to_file=work.corpus is not None)
    with Watch(reporter, shown) as watch:
        findings = Findings(MODES[mode].load()(work, watch, reporter.hide))
        with closing(findings):
            for rows in findings:
                watch.clear()
                results(rows)
    outcome = findings.outcome
    if outcome.matrix is None:
        results.finish()
    elif not common.quiet:
        show_matrix(outcome.matrix, display.format)
    if drawing is not None:
        drawing.draw(work, outcome)
    _answer(work, outcome)


def _drawing(display: ResultOptions) -> Drawing | None:
    """Return what draws, checked before anything is paid for; None where nothing is drawn."""
    if display.plot is None:
        if display.force:
            raise UsageError("--force replaces a picture", hint="--plot FILE draws one")
        return None
    from tovec.cli.plots import Drawing

    return Drawing(display.plot, force=display.force)


def _answer(work: Similarity, outcome: Outcome) -> None:
    """End with 1 when a bound was given and nothing passed, with 3 when rows were left out."""
    if work.bound and not outcome.passed:
        raise typer.Exit(3 if outcome.rejected else 1)
    if outcome.rejected and not work.bound:
        raise typer.Exit(3)
