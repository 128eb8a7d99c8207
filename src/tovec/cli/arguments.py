"""From the values of options to what the work takes: settings, and how to read and write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tovec import settings, startup
from tovec.cli.options import Common, EndpointOptions, IfExists, InputOptions, OutputOptions
from tovec.cli.reporting import Reporter
from tovec.errors import UsageError
from tovec.formats.protocols import ReadOptions
from tovec.settings import Settings

if TYPE_CHECKING:
    from tovec.pipeline.destination import Target
    from tovec.pipeline.long_texts import LongTexts

STDOUT_NAMES = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
# Fields of InputOptions that only act on some formats; `formats` refuses them for the others.
FORMAT_BOUND = (
    *("input_format", "null", "text_field", "template", "encoding", "encoding_errors", "glob"),
    *("csv_types", "delimiter", "no_header", "csv_quoting"),
)


def set_up(reporter: Reporter, common: Common) -> None:
    """Make the Common options hold for every message from now on."""
    reporter.verbosity = -1 if common.quiet else common.verbose
    reporter.json = common.log_format == "json"
    if common.color in ("always", "never"):
        startup.set_color(wanted=common.color == "always")


def load_settings(common: Common, endpoint: EndpointOptions) -> Settings:
    """Return the settings in force: these options over the environment over the config file."""
    flags = {**endpoint._asdict(), "extra": extra_fields(endpoint.extra)}
    return settings.load(common.config, os.environ).with_flags(flags)


def extra_fields(pairs: Sequence[str] | None) -> dict[str, object]:
    """Return the further request fields of --extra KEY=VALUE; a VALUE may be JSON.

    Raises UsageError for a pair without "=".
    """
    fields: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--extra takes KEY=VALUE, not {pair!r}")
        import json

        try:
            fields[key] = json.loads(value)
        except (ValueError, RecursionError):
            fields[key] = value
    return fields


def long_texts(given: InputOptions) -> LongTexts:
    """Return what is done with long texts."""
    from tovec.pipeline.long_texts import LongTexts

    return LongTexts(given.long, given.chunk_tokens, given.overlap)


def read_options(given: InputOptions, columns: str | None = None) -> ReadOptions:
    """Return how the input is read; `columns` are the output's, so that no others are read.

    Raises UsageError for --text-field beside --template, which names its fields itself.
    """
    if given.text_field is not None and given.template is not None:
        raise UsageError(
            "--text-field and --template cannot be combined",
            hint="the template already names its fields",
        )
    values, defaults = given._asdict(), InputOptions()._asdict()
    chosen = [name for name in FORMAT_BOUND if values[name] != defaults[name]]
    return ReadOptions(
        format=given.input_format,
        text_fields=split_names(given.text_field) or ("text",),
        template=given.template,
        id_field=given.id_field,
        null_separated=given.null,
        encoding="utf-8" if given.encoding is None else given.encoding,
        encoding_errors="strict" if given.encoding_errors is None else given.encoding_errors,
        glob=given.glob,
        columns=split_names(columns),
        csv_types="auto" if given.csv_types is None else given.csv_types,
        delimiter=given.delimiter,
        header=not given.no_header,
        csv_quoting="quotes" if given.csv_quoting is None else given.csv_quoting,
        given=frozenset(f"--{name.replace('_', '-')}" for name in chosen),
    )


def split_names(value: str | None) -> tuple[str, ...] | None:
    """Return the names in a comma-separated option."""
    return None if value is None else tuple(name.strip() for name in value.split(","))


def output_path(output: OutputOptions) -> str | None:
    """Return the output's path; names of standard output are "-"."""
    return "-" if output.output in STDOUT_NAMES else output.output


def output_target(
    output: OutputOptions,
    id_field: str | None,
    rows_per_file: int | None = None,
    int8_scale: str | None = None,
) -> Target:
    """Return what is written, and how."""
    from tovec.formats.protocols import WriteOptions
    from tovec.pipeline.destination import Target

    write = WriteOptions(
        split_names(output.columns),
        id_field,
        output.also,
        output.truncate_dim,
        output.force_truncate,
        output.parquet_list,
    )
    return Target(
        output_path(output) or "-", output.format, output.dtype, write, rows_per_file, int8_scale
    )


def if_exists(output: OutputOptions) -> IfExists:
    """Return what happens to an output that exists: "error", "skip" or "replace"."""
    if output.force and output.if_exists not in (None, "replace"):
        raise UsageError(f"--force and --if-exists {output.if_exists} contradict each other")
    return "replace" if output.force else output.if_exists or "error"


def is_skipped(path: str | None, choice: IfExists, reporter: Reporter) -> bool:
    """Return whether there is nothing to do, because the output exists and is to be left."""
    if choice != "skip" or path in (None, "-") or not os.path.lexists(str(path)):
        return False
    reporter.say("summary", f"{path} exists, nothing was done (--if-exists skip)")
    return True


def share(text: str | None, option: str) -> float | None:
    """Return a share such as 0.1% or 0.001 as a fraction; None where the option is not given.

    Raises UsageError for what is not more than 0 and at most all.
    """
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:  # NaN is not, either
        raise UsageError(f"{option} takes a share such as 0.1% or 0.001, not {text!r}")
    return value
