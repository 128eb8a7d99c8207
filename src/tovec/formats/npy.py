"""npy out: one C-order matrix that numpy maps, and beside it what its rows are.

The header is 128 bytes whatever the number of rows, so that the count can be completed when it
is known. NAME.npy.json says model, dimensions, rows, between which lengths all vectors are (a
search need not measure them then) and where the rows' ids are; the ids' file is written when rows
have an id, or are not simply rows 0 to n-1 of the input.
Source: the npy format, version 1.0 (numpy.lib.format).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from tovec.errors import UsageError
from tovec.formats.embedding_column import as_stored, quantisation, squares
from tovec.formats.protocols import Sink, VectorMeta, WriteOptions
from tovec.formats.quantised import stored_width
from tovec.records import as_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tovec.records import Rows

HEADER_BYTES = 128
FLOATS = ("float32", "float16")
IDS = ".ids.jsonl"
_DESCR = {
    "float32": "<f4", "float16": "<f2",
    "int8": "|i1", "uint8": "|u1", "binary": "|i1", "ubinary": "|u1",
}  # fmt: skip


def header(rows: int, width: int, dtype: str) -> bytes:
    """Return the file's first 128 bytes."""
    fields = f"{{'descr': '{_DESCR[dtype]}', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (HEADER_BYTES - 10).to_bytes(2, "little")
        + (fields.ljust(HEADER_BYTES - 11).encode() + b"\n")
    )


def _bits_suffix(dtype: str) -> str:
    """Return what the name of a file of the same vectors as bits ends in."""
    return f".{dtype}.npy"


def check_seekable(*, seekable: bool) -> None:
    """Raise UsageError where the header cannot be completed."""
    if not seekable:
        raise UsageError(
            "npy needs a file: its first bytes hold the number of rows",
            hint="name one with -o OUT.npy, or stream --format jsonl",
        )


class NpyWriter:
    """Appends rows, and completes the header and the side files at the end."""

    def __init__(self, sink: Sink, meta: VectorMeta, options: WriteOptions) -> None:
        check_seekable(seekable=sink.seekable)
        self._sink = sink
        self._meta = meta
        self._id_field = options.id_field
        self._rows = 0
        self._dimensions = meta.dimensions or 0
        self._is_float = meta.dtype in FLOATS
        self._least, self._most = np.inf, 0.0  # of all squared lengths
        self._ids: BinaryIO | None = None
        self._also = options.also
        self._bits = sink.beside(_bits_suffix(options.also)) if options.also else None
        sink.file.write(self._header(meta.dtype))
        if self._bits is not None:
            self._bits.write(self._header(str(self._also)))

    def write(
        self, rows: Rows, extra: Mapping[str, NDArray[np.int64]], vectors: NDArray[np.float32]
    ) -> None:
        """Append vectors."""
        if not len(rows):
            return
        stored = as_stored(vectors, self._meta.dtype, self._meta.scale)
        self._dimensions = vectors.shape[1]
        self._sink.file.write(stored.data.cast("B"))
        if self._bits is not None:
            self._bits.write(as_stored(vectors, str(self._also)).data.cast("B"))
        if self._is_float:
            self._measure(stored)
        self._write_ids(rows, extra)
        self._rows += len(rows)

    def finish(self) -> None:
        """Complete the header and write the side file."""
        for file, dtype in ((self._sink.file, self._meta.dtype), (self._bits, self._also)):
            if file is not None:
                file.seek(0)
                file.write(self._header(str(dtype)))
                file.flush()
        about = {
            "model": self._meta.model,
            "provider": self._meta.provider,
            "dimensions": self._dimensions,
            "dtype": self._meta.dtype,
            "rows": self._rows,
            "quantisation": quantisation(self._meta),
            "truncated_from": self._meta.truncated_from,
            "also": self._also,
            "bits": self._bits and as_text(self._sink.name) + _bits_suffix(str(self._also)),
            "lengths": self._lengths(),
            "ids": None if self._ids is None else as_text(self._sink.name) + IDS,
            "tool": self._meta.tool,
        }
        side = self._sink.beside(".json")
        side.write(orjson.dumps(about, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    def _header(self, dtype: str) -> bytes:
        return header(self._rows, stored_width(self._dimensions, dtype), dtype)

    def _measure(self, stored: NDArray[Any]) -> None:
        found = squares(np.asarray(stored, np.float32))
        self._least = float(np.minimum(self._least, found.min()))  # NaN stays NaN
        self._most = float(np.maximum(self._most, found.max()))

    def _lengths(self) -> list[float] | None:
        """Return the least and the greatest length, as float32 gives them."""
        if not (0.0 < self._least <= self._most < np.inf):
            return None
        return [math.sqrt(self._least), math.sqrt(self._most)]

    def _write_ids(self, rows: Rows, extra: Mapping[str, NDArray[np.int64]]) -> None:
        index = np.asarray(rows.index)
        simple = np.array_equal(index, np.arange(self._rows, self._rows + len(rows)))
        if self._ids is None:
            if simple and self._id_field is None and not extra:
                return
            self._ids = self._sink.beside(IDS)
            # Until here, row i was row i of the input.
            self._ids.write(b"".join(b'{"index":%d}\n' % i for i in range(self._rows)))
        columns: dict[str, list[Any]] = {"index": index.tolist()}
        if self._id_field is not None:
            columns["id"] = rows.ids(self._id_field)
        columns |= {name: column.tolist() for name, column in extra.items()}
        lines = (
            orjson.dumps(dict(zip(columns, row, strict=True))) + b"\n"
            for row in zip(*columns.values(), strict=True)
        )
        self._ids.write(b"".join(lines))
