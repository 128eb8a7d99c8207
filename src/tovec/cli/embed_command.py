"""The command `tovec embed`."""

import os
import sys
from typing import Annotated

import typer

from tovec.cli.hints import warn_of_file_names
from tovec.cli.options import (
    INPUT,
    Common,
    EndpointOptions,
    InputOptions,
    OutputOptions,
    chosen,
    if_exists,
    long_texts,
    names,
    one_of,
    output_path,
    read_options,
    skips,
)
from tovec.cli.progress import Watch, stream_display
from tovec.cli.reporting import Reporter
from tovec.cli.terminal import TableWriter, is_terminal
from tovec.errors import UsageError
from tovec.startup import load_numpy


def embed(
    reporter: Reporter,
    common: Common,
    endpoint: EndpointOptions,
    input_options: InputOptions,
    output: OutputOptions,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Texts to embed.", show_default=False),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="PATH",
            help="Read rows from PATH (- is stdin); may be repeated.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Turn texts into vectors: from arguments, files or stdin, streaming, in input order.

    echo hello | tovec embed -p local

    tovec embed -f rows.jsonl -o vectors.parquet -p openai

    tail -f app.log | tovec embed -p local | jq -c '{text, first: .embedding[0]}'
    """
    if texts and file:
        raise UsageError("texts were given and files too", hint="give texts, or files with -f")
    if not texts and not file and is_terminal(sys.stdin):
        raise UsageError(
            "there is nothing to embed",
            hint="give texts, name files with -f, or pipe something in; - as -f reads the terminal",
        )
    warn_of_file_names(texts or (), reporter)
    target, replaced = output_path(output), if_exists(output)
    if skips(target, replaced, reporter):
        return
    load_numpy()
    from tovec import embed as job
    from tovec.formats.protocols import WriteOptions

    work = job.Embed(
        settings=chosen(common, endpoint),
        environ=os.environ,
        texts=tuple(texts or ()),
        paths=tuple(file or ("-",)),
        read=read_options(input_options, output.columns),
        long=long_texts(input_options),
        output=target,
        format=output.format,
        dtype=one_of("--dtype", output.dtype, ("float32", "float16")),
        write=WriteOptions(names(output.columns), input_options.id_field),
        if_exists=replaced,
    )
    shown = target is None and output.format is None and is_terminal()
    view = (lambda: TableWriter(sys.stdout)) if shown else None
    to_file = target not in (None, "-")
    with Watch(reporter, stream_display(reporter, to_file=to_file)) as watch:
        done = job.run(work, watch, reporter.hide, view)
    if done.rejected:
        raise typer.Exit(3)
