"""Vectors in a .npy file, and what its side files say of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.errors import InputError
from tovec.formats.cutting import MAX_RECORD_BYTES
from tovec.formats.quantised import BITS, parse_scale, stored_width
from tovec.formats.source import open_regular, shown
from tovec.search.vector_files.stored import (
    WRITE_BOTH,
    Encoding,
    Lengths,
    PlacedBits,
    encoding_of,
    mismatch,
)
from tovec.search.vector_files.stored_matrix import MappedMatrix
from tovec.wording import count_phrase

MAX_SIDE_BYTES = 1 << 20  # of NAME.npy.json; tovec writes some hundred
MAX_DIMENSIONS = 1 << 20
SHORT = "the file is shorter than its header says"


class StoredNpy(MappedMatrix):
    """A matrix as numpy writes it; what its rows are stands beside it, if tovec wrote it."""

    has_columns = False

    def __init__(self, path: str) -> None:
        self.source = path
        with open_regular(path) as file:
            shape, dtype, offset = _npy_header(file, path)
            size = file.seek(0, 2)
            if size < offset + shape[0] * shape[1] * dtype.itemsize:
                raise InputError(SHORT, where=path)
            about = _side_file(path, shape)
            super().__init__(file, offset, shape, dtype, _encoding(dtype, shape, about, path))
        self.model = _text_or_none(about, "model", path)
        self.provider = _text_or_none(about, "provider", path)
        self.truncated_from = _count_or_none(about, "truncated_from")
        self.lengths = None if _newer(path) else _lengths(about.get("lengths"))
        ids = _text_or_none(about, "ids", path)
        self._ids = None if ids is None else _beside(path, ids)
        self._starts: NDArray[np.int64] | None = None
        bits = _text_or_none(about, "bits", path)
        self._bits = None if bits is None else self._open_bits(_beside(path, bits), about)
        self.has_bits = self.has_bits or self._bits is not None

    def _open_bits(self, path: str, about: Mapping[str, object]) -> MappedMatrix:
        """Open the file of the same vectors as bits."""
        with open_regular(path) as file:
            shape, dtype, offset = _npy_header(file, path)
            expected = (self.rows, stored_width(self.dimensions, "ubinary"))
            encoding = encoding_of(dtype.name, about.get("also"), None, path)
            if shape != expected or encoding.dtype not in BITS:
                raise InputError("it does not hold the same vectors as bits", where=path)
            if file.seek(0, 2) < offset + shape[0] * shape[1]:
                raise InputError(SHORT, where=path)
            return MappedMatrix(file, offset, shape, dtype, encoding)

    def bits(self, span: range) -> Iterator[PlacedBits]:
        """Yield a part's bits."""
        return super().bits(span) if self._bits is None else self._bits.bits(span)

    def number(self, row: int) -> int:
        """Return the row's number."""
        return row

    def fields(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return the ids' file's lines for these rows, if there is one."""
        if self._ids is None:
            return [{} for _ in rows]
        if not os.path.exists(self._ids):  # noqa: PTH110 - a name that is too long is no file
            raise InputError(
                f"the file of ids that its side file names is not there: {shown(self._ids)}",
                where=f"{self.source}.json",
                hint=WRITE_BOTH,
            )
        with open_regular(self._ids) as file:
            if self._starts is None:
                self._starts = _line_starts(file)
                if len(self._starts) != self.rows:
                    raise InputError(
                        f"the ids file has {count_phrase(len(self._starts), 'line')}, "
                        f"but the matrix has {count_phrase(self.rows, 'row')}",
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
    if len(shape) != 2 or not 0 < shape[1] <= MAX_DIMENSIONS or not _is_number(dtype):
        raise InputError(
            f"it holds {dtype} of shape {shape}; vectors are rows of floats, int8 or uint8",
            where=path,
        )
    if shape[0] < 0:
        raise InputError(f"its header says {count_phrase(shape[0], 'row')}", where=path)
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
    width = about.get("dimensions")
    if str(about.get("dtype")) in BITS and isinstance(width, int):
        width = stored_width(width, "ubinary")
    if (about.get("rows"), width) != shape:
        raise mismatch(
            path,
            f"the matrix has {count_phrase(shape[0], 'row')} of {count_phrase(shape[1], 'number')}",
        )
    return about


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype in (np.int8, np.uint8)


def _encoding(
    dtype: np.dtype[Any], shape: tuple[int, int], about: Mapping[str, object], path: str
) -> Encoding:
    """Return how a matrix is stored, by its side file."""
    scale = parse_scale(about.get("quantisation"), shape[1])
    hint = f"{Path(path).name}.json says so, as tovec writes it: dtype, dimensions, quantisation"
    return encoding_of(dtype.name, about.get("dtype"), scale, path, hint)


def _count_or_none(about: Mapping[str, object], name: str) -> int | None:
    value = about.get(name)
    return value if isinstance(value, int) and 0 < value <= MAX_DIMENSIONS else None


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


def _newer(path: str) -> bool:
    """Return whether a matrix was written after its side file, whose measures may be old then."""
    side = Path(path + ".json")
    return side.exists() and Path(path).stat().st_mtime_ns > side.stat().st_mtime_ns


def _lengths(told: object) -> Lengths | None:
    match told:
        case [float(least), float(most)] if 0.0 < least <= most:
            return least, most
    return None


def _line_starts(file: BinaryIO) -> NDArray[np.int64]:
    """Return where each line of a file begins."""
    starts: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]
    at = 0
    while part := file.read(1 << 24):
        starts.append(np.flatnonzero(np.frombuffer(part, np.uint8) == ord("\n")) + at + 1)
        at += len(part)
    every_start = np.concatenate(starts)
    return every_start[every_start < at]
