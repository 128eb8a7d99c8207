"""Stored vectors read back: npy with its side files, Parquet, JSONL; in blocks, never whole.

What a file says of its vectors (model, provider, dimensions) is taken from where the writers put
it: NAME.npy.json, the Parquet schema's metadata; JSONL has no place for it. Whatever is kept, a
block is float32 (n, dimensions).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.errors import InputError
from tovec.formats import cutting
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.directories import SourceFile
from tovec.formats.embedding_column import EMBEDDING
from tovec.formats.protocols import ReadOptions
from tovec.formats.source import chunks, open_regular, suffix
from tovec.wording import count_phrase

SPAN_BYTES = 64 << 20  # read by one thread at a time, and then let go of
BLOCK_BYTES = 32 << 20  # of one block: what is done once a block should be done seldom
MAX_SIDE_BYTES = 1 << 20  # of NAME.npy.json; tovec writes some hundred
MAX_DIMENSIONS = 1 << 20
WRITE_BOTH = "write the matrix again, or remove its side files and name the model with -m"

Vectors = NDArray[np.float32]
Placed = tuple[int, Vectors]  # the first row's place in the file, and the block
Lengths = tuple[float, float]  # the least and the greatest of all rows, as float32 gives them


class Stored(Protocol):
    """Vectors at rest. Rows are counted from 0; spans and their blocks may be read in threads."""

    source: str
    rows: int
    dimensions: int
    model: str | None
    provider: str | None
    lengths: Lengths | None
    has_columns: bool  # whether rows are stored with their columns; a .npy has ids at most

    @property
    def spans(self) -> Sequence[Any]:
        """The parts in which the file is read, in order."""
        ...

    def blocks(self, span: Any) -> Iterator[Placed]:
        """Yield a part's vectors; a block is only valid until the next is asked for."""
        ...

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what else is stored of these rows, without their vectors."""
        ...

    def number(self, row: int) -> int:
        """Return the row's number as its user counts: from 0, in the file that was named."""
        ...


def every(stored: Stored) -> Iterator[Placed]:
    """Yield all blocks in order."""
    for span in stored.spans:
        yield from stored.blocks(span)


def open_stored(path: str, glob: str | None = None) -> Stored | None:
    """Open a file of vectors, or a directory of them (parts); None for texts.

    Raises InputError for what is damaged or holds no vectors that can be compared.
    """
    if Path(path).is_dir():
        from tovec.search.vector_files.stored_parts import open_parts

        return open_parts(path, glob)
    return open_file(path)


def open_file(path: str) -> Stored | None:
    """Open one file of vectors; None for a file of texts."""
    match suffix(path):
        case ".npy":
            return StoredNpy(path)
        case ".parquet" | ".pq":
            from tovec.search.vector_files.stored_parquet import StoredParquet

            return StoredParquet.open(path)
        case ".jsonl" | ".ndjson" | ".jsonlines" | ".json":
            open_regular(path).close()  # where it holds texts it is read again
            return gather_json([SourceFile(path)], path)
        case ".arrow" | ".arrows" | ".ipc" | ".feather":
            from tovec.search.vector_files.stored_parquet import gather_arrow

            open_regular(path).close()
            return gather_arrow([SourceFile(path)], path)
    return None


class _Matrix:
    """A C-order matrix in a file, mapped, and let go of as it has been read."""

    def __init__(self, file: Any, offset: int, shape: tuple[int, int], dtype: np.dtype[Any]):
        self.rows, self.dimensions = shape
        self._offset = offset
        self._row_bytes = max(1, self.dimensions * dtype.itemsize)
        self._mapped = None
        self._matrix = np.empty((0, self.dimensions), dtype)
        if self.rows:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            count = self.rows * self.dimensions
            flat = np.frombuffer(self._mapped, dtype, count, offset)
            self._matrix = flat.reshape(shape)

    @property
    def spans(self) -> Sequence[range]:
        """The parts in which the file is read, in order."""
        step = max(1, SPAN_BYTES // self._row_bytes)
        return [range(i, min(i + step, self.rows)) for i in range(0, self.rows, step)]

    def blocks(self, span: range) -> Iterator[Placed]:
        """Yield a part's vectors."""
        step = max(1, BLOCK_BYTES // self._row_bytes)
        for start in range(span.start, span.stop, step):
            yield start, np.asarray(self._matrix[start : min(start + step, span.stop)], np.float32)
        self._let_go(span)

    def _let_go(self, span: range) -> None:
        """Hand a part's pages back, so that a file larger than memory costs little of it."""
        if self._mapped is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        start = (self._offset + span.start * self._row_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
        end = self._offset + span.stop * self._row_bytes
        self._mapped.madvise(mmap.MADV_DONTNEED, start, end - start)


class StoredNpy(_Matrix):
    """A matrix as numpy writes it; what its rows are stands beside it, if tovec wrote it."""

    has_columns = False

    def __init__(self, path: str) -> None:
        self.source = path
        with open_regular(path) as file:
            shape, dtype, offset = _npy_header(file, path)
            size = file.seek(0, 2)
            if size < offset + shape[0] * shape[1] * dtype.itemsize:
                raise InputError("the file is shorter than its header says", where=path)
            super().__init__(file, offset, shape, dtype)
        about = _side_file(path, shape)
        self.model = _text_or_none(about, "model", path)
        self.provider = _text_or_none(about, "provider", path)
        self.lengths = None if _newer(path) else _lengths(about.get("lengths"))
        ids = _text_or_none(about, "ids", path)
        self._ids = None if ids is None else _beside(path, ids)
        self._starts: NDArray[np.int64] | None = None

    def number(self, row: int) -> int:
        """Return the row's number."""
        return row

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the ids' file's lines for these rows, if there is one."""
        if self._ids is None:
            return [{} for _ in rows]
        with open_regular(self._ids) as file:
            if self._starts is None:
                self._starts = _line_starts(file)
                if len(self._starts) != self.rows:
                    raise InputError(
                        f"the ids file has {_lines(len(self._starts))}, but the matrix has "
                        f"{self.rows:,} rows",
                        where=self._ids,
                        hint=WRITE_BOTH,
                    )
            return [self._line(file, row) for row in rows]

    def _line(self, file: BufferedReader, row: int) -> dict[str, Any]:
        assert self._starts is not None
        assert self._ids is not None
        file.seek(int(self._starts[row]))
        found: object = None
        with contextlib.suppress(ValueError):
            found = orjson.loads(file.readline(MAX_RECORD_BYTES))
        if not isinstance(found, dict):
            raise InputError(
                "not a JSON object", where=f"{self._ids}, line {row + 1}", hint=WRITE_BOTH
            )
        return found


def _lines(count: int) -> str:
    return count_phrase(count, "line")


def _npy_header(file: BufferedReader, path: str) -> tuple[tuple[int, int], np.dtype[Any], int]:
    """Return shape, type and the offset of the numbers."""
    form = np.lib.format
    try:
        version = form.read_magic(file)
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # noqa: BLE001 - the header is parsed as Python, which raises anything
        first = str(error).partition("\n")[0][:200] or type(error).__name__
        raise InputError(f"this is not a .npy file: {first}", where=path) from None
    if len(shape) != 2 or not 0 < shape[1] <= MAX_DIMENSIONS or dtype.kind != "f":
        raise InputError(
            f"it holds {dtype} of shape {shape}; vectors are rows of floats", where=path
        )
    if shape[0] < 0:
        raise InputError(f"its header says {shape[0]} rows", where=path)
    if fortran:
        raise InputError(
            "its columns are stored together, not its rows",
            where=path,
            hint="np.save(path, np.ascontiguousarray(matrix)) writes rows",
        )
    return (int(shape[0]), int(shape[1])), dtype, file.tell()


def _side_file(path: str, shape: tuple[int, int]) -> dict[str, Any]:
    side = f"{path}.json"
    if not os.path.lexists(side):
        return {}
    with open_regular(side) as file:
        data = file.read(MAX_SIDE_BYTES + 1)
    about: object = None
    with contextlib.suppress(ValueError):
        about = orjson.loads(data)
    if not isinstance(about, dict) or len(data) > MAX_SIDE_BYTES:
        raise InputError("not a JSON object", where=side, hint=WRITE_BOTH)
    if (about.get("rows"), about.get("dimensions")) != shape:
        raise mismatch(path, f"the matrix has {shape[0]:,} rows of {shape[1]:,} numbers")
    return about


def _text_or_none(about: Mapping[str, object], name: str, path: str) -> str | None:
    value = about.get(name)
    if value is not None and not isinstance(value, str):
        shown = orjson.dumps(value).decode()[:40]
        raise InputError(f"{name!r} is {shown}, not a text", where=f"{path}.json", hint=WRITE_BOTH)
    return value


def _beside(path: str, name: str) -> str:
    """Return the path of a file that the side file names.

    It must be a plain file beside the matrix: whoever made the side file may not have another file
    of the user's read.
    """
    if "/" in name or name in ("", ".", "..") or "\0" in name:
        raise InputError(
            "its ids must be the name of a file beside it", where=f"{path}.json", hint=WRITE_BOTH
        )
    found = Path(path).parent / name
    if Path(os.path.realpath(found)).parent != Path(os.path.realpath(found.parent)):
        raise InputError("a link to another directory is not followed here", where=str(found))
    return str(found)


def mismatch(path: str, why: str) -> InputError:
    """Return the error for a side file that is not this matrix's."""
    name = Path(path).name
    return InputError(
        f"{name}.json does not match {name}: {why}", where=path + ".json", hint=WRITE_BOTH
    )


def _newer(path: str) -> bool:
    """Return whether a matrix was written after its side file, whose measures may be old then."""
    side = Path(path + ".json")
    return side.exists() and Path(path).stat().st_mtime_ns > side.stat().st_mtime_ns


def _lengths(told: object) -> Lengths | None:
    match told:
        case [float(least), float(most)] if 0.0 < least <= most:
            return least, most
    return None


class Gathered:
    """Vectors that came in as text, in an unnamed temporary file, to be read as often as needed."""

    lengths: Lengths | None = None
    has_columns = True

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows = 0
        self.dimensions = 0
        self.model: str | None = None
        self.provider: str | None = None
        self._vectors = tempfile.TemporaryFile(prefix="tovec-")  # noqa: SIM115 - lives as long
        self._fields = tempfile.TemporaryFile(prefix="tovec-")  # noqa: SIM115 - as this does
        self._starts = array("q")
        self._numbers = array("q")
        self._matrix: _Matrix | None = None

    def __del__(self) -> None:
        self._vectors.close()
        self._fields.close()

    def add(self, vectors: Vectors, fields: Sequence[bytes], numbers: Sequence[int]) -> None:
        """Take rows: their vectors, the rest of them as JSON objects, and their numbers."""
        self.dimensions = self.dimensions or vectors.shape[1]
        self._vectors.write(np.ascontiguousarray(vectors).data.cast("B"))
        at = self._fields.tell()
        for one in fields:
            self._starts.append(at)
            at += len(one) + 1
        self._fields.write(b"".join(one + b"\n" for one in fields))
        self._numbers.extend(numbers)
        self.rows += len(vectors)

    @property
    def _whole(self) -> _Matrix:
        if self._matrix is None:
            self._vectors.flush()
            shape = (self.rows, self.dimensions)
            self._matrix = _Matrix(self._vectors, 0, shape, np.dtype("<f4"))
        return self._matrix

    @property
    def spans(self) -> Sequence[Any]:
        """The parts in which the file is read, in order."""
        return self._whole.spans

    def blocks(self, span: Any) -> Iterator[Placed]:
        """Yield a part's vectors."""
        return self._whole.blocks(span)

    def number(self, row: int) -> int:
        """Return the row's number."""
        return self._numbers[row]

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return what came with these rows."""
        found = []
        for row in rows:
            self._fields.seek(self._starts[row])
            found.append(orjson.loads(self._fields.readline()))
        return found


def gather_json(files: Sequence[SourceFile], source: str) -> Gathered | None:
    """Read rows that have an `embedding`; None where the first row has none."""
    gathered = Gathered(source)
    for file in files:
        more = {one.name: one.value for one in file.partition}
        if not _gather_json_file(file.path, more, gathered):
            return None
    return gathered if gathered.rows else None


def _gather_json_file(path: str, more: Mapping[str, object], gathered: Gathered) -> bool:
    """Add a file's rows; return False where the first of all rows has no `embedding`."""
    line = 0
    unit, parts = json_records(path)
    for part in parts:
        rows: list[bytes] = []
        lists: list[list[Any]] = []
        lines: list[int] = []
        for record in part:
            line += 1
            if record is not None and not record.strip():
                continue
            where = f"{path}, {unit} {line}"
            row = _object(record, unit, where, texts=not gathered.rows and not rows)
            if row is None or (EMBEDDING not in row and not gathered.rows and not rows):
                return False
            lists.append(_checked(row.pop(EMBEDDING, None), where, lists, gathered))
            rows.append(orjson.dumps({**more, **row}))
            lines.append(line)
        if rows:
            first = gathered.rows
            matrix = _as_matrix(lists, f"{path}, {unit}", lines)
            gathered.add(matrix, rows, range(first, first + len(rows)))
    return True


def json_records(path: str) -> tuple[str, Iterator[list[bytes | None]]]:
    """Return what a file's rows are called, and their bytes; None for one that is too long."""
    if suffix(path) == ".json":
        from tovec.formats import json

        by_line, found = json.records(path, ReadOptions())
        return "line" if by_line else "value", found
    return "line", cutting.lines(chunks(path), MAX_RECORD_BYTES)


def _object(record: bytes | None, unit: str, where: str, *, texts: bool) -> dict[str, Any] | None:
    """Return a row; None for a text where rows of texts may stand (`texts`)."""
    try:
        row = orjson.loads(record or b"")
    except ValueError as error:
        reason = f"the {unit} is too long" if record is None else f"not JSON: {error}"
        raise InputError(reason, where=where) from None
    if isinstance(row, str) and texts and unit == "value":
        return None
    if not isinstance(row, dict):
        raise InputError(f"the {unit} holds no object", where=where)
    return row


def _checked(vector: object, where: str, before: list[list[Any]], gathered: Gathered) -> list[Any]:
    if not isinstance(vector, list) or not vector:
        raise InputError("the row has no embedding: a list of numbers", where=where)
    expected = gathered.dimensions or (len(before[0]) if before else len(vector))
    if len(vector) != expected:
        raise different(len(vector), expected, where)
    return vector


def _as_matrix(lists: list[list[Any]], place: str, lines: list[int]) -> Vectors:
    try:
        wide = np.array(lists)
        if wide.dtype.kind in "if" and wide.ndim == 2:
            with np.errstate(over="ignore"):
                return wide.astype(np.float32)
    except ValueError:
        pass
    for vector, line in zip(lists, lines, strict=True):
        for i, one in enumerate(vector):
            if type(one) not in (int, float):
                what = "null" if one is None else orjson.dumps(one).decode()[:40]
                raise InputError(
                    f"the embedding holds {what} at {i}, not a number", where=f"{place} {line}"
                )
    raise InputError("an embedding holds a number beyond float64", where=f"{place} {lines[0]}")


def different(found: int, expected: int, where: str) -> InputError:
    """Return the error for a vector of another length than those before it."""
    return InputError(
        f"the vector has {found:,} dimensions, those before it {expected:,}", where=where
    )


def _line_starts(file: Any) -> NDArray[np.int64]:
    """Return where each line of a file begins."""
    starts: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
    at = 0
    while part := file.read(1 << 24):
        starts.append(np.flatnonzero(np.frombuffer(part, np.uint8) == ord("\n")) + at + 1)
        at += len(part)
    every_start = np.concatenate(starts)
    return every_start[every_start < at]
