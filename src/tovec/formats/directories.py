"""The files that a directory stands for, and the columns that its subdirectories' names hold.

Spark, Hive and DuckDB write what rows have in common into the names of directories,
`year=2024/lang=en/part-0.parquet`: such a name and value are a column of the files below, decoded
from %XX, with __HIVE_DEFAULT_PARTITION__ for null. A column is of integers where each value in the
whole tree, written back, is the same text (01 is not), else of texts.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from tovec.errors import FileError, InputError
from tovec.formats.protocols import Partition

STDIN = "-"
_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile("0|-?[1-9][0-9]{0,18}")
_INT64 = 1 << 63
_BESIDE = (".json", ".ids.jsonl", ".tovec", ".rejects.jsonl")  # an output's own side files
NOT_REGULAR = "not a regular file"
UNDERSCORE = "its name begins with _"
_DELTA = "_delta_log"
_MARKERS = ("_SUCCESS", "_metadata", "_common_metadata")  # of Spark and pyarrow: they hold no rows


class SourceFile(NamedTuple):
    """A file to read, and the columns that its directories' names hold."""

    path: str
    partition: tuple[Partition, ...] = ()


class Listing:
    """A directory's files, below it at any depth, in the order of their paths.

    Hidden files and directories (a name that begins with a dot) are left out, links to directories
    are not followed. `glob` chooses among them: by name, or, if it has a slash, by the path below
    the directory. A path in `ours`, what is below it and the files that tovec writes beside it are
    left out: an output is not an input of its own. Anything but a directory stands for itself.

    Left out and counted in `skipped` by their reasons: what is not a regular file (it may never
    end), and names that begin with an underscore (_SUCCESS, _temporary), unless `glob` names one.
    """

    def __init__(self, path: str, glob: str | None = None, ours: Sequence[str] = ()) -> None:
        self._root = Path(path)
        self._named = path
        self._glob = glob
        self._outputs = [os.path.realpath(one) for one in ours]
        self._underscores = any(one.startswith("_") for one in (glob or "").split("/"))
        self._kinds: dict[str, str] | None = None
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[SourceFile]:
        """Yield the files. Raises InputError when a directory has none."""
        if self._named == STDIN or not self._root.is_dir():
            yield SourceFile(self._named)
            return
        found = False
        self.skipped = []
        for file in self._walk(self._root, ()):
            found = True
            yield file
        if not found:
            what = (
                "has no files" if self._glob is None else f"has no file that matches {self._glob}"
            )
            hint = (
                "hidden files, names that begin with _ and anything but regular files are skipped"
            )
            raise InputError(f"the directory {what}", where=self._named, hint=hint)

    def _walk(self, directory: Path, partition: tuple[Partition, ...]) -> Iterator[SourceFile]:
        for path in _entries(directory):
            if path.name.startswith("."):
                continue
            is_directory = path.is_dir()
            if is_directory and path.is_symlink():
                continue
            if path.name == _DELTA and is_directory:
                raise InputError(
                    "a Delta table: its log says which of its files are current",
                    where=str(directory),
                    hint="write its rows to Parquet, with deltalake or DuckDB's delta_scan",
                )
            held = self._partition(path) if is_directory else None
            if path.name.startswith("_") and not self._underscores and held is None:
                if path.name not in _MARKERS and (is_directory or self._matches(path)):
                    self.skipped.append(UNDERSCORE)
            elif is_directory:
                if held is not None and any(held.name == one.name for one in partition):
                    raise InputError(f"two directories name {held.name!r}", where=str(path))
                yield from self._walk(path, partition if held is None else (*partition, held))
            elif self._matches(path) and not self._is_ours(path):
                if _is_regular(path):
                    yield SourceFile(str(path), partition)
                else:
                    self.skipped.append(NOT_REGULAR)

    def _matches(self, path: Path) -> bool:
        if self._glob is None:
            return True
        below = str(path.relative_to(self._root)) if "/" in self._glob else path.name
        return fnmatchcase(below, self._glob)

    def _is_ours(self, path: Path) -> bool:
        if not self._outputs:
            return False
        whole = os.path.realpath(path)
        rests = (whole[len(one) :] for one in self._outputs if whole.startswith(one))
        return any(rest.partition("/")[0] in ("", *_BESIDE) for rest in rests)

    # Partition columns --------------------------------------------------------------------------

    def _partition(self, directory: Path) -> Partition | None:
        """Return the column that a directory's name holds, in its type over the whole tree."""
        decoded = decode_partition(directory.name)
        if decoded is None:
            return None
        if self._kinds is None:
            self._kinds = _find_kinds(self._root)
        name, value = decoded
        kind = self._kinds.get(name, "text")
        if value is None or kind == "text":
            return Partition(name, value, kind)
        if not _is_integer(value):
            raise InputError("the directory changed while it was read", where=str(directory))
        return Partition(name, int(value), kind)


def decode_partition(directory: str) -> tuple[str, str | None] | None:
    """Return the name and the value in a directory's name; None where it is not NAME=VALUE."""
    name, equals, value = directory.partition("=")
    if not equals or not name:
        return None
    if "%" in directory:
        from urllib.parse import unquote

        name, value = unquote(name), unquote(value)
    # A name in bytes that are not UTF-8 is a column all the same.
    name = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    value = value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return name, None if value == _NULL else value


def _find_kinds(root: Path) -> dict[str, str]:
    """Return for each partition column "integer" or "text", by all of its values."""
    kinds: dict[str, str] = {}
    waiting = [root]
    while waiting:
        for path in _entries(waiting.pop()):
            if path.name.startswith(".") or path.is_symlink() or not path.is_dir():
                continue
            waiting.append(path)
            if decoded := decode_partition(path.name):
                name, value = decoded
                if value is not None and not _is_integer(value):
                    kinds[name] = "text"
                elif value is not None:
                    kinds.setdefault(name, "integer")
    return kinds


def _is_integer(value: str) -> bool:
    return _INTEGER.fullmatch(value) is not None and -_INT64 <= int(value) < _INT64


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir(), key=lambda one: one.name)
    except OSError as error:
        raise FileError(
            f"the directory cannot be read: {error.strerror}", where=str(directory)
        ) from None


def _is_regular(path: Path) -> bool:
    """Return whether a path leads to a regular file; True where opening will say what is wrong."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True
