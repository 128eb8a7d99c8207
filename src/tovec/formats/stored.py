"""Stored vectors read back: npy with its side files, Parquet, JSONL; in blocks, never whole.

What a file says of its vectors (model, provider, dimensions) is taken from where the writers put
it: NAME.npy.json, the Parquet schema's metadata; JSONL has no place for it. Whatever is kept, a
block is float32 (n, dimensions).
"""

from __future__ import annotations

import mmap
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.errors import FileError, InputError
from tovec.formats import cutting
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.source import chunks, suffix
from tovec.formats.vectors import EMBEDDING

SPAN_BYTES = 64 << 20  # read by one thread at a time, and then let go of
BLOCK_BYTES = 32 << 20  # of one block: what is done once a block should be done seldom

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

    @property
    def spans(self) -> Sequence[Any]:
        """The parts in which the file is read, in order."""
        ...

    def blocks(self, span: Any) -> Iterator[Placed]:
        """Give a part's vectors; a block is only valid until the next is asked for."""
        ...

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Give what else is stored of these rows, without their vectors."""
        ...

    def number(self, row: int) -> int:
        """Give the row's number as its user counts: from 0, in the file that was named."""
        ...


def every(stored: Stored) -> Iterator[Placed]:
    """Give all blocks in order."""
    for span in stored.spans:
        yield from stored.blocks(span)


def open_stored(path: str) -> Stored | None:
    """Open a file of vectors; None for a file of texts.

    Raises InputError for a file that is damaged or holds no vectors that can be compared.
    """
    match suffix(path):
        case ".npy":
            return StoredNpy(path)
        case ".parquet" | ".pq":
            from tovec.formats.stored_parquet import StoredParquet

            return StoredParquet.open(path)
        case ".jsonl" | ".ndjson":
            return _from_jsonl(path)
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
        """Give a part's vectors."""
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

    def __init__(self, path: str) -> None:
        self.source = path
        file = _opened(path)
        with file:
            shape, dtype, offset = _npy_header(file, path)
            size = file.seek(0, 2)
            if size < offset + shape[0] * shape[1] * dtype.itemsize:
                raise InputError("the file is shorter than its header says", where=path)
            super().__init__(file, offset, shape, dtype)
        about = _side_file(path, shape)
        self.model: str | None = about.get("model")
        self.provider: str | None = about.get("provider")
        self.lengths = None if _newer(path) else _lengths(about.get("lengths"))
        ids = about.get("ids")
        self._ids = Path(path).parent / ids if isinstance(ids, str) else None
        self._starts: NDArray[np.int64] | None = None

    def number(self, row: int) -> int:
        """Give the row's number."""
        return row

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Give the ids' file's lines for these rows, if there is one."""
        if self._ids is None:
            return [{} for _ in rows]
        with _opened(str(self._ids)) as file:
            if self._starts is None:
                self._starts = _line_starts(file)
                if len(self._starts) != self.rows:
                    raise InputError(
                        f"it names {len(self._starts):,} rows, the matrix has {self.rows:,}",
                        where=str(self._ids),
                    )
            found = []
            for row in rows:
                file.seek(int(self._starts[row]))
                found.append(orjson.loads(file.readline()))
        return found


def _npy_header(file: Any, path: str) -> tuple[tuple[int, int], np.dtype[Any], int]:
    """Give shape, type and the offset of the numbers."""
    form = np.lib.format
    try:
        version = form.read_magic(file)
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"this is not a .npy file: {first}", where=path) from None
    if len(shape) != 2 or not shape[1] or dtype.kind != "f":
        raise InputError(
            f"it holds {dtype} of shape {shape}; vectors are rows of floats", where=path
        )
    if fortran:
        raise InputError(
            "its columns are stored together, not its rows",
            where=path,
            hint="np.save(path, np.ascontiguousarray(matrix)) writes rows",
        )
    return shape, dtype, file.tell()


def _side_file(path: str, shape: tuple[int, int]) -> dict[str, Any]:
    side = Path(path + ".json")
    try:
        about = orjson.loads(side.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"it cannot be read: {error}", where=str(side)) from None
    if not isinstance(about, dict) or (about.get("rows"), about.get("dimensions")) != shape:
        raise another(path, f"which has {shape[0]:,} x {shape[1]} numbers")
    return about


def another(path: str, why: str) -> InputError:
    """Give the error for a side file that is not this matrix's."""
    return InputError(
        f"it describes another matrix than {Path(path).name}, {why}",
        where=path + ".json",
        hint="write both again, or remove it and name the model with -m",
    )


def _newer(path: str) -> bool:
    """Say whether a matrix was written after its side file, whose measures may be old then."""
    side = Path(path + ".json")
    return side.exists() and Path(path).stat().st_mtime_ns > side.stat().st_mtime_ns


def _lengths(told: Any) -> Lengths | None:
    match told:
        case [float(least), float(most)] if 0.0 < least <= most:
            return least, most
    return None


class Gathered:
    """Vectors that came in as text, in an unnamed temporary file, to be read as often as needed."""

    model: str | None = None
    provider: str | None = None
    lengths: Lengths | None = None

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows = 0
        self.dimensions = 0
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
        """Give a part's vectors."""
        return self._whole.blocks(span)

    def number(self, row: int) -> int:
        """Give the row's number."""
        return self._numbers[row]

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Give what came with these rows."""
        found = []
        for row in rows:
            self._fields.seek(self._starts[row])
            found.append(orjson.loads(self._fields.readline()))
        return found


def _from_jsonl(path: str) -> Gathered | None:
    """Read rows that have an `embedding`; None where the first row has none."""
    gathered = Gathered(path)
    line = 0
    for part in cutting.separated(chunks(path), b"\n", MAX_RECORD_BYTES):
        rows: list[bytes] = []
        lists: list[list[Any]] = []
        lines: list[int] = []
        for record in part:
            line += 1
            if record is not None and not record.strip():
                continue
            row = _object(record, path, line)
            if EMBEDDING not in row and not gathered.rows and not rows:
                return None
            lists.append(_checked(row.pop(EMBEDDING, None), path, line, lists, gathered))
            rows.append(orjson.dumps(row))
            lines.append(line)
        if rows:
            first = gathered.rows
            gathered.add(_as_matrix(lists, path, lines), rows, range(first, first + len(rows)))
    return gathered if gathered.rows else None


def _object(record: bytes | None, path: str, line: int) -> dict[str, Any]:
    where = f"{path}, line {line}"
    try:
        row = orjson.loads(record or b"")
    except ValueError as error:
        reason = "the line is too long" if record is None else f"not JSON: {error}"
        raise InputError(reason, where=where) from None
    if not isinstance(row, dict):
        raise InputError("the line holds no object", where=where)
    return row


def _checked(
    vector: Any, path: str, line: int, before: list[list[Any]], gathered: Gathered
) -> list[Any]:
    where = f"{path}, line {line}"
    if not isinstance(vector, list) or not vector:
        raise InputError("the row has no embedding: a list of numbers", where=where)
    expected = gathered.dimensions or (len(before[0]) if before else len(vector))
    if len(vector) != expected:
        raise different(len(vector), expected, where)
    return vector


def _as_matrix(lists: list[list[Any]], path: str, lines: list[int]) -> Vectors:
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
                    f"the embedding holds {what} at {i}, not a number", where=f"{path}, line {line}"
                )
    raise InputError("an embedding holds a number beyond float64", where=path)


def different(found: int, expected: int, where: str) -> InputError:
    """Give the error for a vector of another length than those before it."""
    return InputError(
        f"the vector has {found:,} dimensions, those before it {expected:,}", where=where
    )


def _opened(path: str) -> Any:
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise InputError("the file is not there", where=path) from None
    except IsADirectoryError:
        raise InputError("this is a directory", where=path, hint="name one of its files") from None
    except OSError as error:
        raise FileError(f"the file cannot be read: {error.strerror}", where=path) from None


def _line_starts(file: Any) -> NDArray[np.int64]:
    """Give where each line of a file begins."""
    starts: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
    at = 0
    while part := file.read(1 << 24):
        starts.append(np.flatnonzero(np.frombuffer(part, np.uint8) == ord("\n")) + at + 1)
        at += len(part)
    every_start = np.concatenate(starts)
    return every_start[every_start < at]
