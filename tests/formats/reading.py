"""Shared by the tests of readers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

from tovec import formats
from tovec.formats.protocols import ReadOptions
from tovec.records import Block


class Slow(io.RawIOBase):
    """A pipe that delivers `size` bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        some = self._data.read(min(self._size, len(buffer)))
        buffer[: len(some)] = some
        return len(some)


def read_bytes(data: bytes, chunk: int | None = None, **options: Any) -> list[Block]:
    """Return the blocks of what stands on standard input, delivered in chunks."""
    stdin = io.BytesIO(data) if chunk is None else Slow(data, chunk)
    return list(formats.read(["-"], ReadOptions(**options), stdin))  # type: ignore[arg-type]


def read_files(*paths: object, **options: Any) -> list[Block]:
    """Give the blocks of files."""
    return list(formats.read([str(path) for path in paths], ReadOptions(**options)))


def texts(blocks: Iterable[Block]) -> list[Any]:
    """Give the inputs of all blocks."""
    return [text for block in blocks for text in block.inputs]


def as_json(blocks: Iterable[Block], columns: list[str] | None = None) -> list[Any]:
    """Give the rows of all blocks, by way of their JSON."""
    return [json.loads(row) for block in blocks for row in block.rows.json(columns)]


def problems(blocks: Iterable[Block]) -> list[tuple[str, int, int]]:
    """Give kind, line and index of all problems."""
    return [(one.kind, one.line, one.index) for block in blocks for one in block.problems]
