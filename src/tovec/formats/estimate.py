"""How many rows an input has, about: from its first megabytes, in milliseconds."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from tovec.formats import format_of
from tovec.formats.compression import compression_of
from tovec.formats.directories import Listing
from tovec.formats.protocols import ReadOptions

SAMPLE_BYTES = 4 << 20
_BY_LINES = ("lines", "jsonl", "csv", "tsv", "tokens")


def rows(paths: Sequence[str], options: ReadOptions) -> int | None:
    """Return the rows of all files, about; None where that takes reading one."""
    if options.format in ("parquet", "arrow", "json", "text"):
        return None
    total = 0.0
    for path in paths:
        try:
            for file in Listing(path, options.glob, options.ours):
                found = _rows(file.path, options)
                if found is None:
                    return None
                total += found
        except OSError:
            return None  # reading will say what is wrong
    return round(total)


def _rows(path: str, options: ReadOptions) -> float | None:
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode) or format_of(path, options) not in _BY_LINES:
        return None
    with Path(path).open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
    if compression_of(sample):
        return None
    separator = b"\0" if options.null_separated else b"\n"
    count = sample.count(separator)
    if len(sample) == status.st_size:
        return count + (not sample.endswith(separator) and bool(sample))
    return count / len(sample) * status.st_size
