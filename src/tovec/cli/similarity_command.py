"""The command `tovec similarity`."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from tovec.cli.arguments import load_settings, long_texts, read_options, split_names
from tovec.cli.hints import warn_of_file_names
from tovec.cli.options import Common, EndpointOptions, InputOptions, TextInputs
from tovec.cli.progress import Watch, stream_display
from tovec.cli.reporting import Reporter
from tovec.cli.similarity_options import ComparisonOptions, ResultOptions, SearchOptions
from tovec.cli.tables import Results, Row, as_json, put, tsv
from tovec.cli.terminal import is_terminal
from tovec.errors import UsageError
from tovec.startup import load_numpy

WITHOUT_TEXTS = ("--pairs", "--outliers", "--diversity", "--clusters")


def similarity(
    reporter: Reporter,
    common: Common,
    given: TextInputs,
    search: SearchOptions,
    comparison: ComparisonOptions,
    shown: ResultOptions,
    endpoint: EndpointOptions,
    input_options: InputOptions,
) -> None:
    """Compare texts with each other, or search files of texts and stored vectors.

    if tovec similarity -q "$a" "$b" --min 0.8; then echo alike; fi

    tovec similarity "how do I pay" --in faq.parquet -k 3
    """
    corpus, job_dir, form = search.corpus, search.job_dir, shown.format
    modes = {
        "--label-each": search.label_each,
        "--pairs": search.pairs,
        "--outliers": search.outliers,
        "--diversity": search.diversity,
        "--clusters": search.clusters,
    }
    mode = _mode(
        modes,
        corpus,
        {
            "-k": search.k,
            "--like": search.like,
            "--columns": shown.columns,
            "--query-template": search.query_template,
        },
    )
    if not mode:  # the modes compute large products, best with all threads
        load_numpy()
    from tovec.search import compare as job
    from tovec.search.metrics import Bound
    from tovec.store.collisions import check_collisions

    warn_of_file_names(given.texts or (), reporter)

    reads = [path for path in (*(given.file or ()), corpus) if path is not None]
    check_collisions({"--plot": shown.plot, "the job directory": job_dir}, reads, job_dir)
    picture = _picture(
        shown.plot,
        mode,
        shown.force,
        matrix=bool(given.texts or given.file),
        search=corpus is not None,
    )
    work = job.Similarity(
        settings=load_settings(common, endpoint),
        environ=os.environ,
        texts=tuple(given.texts or ()),
        paths=tuple(given.file or ()),
        read=read_options(input_options),
        long=_one_vector_each(long_texts(input_options)),
        metric=comparison.metric,
        bound=Bound(comparison.least, comparison.most).checked(comparison.metric),
        corpus=corpus,
        k=search.k,
        like=tuple(search.like or ()),
        columns=split_names(shown.columns),
        job_dir=job_dir,
        query_template=search.query_template,
    )
    if job_dir is not None and corpus is None:
        raise UsageError("--job-dir keeps the vectors of what --in names")
    piped = not is_terminal(sys.stdin)
    if corpus is not None:
        if mode in WITHOUT_TEXTS:
            if work.texts or work.paths or search.like:
                raise UsageError(f"{mode} compares the rows with each other: it takes no text")
            if work.bound and mode != "--pairs":
                raise UsageError(f"--min and --max do not go with {mode}")
        elif not (work.texts or work.paths or search.like) and piped and corpus != "-":
            work = work._replace(paths=("-",))
        if search.query_template is not None and not (work.texts or work.paths):
            raise UsageError("--query-template is for texts, and no text is given")
        if mode == "--label-each" and (search.like or search.k):
            raise UsageError("--label-each gives every row: -k and --like do not go with it")
        _search(work, reporter, common, form, mode, search.clusters, picture)
    elif work.texts or work.paths:
        with Watch(reporter, stream_display(reporter, to_file=False)) as watch:
            matrix = job.compare(work, watch, reporter.hide)
        if not common.quiet:
            _show_matrix(matrix, form)
        if picture is not None:
            picture.heat_map(matrix)
        _answer(work, job.Outcome(matrix.passed(work.bound) if work.bound else 1))
    elif piped:
        results = (
            Results(form, quiet=common.quiet) if form else _Numbers("score", quiet=common.quiet)
        )
        with Watch(reporter, stream_display(reporter, to_file=False)) as watch:
            outcome = job.compare_lines(work, watch, reporter.hide, results)
        results.finish()
        _answer(work, outcome)
    else:
        raise UsageError(
            "there is nothing to compare",
            hint="give two texts, or pipe in lines of two texts with a tab between them",
        )


def _one_vector_each(long: Any) -> Any:
    """Give what is done with long texts; UsageError where one text would become several rows."""
    if long.policy == "split":
        raise UsageError(
            "what is compared needs one vector a text",
            hint="--long mean or truncate; or store the chunks with tovec embed --long split",
        )
    return long


def _mode(modes: dict[str, Any], corpus: str | None, given: dict[str, Any]) -> str:
    """Give the one mode that was asked for, or ""; UsageError for options that do not agree."""
    chosen_modes = [name for name, value in modes.items() if value]
    used = [*chosen_modes, *(name for name, value in given.items() if value not in (None, []))]
    if corpus is None and used:
        raise UsageError(
            f"{used[0]} is about the rows of a file", hint="name the file with --in FILE"
        )
    if len(chosen_modes) > 1:
        raise UsageError(f"{chosen_modes[0]} and {chosen_modes[1]} do not go together")
    return chosen_modes[0] if chosen_modes else ""


def _picture(plot: str | None, mode: str, force: bool, *, matrix: bool, search: bool) -> Any:
    """Give what draws, checked before anything is paid for; None where nothing is to be drawn."""
    if plot is None:
        return None
    if mode or not (matrix or search):
        raise UsageError(
            f"--plot draws texts with each other, or a search{mode and ', not '}{mode}"
        )
    from tovec.cli.plots import Drawing

    return Drawing(plot, force=force)


def _search(
    work: Any,
    reporter: Reporter,
    common: Common,
    form: str | None,
    mode: str,
    clusters: int | None,
    picture: Any,
) -> None:
    """Do what is asked of the rows of a file, and show it."""
    from functools import partial

    from tovec.search import exploring, scan

    runs: dict[str, Any] = {
        "": partial(scan.rank, draw=picture and partial(picture.corpus_map, work)),
        "--label-each": scan.label_each,
        "--pairs": exploring.pairs,
        "--outliers": exploring.outliers,
        "--diversity": exploring.diversity,
        "--clusters": partial(exploring.clusters, count=clusters or 1),
    }
    if mode == "--diversity" and form is None and not is_terminal():
        results: Results = _Numbers("diversity", quiet=common.quiet)
    else:
        form = form or ("table" if is_terminal() else "tsv")
        lean = form == "table" and work.columns is None
        only = (work.read.id_field or "id", *work.read.text_fields) if lean else None
        single = lean and len(work.texts) + len(work.like) == 1 and not work.paths
        drop = ("query",) if single else ()
        results = Results(form, quiet=common.quiet, only=only, drop=drop)
    with Watch(reporter, stream_display(reporter, to_file=True)) as watch:

        def show(rows: Sequence[Row]) -> None:
            watch.clear()
            results(rows)

        outcome = runs[mode](work, watch, reporter.hide, show)
    results.finish()
    _answer(work, outcome)


def _answer(work: Any, outcome: Any) -> None:
    """End with 1 when a bound was given and nothing passed, with 3 when rows were left out."""
    if work.bound and not outcome.passed:
        raise typer.Exit(3 if outcome.rejected else 1)
    if outcome.rejected and not work.bound:
        raise typer.Exit(3)


class _Numbers(Results):
    """A number a line, and nothing else."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        super().__init__("tsv", quiet=quiet)
        self._name = name

    def __call__(self, rows: Any) -> None:
        """Write the rows' numbers."""
        from tovec.search.metrics import shown

        if not self._quiet:
            sys.stdout.write("".join(shown(row[self._name]) + "\n" for row in rows))
            sys.stdout.flush()


def _show_matrix(matrix: Any, form: str | None) -> None:
    """Show the scores of texts with each other: two give one number."""
    from tovec.cli import heat
    from tovec.search.metrics import shown

    texts, metric, model = matrix.names, matrix.metric, matrix.model
    if len(texts) == 2:
        score = matrix.pair()
        if form is None and not is_terminal():
            put(shown(score))
        elif form in (None, "table"):
            heat.pair(shown(score), metric, model)
        else:
            results = Results(form)
            results([{"score": score, "a": texts[0], "b": texts[1]}])
            results.finish()
        return
    match form or ("table" if is_terminal() else "tsv"):
        case "table":
            import numpy as np

            heat.matrix(texts, np.concatenate(list(matrix.blocks())), metric)
        case "tsv":
            put(tsv(["", *texts]))
            at = 0
            for block in matrix.blocks():
                for row in block:
                    put(tsv([texts[at], *map(shown, row)]))
                    at += 1
        case "jsonl":
            at = 0
            for block in matrix.blocks():
                for row in block:
                    put(as_json({"text": texts[at], "scores": row.tolist()}))
                    at += 1
        case _:
            scores = [row.tolist() for block in matrix.blocks() for row in block]
            found = {"metric": metric, "model": model, "texts": texts, "scores": scores}
            put(as_json(found))
