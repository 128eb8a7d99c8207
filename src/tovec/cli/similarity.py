"""The command `tovec similarity`."""

import os
import sys
from typing import Annotated, Any

import typer

from tovec.cli.options import (
    INPUT,
    Common,
    EndpointOptions,
    InputOptions,
    chosen,
    one_of,
    read_options,
)
from tovec.cli.reporting import Reporter
from tovec.cli.results import FORMATS, Results, as_json, put, tsv
from tovec.cli.terminal import is_terminal
from tovec.errors import UsageError

COMPARISON = "Comparison"
SHOWN = "Output"


def similarity(
    reporter: Reporter,
    common: Common,
    endpoint: EndpointOptions,
    input_options: InputOptions,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Texts to compare.", show_default=False),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="PATH",
            help="Read further texts from PATH (- is stdin); may be repeated.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            metavar="cosine|dot|euclidean",
            help="How two vectors are compared; euclidean is a distance: less is nearer.",
            rich_help_panel=COMPARISON,
        ),
    ] = "cosine",
    least: Annotated[
        float | None,
        typer.Option(
            "--min",
            metavar="SCORE",
            help="Only what scores at least SCORE; exit 1 when nothing does.",
            rich_help_panel=COMPARISON,
            show_default=False,
        ),
    ] = None,
    most: Annotated[
        float | None,
        typer.Option(
            "--max",
            metavar="DISTANCE",
            help="With --metric euclidean: only what is at most DISTANCE away.",
            rich_help_panel=COMPARISON,
            show_default=False,
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(
            "--format",
            metavar="table|json|jsonl|tsv",
            help="By default a table on a terminal, else plain numbers or tsv.",
            rich_help_panel=SHOWN,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare texts: two give one number, more a matrix, lines of two texts a number a line.

    tovec similarity "a cat" "a kitten" -p local

    if tovec similarity -q "$a" "$b" --min 0.8; then echo alike; fi

    paste old.txt new.txt | tovec similarity -p local
    """
    from tovec.jobs import similarity as job
    from tovec.jobs.metrics import METRICS, Bound

    if format is not None:
        one_of("--format", format, FORMATS)
    work = job.Similarity(
        settings=chosen(common, endpoint),
        environ=os.environ,
        texts=tuple(texts or ()),
        paths=tuple(file or ()),
        read=read_options(input_options),
        metric=one_of("--metric", metric, METRICS),
        bound=Bound(least, most).checked(metric),
    )
    if work.texts or work.paths:
        matrix = job.compare(work, reporter.event, reporter.hide)
        if not common.quiet:
            _show_matrix(matrix, format)
        _answer(work, job.Outcome(matrix.passed(work.bound) if work.bound else 1))
        return
    if is_terminal(sys.stdin):
        raise UsageError(
            "there is nothing to compare",
            hint="give two texts, or pipe in lines of two texts with a tab between them",
        )
    results = Results(format, quiet=common.quiet) if format else _Numbers(quiet=common.quiet)
    outcome = job.compare_lines(work, reporter.event, reporter.hide, results)
    results.finish()
    _answer(work, outcome)


def _answer(work: Any, outcome: Any) -> None:
    """End with 1 when a bound was given and nothing passed, with 3 when rows were left out."""
    if work.bound and not outcome.passed:
        raise typer.Exit(3 if outcome.rejected else 1)
    if outcome.rejected and not work.bound:
        raise typer.Exit(3)


class _Numbers(Results):
    """A score a line, and nothing else."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__("tsv", quiet=quiet)

    def __call__(self, rows: Any) -> None:
        """Write the rows' scores."""
        from tovec.jobs.metrics import shown

        if not self._quiet:
            sys.stdout.write("".join(shown(row["score"]) + "\n" for row in rows))
            sys.stdout.flush()


def _show_matrix(matrix: Any, form: str | None) -> None:
    """Show the scores of texts with each other: two give one number."""
    from tovec.cli import heat
    from tovec.jobs.metrics import shown

    names, metric, model = matrix.names, matrix.metric, matrix.model
    if len(names) == 2:
        score = matrix.pair()
        if form is None and not is_terminal():
            put(shown(score))
        elif form in (None, "table"):
            heat.pair(shown(score), metric, model)
        else:
            results = Results(form)
            results([{"score": score, "a": names[0], "b": names[1]}])
            results.finish()
        return
    match form or ("table" if is_terminal() else "tsv"):
        case "table":
            import numpy as np

            heat.matrix(names, np.concatenate(list(matrix.blocks())), metric)
        case "tsv":
            put(tsv(["", *names]))
            at = 0
            for block in matrix.blocks():
                for row in block:
                    put(tsv([names[at], *map(shown, row)]))
                    at += 1
        case "jsonl":
            at = 0
            for block in matrix.blocks():
                for row in block:
                    put(as_json({"text": names[at], "scores": row.tolist()}))
                    at += 1
        case _:
            scores = [row.tolist() for block in matrix.blocks() for row in block]
            found = {"metric": metric, "model": model, "texts": names, "scores": scores}
            put(as_json(found))
