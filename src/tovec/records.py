"""What flows between the parts: blocks of rows in, requests and answers, rows and vectors out.

source -> Block -> (long-text policy, packing) -> Request -> Answer -> Writer. Everything travels
in blocks: lists of texts and one float32 matrix, never one object a row with a vector inside.
Small records are NamedTuples, here and elsewhere: to define a frozen dataclass takes 0.67 ms, a
NamedTuple 0.07, and thirty of them stand between a user and the first vector.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Inputs = list[str] | list[list[int]]
"""What is embedded: texts, or arrays of token ids (one kind in a block and in a request)."""


class Rows(Protocol):
    """The fields that rows came with, kept in the form in which they were read."""

    def __len__(self) -> int: ...

    @property
    def index(self) -> Sequence[int]:
        """The place of each row in the whole input, from 0."""
        ...

    def take(self, indices: Sequence[int]) -> Rows:
        """Return the rows at `indices`, in that order; an index may repeat (chunks of one text)."""
        ...

    def json(self, columns: Sequence[str] | None = None) -> list[bytes]:
        """Return each row as one JSON object, values unchanged; `columns` chooses and orders."""
        ...

    def arrow(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Return the rows as an Arrow batch, types kept where the source had them."""
        ...

    def ids(self, field: str) -> list[object]:
        """Return the values of one field as JSON values."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A row that cannot be embedded, and why. `line` counts from 1 as an editor does."""

    source: str
    line: int
    index: int  # of the row in the whole input, from 0
    reason: str
    kind: str  # "empty" | "missing" | "type" | "syntax" | "encoding" | "size" | "refused" | "long"
    raw: bytes = b""  # the row as it was read, for the rejects file; may be cut
    unit: str = "line"  # what `line` counts; "row" in a file without lines, "" for arguments

    @property
    def where(self) -> str:
        """Return the row's place, for messages."""
        return f"{self.source}{self.unit and f', {self.unit}'} {self.line}"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some consecutive rows of the input that can be embedded, and the problems among them.

    `inputs[i]` is the text (or tokens) of row `rows[i]`, which is row `index[i]` of the whole
    input (from 0, over all files, blank lines counted) and stands in line `lines[i]` of `source`.
    """

    inputs: Inputs
    rows: Rows
    source: str
    index: Sequence[int]
    lines: Sequence[int]
    problems: tuple[Problem, ...] = ()
    blank: int = 0  # blank lines skipped in this stretch of input
    unit: str = "line"  # what `lines` counts; "row" in a file without lines
    skipped: tuple[str, ...] = ()  # why entries of a directory were left out, one for each


class Limits(NamedTuple):
    """What one request may hold. None is "no limit known"; the defaults are the API's own.

    Source: the create-embeddings reference (2048 inputs, 300,000 tokens summed, 8192 an input).
    """

    items: int | None = 2048
    tokens: int | None = 300_000
    item_tokens: int | None = 8192
    body_bytes: int | None = None


class Usage(NamedTuple):
    """Tokens an answer says it counted; None where the endpoint did not say so believably."""

    prompt_tokens: int | None = None
    total_tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Inputs that go to the endpoint together. `tokens` is the estimate for rate limits."""

    inputs: Inputs
    tokens: int

    def __len__(self) -> int:
        return len(self.inputs)


class Answer(NamedTuple):
    """What the endpoint gave for a request: `vectors[i]` belongs to `kept[i]` of its inputs.

    `vectors` is float32, C-contiguous, (len(kept), dimensions). `kept` is None when every input
    has its vector; otherwise the others are in `refused` as (position in the request, error).
    """

    vectors: NDArray[np.float32]
    model: str
    usage: Usage = Usage()
    request_ids: tuple[str, ...] = ()
    kept: tuple[int, ...] | None = None
    refused: tuple[tuple[int, str], ...] = ()


def as_text(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be written down: bytes that are not UTF-8 become escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")
