"""A directory of files of vectors, such as --rows-per-file writes, read as one file.

All files are of one format, one model and as many dimensions. A part is opened when it is read and
closed after: there may be more parts than a process may have files open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from tovec.errors import InputError
from tovec.formats.directories import Listing, SourceFile
from tovec.formats.embedding_column import EMBEDDING
from tovec.formats.source import suffix
from tovec.search.vector_files.stored import Lengths, Placed, PlacedBits, Stored, Vectors, different
from tovec.search.vector_files.stored_file import open_file
from tovec.search.vector_files.stored_json import gather_json, json_records

_JSON = (".jsonl", ".ndjson", ".jsonlines", ".json")
_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".arrows", ".ipc", ".feather")
_FAMILIES = {"npy": (".npy",), "Parquet": _PARQUET, "JSON": _JSON, "Arrow": _ARROW}
_SIDE_FILES = (".json", ".ids.jsonl", ".ubinary.npy", ".binary.npy")


def open_parts(path: str, glob: str | None = None) -> Stored | None:
    """Open a directory of vectors; None where it holds texts.

    Raises InputError for files that cannot be read as one: vectors here and none there, several
    formats, models or dimensions.
    """
    files = _without_side_files(list(Listing(path, glob)))
    known = [(file, held) for file in files if (held := _holds_vectors(file.path)) is not None]
    vectors = [file for file, held in known if held]
    if not vectors:
        return None
    if others := [file for file, held in known if not held]:
        raise InputError(
            f"{vectors[0].path} holds vectors, but {others[0].path} does not",
            where=path,
            hint="--glob chooses among a directory's files",
        )
    families = {_family(file.path): file.path for file in vectors}
    if len(families) > 1:
        raise InputError(
            f"vectors are in several formats: {' and '.join(sorted(families.values())[:2])}",
            where=path,
            hint="--glob chooses among a directory's files",
        )
    match next(iter(families)):
        case "JSON":
            return gather_json(vectors, path)
        case "Arrow":
            from tovec.search.vector_files.stored_parquet import gather_arrow

            return gather_arrow(vectors, path)
    return StoredParts(path, vectors)


def _without_side_files(files: Sequence[SourceFile]) -> list[SourceFile]:
    matrices = [file.path for file in files if file.path.endswith(".npy")]
    beside = {path + end for path in matrices for end in _SIDE_FILES}
    return [file for file in files if file.path not in beside]


def _family(path: str) -> str | None:
    ending = suffix(path)
    return next((name for name, endings in _FAMILIES.items() if ending in endings), None)


def _holds_vectors(path: str) -> bool | None:
    """Return whether a file has vectors; None for one without rows that could show it."""
    match _family(path):
        case "npy":
            return True
        case "Parquet":
            return open_file(path) is not None
        case "Arrow":
            from tovec.formats.arrow_ipc import IpcTable

            return EMBEDDING in IpcTable(path).schema.names
        case "JSON":
            _, parts = json_records(path)
            for record in (record for part in parts for record in part):
                if record is None or record.strip():
                    return _is_embedded(record)
            return None
    return False


def _is_embedded(record: bytes | None) -> bool:
    try:
        row = orjson.loads(record or b"")
    except ValueError:
        return False
    return isinstance(row, dict) and EMBEDDING in row


class _Part(NamedTuple):
    """A part's place: its file, its first row, its rows and what it is read in."""

    file: SourceFile
    start: int
    rows: int
    spans: Sequence[Any]


class StoredParts:
    """Files of vectors, one after the other. A span is a part's number and one of its spans."""

    lengths: Lengths | None = None  # each part says its own

    def __init__(self, path: str, files: Sequence[SourceFile]) -> None:
        self.source = path
        self.rows = 0
        self.dimensions = 0
        self.model: str | None = None
        self.provider: str | None = None
        self.dtype = "float32"
        self.has_bits = False
        self.truncated_from: int | None = None
        self.has_columns = _family(files[0].path) != "npy"
        self._parts: list[_Part] = []
        self._named = ""  # the file that says the model, for errors
        for file in files:
            stored = _open_part(file)
            self._agree(stored)
            self._parts.append(_Part(file, self.rows, stored.rows, stored.spans))
            self.rows += stored.rows
        self._starts = np.array([part.start for part in self._parts], np.int64)
        self._last: tuple[int, Stored] | None = None

    def _agree(self, stored: Stored) -> None:
        """Raise InputError where a part has another model or other dimensions than those before."""
        if not self._parts:
            self.model, self.provider, self._named = stored.model, stored.provider, stored.source
            self.dtype, self.has_bits = stored.dtype, stored.has_bits
            self.truncated_from = stored.truncated_from
        elif stored.model != self.model:
            here, before = (model or "an unnamed model" for model in (stored.model, self.model))
            raise InputError(
                f"its vectors were made by {here}, those of {self._named} by {before}",
                where=stored.source,
                hint="vectors of two models cannot be compared; --glob chooses among the files",
            )
        elif (stored.dtype, stored.has_bits) != (self.dtype, self.has_bits):
            raise InputError(
                f"it stores {stored.dtype}, and {self._named} {self.dtype}",
                where=stored.source,
                hint="--glob chooses among the files",
            )
        if not stored.rows:  # it may not know its dimensions
            return
        self.dimensions = self.dimensions or stored.dimensions
        if stored.dimensions != self.dimensions:
            raise different(stored.dimensions, self.dimensions, stored.source)

    @property
    def spans(self) -> Sequence[tuple[int, Any]]:
        """The parts in which the files are read, in order."""
        return [(i, span) for i, part in enumerate(self._parts) for span in part.spans]

    def blocks(self, span: tuple[int, Any]) -> Iterator[Placed]:
        """Yield a part's vectors."""
        number, inner = span
        part = self._parts[number]
        if part.rows:
            for first, block in _open_part(part.file).blocks(inner):
                yield part.start + first, block

    def bits(self, span: tuple[int, Any]) -> Iterator[PlacedBits]:
        """Yield a part's bits."""
        number, inner = span
        part = self._parts[number]
        if part.rows:
            for first, block in _open_part(part.file).bits(inner):
                yield part.start + first, block

    def take(self, rows: Sequence[int]) -> Vectors:
        """Return these rows' vectors, in the order asked for."""
        found = np.empty((len(rows), self.dimensions), np.float32)
        for number, places in self._by_part(rows):
            start = self._parts[number].start
            found[places] = self._open(number).take([rows[i] - start for i in places])
        return found

    def number(self, row: int) -> int:
        """Return the row's number, over all files."""
        return row

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what else is stored of these rows, and the columns of their directories."""
        found: list[dict[str, Any]] = [{} for _ in rows]
        for number, places in self._by_part(rows):
            part = self._parts[number]
            some = self._open(number).fields([rows[i] - part.start for i in places])
            more = {one.name: one.value for one in part.file.partition}
            for place, row in zip(places, some, strict=True):
                found[place] = {**more, **row}
        return found

    def _by_part(self, rows: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield the parts that have some rows, with the places of these in `rows`."""
        # The last of several parts that begin at one row is the one that has it.
        numbers = np.searchsorted(self._starts, rows, "right") - 1
        for number in np.unique(numbers).tolist():
            yield number, np.flatnonzero(numbers == number).tolist()

    def _open(self, number: int) -> Stored:
        if self._last is None or self._last[0] != number:
            self._last = (number, _open_part(self._parts[number].file))
        return self._last[1]


def _open_part(file: SourceFile) -> Stored:
    stored = open_file(file.path)
    if stored is None:
        raise InputError("the directory changed while it was read", where=file.path)
    return stored
