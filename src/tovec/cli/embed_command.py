"""The command `tovec embed`."""

import os
import sys
from functools import partial

import typer

from tovec.cli.arguments import (
    if_exists,
    is_skipped,
    load_settings,
    long_texts,
    output_path,
    output_target,
    read_options,
)
from tovec.cli.hints import warn_of_file_names
from tovec.cli.options import Common, EndpointOptions, InputOptions, OutputOptions, TextInputs
from tovec.cli.progress import Watch, stream_display
from tovec.cli.reporting import Reporter
from tovec.cli.terminal import is_terminal
from tovec.errors import UsageError
from tovec.startup import load_numpy


def embed(
    reporter: Reporter,
    common: Common,
    given: TextInputs,
    endpoint: EndpointOptions,
    input_options: InputOptions,
    output: OutputOptions,
) -> None:
    """Turn texts into vectors: from arguments, files or stdin, streaming, in input order.

    echo hello | tovec embed -p local

    tovec embed -f rows.jsonl -o vectors.parquet -p openai

    tail -f app.log | tovec embed -p local | jq -c '{text, first: .embedding[0]}'
    """
    if given.texts and given.file:
        raise UsageError("both texts and files were given", hint="give texts, or files with -f")
    if not given.texts and not given.file and is_terminal(sys.stdin):
        raise UsageError(
            "there is nothing to embed",
            hint="give texts, name files with -f, or pipe something in; -f - reads the terminal",
        )
    if output.output is None and (output.force or output.if_exists):
        named = "--force" if output.force else "--if-exists"
        raise UsageError(f"{named} is for an output file", hint="name it with -o PATH")
    warn_of_file_names(given.texts or (), reporter)
    target, replaced = output_path(output), if_exists(output)
    if is_skipped(target, replaced, reporter):
        return
    load_numpy()
    from tovec import embed as job

    work = job.Embed(
        settings=load_settings(common, endpoint),
        environ=os.environ,
        texts=tuple(given.texts or ()),
        paths=tuple(given.file or ("-",)),
        read=read_options(input_options, output.columns),
        long=long_texts(input_options),
        target=output_target(output, input_options.id_field),
        if_exists=replaced,
    )
    view = None
    if target is None and output.format is None and not _changes_numbers(output) and is_terminal():
        from tovec.cli.embed_view import TableWriter

        view = partial(TableWriter, sys.stdout)
    to_file = target not in (None, "-")
    with Watch(reporter, stream_display(reporter, to_file=to_file)) as watch:
        done = job.run(work, watch, reporter.hide, view)
    if done.rejected:
        raise typer.Exit(3)


def _changes_numbers(output: OutputOptions) -> bool:
    """Return whether an option about the stored numbers is given, which the view does not show."""
    return output.dtype != "float32" or bool(
        output.also or output.truncate_dim or output.parquet_list
    )
