"""Files in (records) and out (writers), by the name of their format."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from io import RawIOBase
from typing import TYPE_CHECKING

from tovec.errors import InputError, UsageError
from tovec.formats import applicability, compression, source
from tovec.formats.directories import Listing
from tovec.formats.protocols import ReadOptions, Sink, VectorMeta, WriteOptions, Writer

if TYPE_CHECKING:
    from tovec.records import Block

    Read = Callable[[str, ReadOptions, int, RawIOBase | None], Iterator[Block]]

# Each input format's "module:function" in this room, imported for the first file of that format.
READERS = {
    "lines": "lines:read",
    "text": "whole_files:read",
    "jsonl": "jsonl:read",
    "json": "json:read",
    "csv": "csv:read",
    "tsv": "csv:read_tsv",
    "parquet": "parquet:read",
    "arrow": "arrow_ipc:read",
    "tokens": "token_arrays:read",
}
INPUT_FORMATS = ("auto", *READERS)
OUTPUT_FORMATS = ("jsonl", "parquet", "npy")
_BY_SUFFIX = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonlines": "jsonl", ".json": "json",
    ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "arrow", ".arrows": "arrow", ".ipc": "arrow", ".feather": "arrow",
}  # fmt: skip
_OUT_SUFFIX = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonlines": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".npy": "npy", ".csv": "csv", ".tsv": "tsv",
}  # fmt: skip
_PLACES = ("/dev/", "/proc/")  # what is there is not named by its kind


def read(
    paths: Sequence[str], options: ReadOptions, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Yield all sources' rows, block by block, numbered through; "-" is standard input.

    A directory stands for its files (`directories.Listing`); what it skips is counted in its last
    block. Raises UsageError for an option that the user named (`options.given`) and that acts on
    none of the files.
    """
    check_given(paths, options)
    first = 0
    for path in paths:
        listing = Listing(path, options.glob, options.ours)
        for file in listing:
            following = first
            some = options._replace(partition=file.partition)
            for block in _reader(file.path, options)(file.path, some, first, stdin):
                ends = [*block.index[-1:], *(problem.index for problem in block.problems[-1:])]
                following = max([following, *(end + 1 for end in ends)])
                yield block
            first = following
        if listing.skipped:
            yield _skipped(path, listing.skipped)


def _skipped(path: str, reasons: Sequence[str]) -> Block:
    from tovec.formats.rows import PlainRows
    from tovec.records import Block

    return Block([], PlainRows([], []), path, [], [], skipped=tuple(reasons))


def check_given(paths: Sequence[str], options: ReadOptions) -> None:
    """Raise UsageError for an option that the user named and that acts on none of the files."""
    if not options.given:
        return
    from tovec.formats import applicability

    directory = any(os.path.isdir(path) for path in paths)  # noqa: PTH112
    applicability.check_glob(options.given, directory=directory)
    files = (file for one in paths for file in Listing(one, options.glob, options.ours))
    applicability.check_formats(options.given, {format_of(file.path, options) for file in files})


def argument(number: int, text: str) -> str:
    """Return an argument as text: an ASCII locale (LANG=C) hands its bytes on undecoded.

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
        applicability.check_no_files(options.given, "texts given as arguments")

    return lines.from_texts(texts, options)


def format_of(path: str, options: ReadOptions) -> str:
    """Return the name of a file's format: as asked, else by its extension, else lines."""
    if options.format != "auto":
        return options.format
    return _BY_SUFFIX.get(source.suffix(path), "lines")


def _reader(path: str, options: ReadOptions) -> Read:
    name = format_of(path, options)
    if options.null_separated and name != "lines":
        raise UsageError(f"-0 separates plain texts, but {source.shown(path)} is read as {name}")
    if name not in READERS:
        raise UsageError(
            f"--input-format does not accept {name!r}", hint=f"one of: {', '.join(INPUT_FORMATS)}"
        )
    module, _, function = READERS[name].partition(":")
    reader: Read = getattr(importlib.import_module(f"tovec.formats.{module}"), function)
    return reader


def output_format(path: str | None, explicit: str | None) -> str:
    """Return the name of the output's format: as asked, else by its extension, else jsonl.

    Raises UsageError for one that cannot be written, with the alternative.
    """
    named = path is not None and path != "-" and not path.startswith(_PLACES)
    suffix = source.suffix(str(path)) if named else ""
    name = explicit or (_OUT_SUFFIX.get(suffix) if suffix else "jsonl")
    if name is None:
        raise UsageError(
            f"the ending {suffix} does not name an output format",
            where=str(path),
            hint=f"end it in .jsonl, .parquet or .npy, or add --format {_nearest(suffix)}",
        )
    if name in ("csv", "tsv"):
        raise UsageError(
            f"{name.upper()} cannot hold vectors",
            hint="write .jsonl or .parquet; DuckDB and pandas open both",
        )
    if name not in OUTPUT_FORMATS:
        raise UsageError(
            f"--format does not accept {name!r}", hint=f"one of: {', '.join(OUTPUT_FORMATS)}"
        )
    compressed = compression.output_compression(path) if named else None
    if compressed is not None and name != "jsonl":
        inside = (
            "it is already compressed inside" if name == "parquet" else "readers map it into memory"
        )
        raise UsageError(
            f"{name} is not compressed as a whole: {inside}",
            where=str(path),
            hint=f"name it {compression.strip_suffix(str(path))}, or write .jsonl{_end(str(path))}",
        )
    return name


def output_compression(path: str | None) -> str | None:
    """Return how an output is compressed, by its ending: "gzip", "zstd" or not at all.

    Raises UsageError for the ending of a compression that is not written.
    """
    if path is None or path == "-" or path.startswith(_PLACES):
        return None
    return compression.output_compression(path)


def _nearest(suffix: str) -> str:
    return {".pqt": "parquet", ".parq": "parquet", ".np": "npy", ".npz": "npy"}.get(suffix, "jsonl")


def _end(path: str) -> str:
    return path[path.rindex(".") :]


def check_writable(name: str, *, seekable: bool) -> None:
    """Raise what would stop the format's writer, before anything is paid for."""
    match name:
        case "parquet":
            from tovec.formats import parquet  # noqa: F401 - whether it can be imported
        case "npy":
            from tovec.formats import npy

            npy.check_seekable(seekable=seekable)


def writer(
    name: str, sink: Sink, meta: VectorMeta, options: WriteOptions, compression: str | None = None
) -> Writer:
    """Return the writer of a format; JSON lines may be compressed ("gzip", "zstd")."""
    if options.truncate_dim is not None:
        from tovec.formats.truncation import TruncatingWriter

        whole = options._replace(truncate_dim=None)
        return TruncatingWriter(
            lambda meta: writer(name, sink, meta, whole, compression), meta, options.truncate_dim
        )
    match name:
        case "jsonl":
            from tovec.formats.jsonl import JsonlWriter

            return JsonlWriter(sink, meta, options, compression)
        case "parquet":
            from tovec.formats.parquet import ParquetWriter

            return ParquetWriter(sink, meta, options)
        case _:
            from tovec.formats.npy import NpyWriter

            return NpyWriter(sink, meta, options)
