"""Files in (records) and out (writers), by the name of their format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import RawIOBase
from typing import TYPE_CHECKING

from tovec.errors import UsageError
from tovec.formats.interface import ReadOptions, Sink, VectorMeta, WriteOptions, Writer

if TYPE_CHECKING:
    from tovec.records import Block

INPUT_FORMATS = ("auto", "lines", "jsonl")
OUTPUT_FORMATS = ("jsonl", "parquet", "npy")
_BY_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl"}
_OUT_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_OUT_SUFFIX[".npy"] = "npy"


def read(
    paths: Sequence[str], options: ReadOptions, stdin: RawIOBase | None = None
) -> Iterator[Block]:
    """Give all sources' rows, block by block, numbered through; "-" is standard input."""
    first = 0
    for path in paths:
        following = first
        for block in _reader(path, options)(path, options, first, stdin):
            ends = [*block.index[-1:], *(problem.index for problem in block.problems[-1:])]
            following = max([following, *(end + 1 for end in ends)])
            yield block
        first = following


def from_texts(texts: Sequence[str]) -> Iterator[Block]:
    """Give texts typed as arguments as blocks."""
    from tovec.formats import lines

    return lines.from_texts(texts)


def _reader(path: str, options: ReadOptions):  # type: ignore[no-untyped-def]
    from tovec.formats import source

    name = options.format
    if name == "auto":
        name = _BY_SUFFIX.get(source.suffix(path), "lines")
    match name:
        case "lines":
            from tovec.formats import lines

            return lines.read
        case "jsonl":
            from tovec.formats import jsonl

            return jsonl.read
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
