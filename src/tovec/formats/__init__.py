"""Files in (records) and out (writers), by the name of their format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from io import RawIOBase
from typing import TYPE_CHECKING

from tovec.errors import InputError, UsageError
from tovec.formats.interface import ReadOptions, Sink, VectorMeta, WriteOptions, Writer

if TYPE_CHECKING:
    from tovec.records import Block

    Read = Callable[[str, ReadOptions, int, RawIOBase | None], Iterator[Block]]

INPUT_FORMATS = ("auto", "lines", "text", "jsonl", "csv", "tsv", "parquet", "tokens")
OUTPUT_FORMATS = ("jsonl", "parquet", "npy")
_BY_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}
_BY_SUFFIX |= {".parquet": "parquet", ".pq": "parquet"}
_OUT_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_OUT_SUFFIX[".npy"] = "npy"


def read(
    paths: Sequence[str], options: ReadOptions, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield all sources' rows, block by block, numbered through; "-" is standard input.

    A directory stands for its files (`source.files`). Raises UsageError for an option that the
    user named (`options.given`) and that acts on none of the files.
    """
    from tovec.formats import source

    check_given(paths, options)
    first = 0
    for path in (file for one in paths for file in source.files(one, options.glob, options.ours)):
        following = first
        for block in _reader(path, options)(path, options, first, stdin):
            ends = [*block.index[-1:], *(problem.index for problem in block.problems[-1:])]
            following = max([following, *(end + 1 for end in ends)])
            yield block
        first = following


def check_given(paths: Sequence[str], options: ReadOptions) -> None:
    """Raise UsageError for an option that the user named and that acts on none of the files."""
    if not options.given:
        return
    from tovec.formats import applicability, source

    directory = any(os.path.isdir(path) for path in paths)  # noqa: PTH112
    applicability.check_glob(options.given, directory=directory)
    files = (file for one in paths for file in source.files(one, options.glob, options.ours))
    applicability.check_formats(options.given, {format_of(file, options) for file in files})


def argument(number: int, text: str) -> str:
    """Give an argument as the text it is: an ASCII locale (LANG=C) hands its bytes on undecoded.

    Raises InputError for bytes that are not UTF-8, naming the argument by its number.
    """
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        raise InputError("the text is not UTF-8", where=f"argument {number}") from None


def from_texts(texts: Sequence[str], options: ReadOptions = ReadOptions()) -> Iterator[Block]:  # noqa: B008
    """Yield texts typed as arguments as blocks. Raises UsageError for an option about files."""
    from tovec.formats import lines

    if options.given and not options.plain_as_text:
        from tovec.formats import applicability

        applicability.check_no_files(options.given, "texts given as arguments")

    return lines.from_texts(texts, options)


def format_of(path: str, options: ReadOptions) -> str:
    """Return the name of a file's format: as asked, else by its extension, else lines."""
    if options.format != "auto":
        return options.format
    from tovec.formats import source

    return _BY_SUFFIX.get(source.suffix(path), "lines")


def _reader(path: str, options: ReadOptions) -> Read:
    from tovec.formats import source

    name = format_of(path, options)
    if options.null_separated and name != "lines":
        raise UsageError(f"-0 separates plain texts, and {source.shown(path)} is read as {name}")
    match name:
        case "lines":
            from tovec.formats import lines

            return lines.read
        case "text":
            from tovec.formats import text

            return text.read
        case "jsonl":
            from tovec.formats import jsonl

            return jsonl.read
        case "csv" | "tsv":
            from tovec.formats import csv

            return csv.read if name == "csv" else csv.read_tsv
        case "parquet":
            from tovec.formats import parquet

            return parquet.read
        case "tokens":
            from tovec.formats import tokens

            return tokens.read
    raise UsageError(
        f"--input-format does not know {name!r}", hint=f"one of: {', '.join(INPUT_FORMATS)}"
    )


def output_format(path: str | None, explicit: str | None) -> str:
    """Give the name of the output's format: as asked, else by extension, else jsonl.

    Raises UsageError for one that cannot be written, with the alternative.
    """
    name = explicit
    if name is None and path not in (None, "-"):
        from tovec.formats import source

        suffix = source.suffix(str(path))
        name = _OUT_SUFFIX.get(suffix, "csv" if suffix in (".csv", ".tsv") else "jsonl")
    name = name or "jsonl"
    if name in ("csv", "tsv"):
        raise UsageError(
            f"{name} has no type for a vector, and readers would take it for text",
            hint="write .jsonl or .parquet; DuckDB and pandas open both",
        )
    if name not in OUTPUT_FORMATS:
        raise UsageError(
            f"--format does not know {name!r}", hint=f"one of: {', '.join(OUTPUT_FORMATS)}"
        )
    return name


def check_writable(name: str, *, seekable: bool) -> None:
    """Raise what would stop the format's writer, before anything is paid for."""
    match name:
        case "parquet":
            from tovec.formats import parquet  # noqa: F401 - whether it can be imported
        case "npy":
            from tovec.formats import npy

            npy.check_seekable(seekable=seekable)


def writer(name: str, sink: Sink, meta: VectorMeta, options: WriteOptions) -> Writer:
    """Give the writer of a format."""
    match name:
        case "jsonl":
            from tovec.formats.jsonl import JsonlWriter

            return JsonlWriter(sink, meta, options)
        case "parquet":
            from tovec.formats.parquet import ParquetWriter

            return ParquetWriter(sink, meta, options)
        case _:
            from tovec.formats.npy import NpyWriter

            return NpyWriter(sink, meta, options)
