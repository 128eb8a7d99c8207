"""How many rows an input has, about: from its first megabytes, in milliseconds."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from tovec.formats import source
from tovec.formats.interface import ReadOptions

SAMPLE = 4 << 20
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


def rows(paths: Sequence[str], options: ReadOptions) -> int | None:
    """Give the rows of all files, about; None where a file does not let itself be estimated."""
    if options.format in ("parquet", "text"):
        return None
    total = 0.0
    for path in paths:
        try:
            for file in source.files(path, options.glob, options.ours):
                found = _rows(file, b"\0" if options.null_separated else b"\n")
                if found is None:
                    return None
                total += found
        except OSError:
            return None  # reading will say what is wrong
    return round(total)


def _rows(path: str, separator: bytes) -> float | None:
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode) or source.suffix(path) in (".parquet", ".pq"):
        return None
    with Path(path).open("rb") as file:
        sample = file.read(SAMPLE)
    if sample.startswith(_COMPRESSED):
        return None
    count = sample.count(separator)
    if len(sample) == status.st_size:
        return count + (not sample.endswith(separator) and bool(sample))
    return count / len(sample) * status.st_size
