"""Vectors in JSON lines and JSON files: rows that have an `embedding`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from tovec.errors import InputError
from tovec.formats import cutting
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.directories import SourceFile
from tovec.formats.embedding_column import EMBEDDING, vector_columns
from tovec.formats.protocols import ReadOptions
from tovec.formats.quantised import BITS, INTEGERS, stored_width, unit_scale
from tovec.formats.source import chunks, suffix
from tovec.search.vector_files.gathered import Gathered
from tovec.search.vector_files.stored import Encoding, Vectors, different

DTYPE_FIELD = "embedding_dtype"
_ALSO = [vector_columns(dtype)[-1] for dtype in sorted(BITS)]


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
        dtype: object = None
        for record in part:
            line += 1
            if record is not None and not record.strip():
                continue
            where = f"{path}, {unit} {line}"
            row = _object(record, unit, where, texts=not gathered.rows and not rows)
            if row is None or (EMBEDDING not in row and not gathered.rows and not rows):
                return False
            told = row.pop(DTYPE_FIELD, None)
            for name in _ALSO:
                row.pop(name, None)
            if lists and told != dtype:
                raise InputError(
                    f"the row's embedding_dtype is {told}, those before it say {dtype}",
                    where=where,
                )
            dtype = told
            lists.append(_checked(row.pop(EMBEDDING, None), where, lists, gathered, told))
            rows.append(orjson.dumps({**more, **row}))
            lines.append(line)
        if rows:
            first = gathered.rows
            gathered.check_type(str(dtype or "float32"), f"{path}, {unit} {lines[0]}")
            matrix = _decoded(_as_matrix(lists, f"{path}, {unit}", lines), dtype, path, lines[0])
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


def _decoded(matrix: Vectors, dtype: object, path: str, line: int) -> Vectors:
    """Return the vectors that lists of numbers of a type stand for."""
    if dtype in (None, "float32", "float16"):
        return matrix
    where = f"{path}, line {line}"
    if str(dtype) not in INTEGERS | BITS:
        raise InputError("embedding_dtype is not a type that tovec writes", where=where)
    kind = "int8" if dtype in ("int8", "binary") else "uint8"
    with np.errstate(invalid="ignore"):
        integers = matrix.astype(kind)
    if not np.array_equal(integers, matrix):
        raise InputError(f"an embedding holds a number that is not {kind}", where=where)
    return Encoding(str(dtype), unit_scale(kind)).decode(integers)


def _checked(
    vector: object, where: str, before: list[list[Any]], gathered: Gathered, dtype: object
) -> list[Any]:
    if not isinstance(vector, list) or not vector:
        raise InputError("the row has no embedding: a list of numbers", where=where)
    stored = stored_width(gathered.dimensions, str(dtype))
    expected = stored or (len(before[0]) if before else len(vector))
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
