"""The command `tovec similarity`."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tovec.cli.hints import warn_of_file_names
from tovec.cli.options import (
    INPUT,
    Common,
    EndpointOptions,
    InputOptions,
    chosen,
    long_texts,
    names,
    one_of,
    read_options,
)
from tovec.cli.progress import Watch, stream_display
from tovec.cli.reporting import Reporter
from tovec.cli.tables import FORMATS, Results, Row, as_json, put, tsv
from tovec.cli.terminal import is_terminal
from tovec.errors import UsageError
from tovec.startup import load_numpy

COMPARISON = "Comparison"
CORPUS = "Search"
SHOWN = "Output"
WITHOUT_TEXTS = ("--pairs", "--outliers", "--diversity", "--clusters")


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
    corpus: Annotated[
        str | None,
        typer.Option(
            "--in",
            metavar="PATH",
            help="Rank the rows of PATH against each text: texts (- is stdin), or vectors that "
            "tovec stored (.npy, .parquet, .jsonl), whose model embeds the texts then.",
            rich_help_panel=CORPUS,
            show_default=False,
        ),
    ] = None,
    job_dir: Annotated[
        str | None,
        typer.Option(
            "--job-dir",
            metavar="DIR",
            help="Keep the vectors of a corpus of texts in DIR: the next search asks for new rows "
            "only.",
            rich_help_panel=CORPUS,
            show_default=False,
        ),
    ] = None,
    query_template: Annotated[
        str | None,
        typer.Option(
            "--query-template",
            metavar="TEXT",
            help='How the texts that rows are compared with are made, such as "query: {text}"; '
            "without it, --template holds for them too.",
            rich_help_panel=CORPUS,
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            metavar="N",
            min=1,
            help="The N nearest rows to each text (10; all that pass, with --min or --max).",
            rich_help_panel=CORPUS,
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="ID",
            help="Recommend: the rows nearest to row ID (its id, or its number); may be repeated.",
            rich_help_panel=CORPUS,
            show_default=False,
        ),
    ] = None,
    label_each: Annotated[
        bool,
        typer.Option(
            "--label-each",
            help="Classify: the texts are labels, each row gets the nearest.",
            rich_help_panel=CORPUS,
        ),
    ] = False,
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs",
            help="Find near-duplicates: the rows nearest to each other; --min 0.95 bounds them.",
            rich_help_panel=CORPUS,
        ),
    ] = False,
    outliers: Annotated[
        bool,
        typer.Option(
            "--outliers",
            help="Detect anomalies: the -k rows least like their nearest neighbours.",
            rich_help_panel=CORPUS,
        ),
    ] = False,
    diversity: Annotated[
        bool,
        typer.Option(
            "--diversity",
            help="Measure diversity: the mean distance of two rows (1 - cosine).",
            rich_help_panel=CORPUS,
        ),
    ] = False,
    clusters: Annotated[
        int | None,
        typer.Option(
            "--clusters",
            metavar="N",
            min=1,
            help="Cluster the rows into N groups, most typical rows first; -k of each.",
            rich_help_panel=CORPUS,
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
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE.png|svg",
            help="Draw it as well: a heat map of the texts, or with --in a map of the rows with "
            "the hits marked (needs the extra plot).",
            rich_help_panel=SHOWN,
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace a picture that exists.", rich_help_panel=SHOWN),
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="NAME,...",
            help="The rows' columns to show; all by default, on a terminal id and text.",
            rich_help_panel=SHOWN,
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
    """Compare texts with each other, or search files of texts and stored vectors.

    if tovec similarity -q "$a" "$b" --min 0.8; then echo alike; fi

    tovec similarity "how do I pay" --in faq.parquet -k 3
    """
    if format is not None:
        one_of("--format", format, FORMATS)
    modes = {
        "--label-each": label_each,
        "--pairs": pairs,
        "--outliers": outliers,
        "--diversity": diversity,
        "--clusters": clusters,
    }
    mode = _mode(
        modes,
        corpus,
        {"-k": k, "--like": like, "--columns": columns, "--query-template": query_template},
    )
    if not mode:  # the modes compute large products, best with all threads
        load_numpy()
    from tovec.search import compare as job
    from tovec.search.metrics import METRICS, Bound
    from tovec.store.collisions import check_collisions

    warn_of_file_names(texts or (), reporter)

    reads = [path for path in (*(file or ()), corpus) if path is not None]
    check_collisions({"--plot": plot, "the job directory": job_dir}, reads, job_dir)
    picture = _picture(plot, mode, force, matrix=bool(texts or file), search=corpus is not None)
    work = job.Similarity(
        settings=chosen(common, endpoint),
        environ=os.environ,
        texts=tuple(texts or ()),
        paths=tuple(file or ()),
        read=read_options(input_options),
        long=_one_vector_each(long_texts(input_options)),
        metric=one_of("--metric", metric, METRICS),
        bound=Bound(least, most).checked(metric),
        corpus=corpus,
        k=k,
        like=tuple(like or ()),
        columns=names(columns),
        job_dir=job_dir,
        query_template=query_template,
    )
    if job_dir is not None and corpus is None:
        raise UsageError("--job-dir keeps the vectors of what --in names")
    piped = not is_terminal(sys.stdin)
    if corpus is not None:
        if mode in WITHOUT_TEXTS:
            if work.texts or work.paths or like:
                raise UsageError(f"{mode} compares the rows with each other: it takes no text")
            if work.bound and mode != "--pairs":
                raise UsageError(f"--min and --max do not go with {mode}")
        elif not (work.texts or work.paths or like) and piped and corpus != "-":
            work = work._replace(paths=("-",))
        if query_template is not None and not (work.texts or work.paths):
            raise UsageError("--query-template is for texts, and no text is given")
        if mode == "--label-each" and (like or k):
            raise UsageError("--label-each gives every row: -k and --like do not go with it")
        _search(work, reporter, common, format, mode, clusters, picture)
    elif work.texts or work.paths:
        with Watch(reporter, stream_display(reporter, to_file=False)) as watch:
            matrix = job.compare(work, watch, reporter.hide)
        if not common.quiet:
            _show_matrix(matrix, format)
        if picture is not None:
            picture.heat_map(matrix)
        _answer(work, job.Outcome(matrix.passed(work.bound) if work.bound else 1))
    elif piped:
        results = (
            Results(format, quiet=common.quiet) if format else _Numbers("score", quiet=common.quiet)
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
