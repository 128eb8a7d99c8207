"""model2vec's tables in this process: a text's vector is the mean of its tokens' rows.

The table is mapped, so that only the rows in use are read. A text is added up row after row, so
its vector does not depend on the texts beside it.
Source: model2vec's folders (model.safetensors, tokenizer.json, config.json) and the safetensors
format: eight bytes with the length of a JSON header, the header, then the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.errors import UsageError
from tovec.local.hub_tokenizer import HubTokenizer
from tovec.local.model_folder import ModelFolder
from tovec.local.vector_rows import normalize_rows
from tovec.wording import count_phrase

EXTRA = "model2vec"
TABLES = ("embeddings", "embedding.weight")  # model2vec's name, sentence-transformers' name
MAX_HEADER_BYTES = 1 << 24
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I8": "i1", "I64": "<i8", "I32": "<i4"}


class _Table(NamedTuple):
    """A loaded table. `weights` and `rows` are by token id; None where all weigh the same."""

    vectors: NDArray[np.generic]
    weights: NDArray[np.float32] | None
    rows: NDArray[np.int64] | None
    unknown_id: int | None


class TableModel:
    """A model2vec model."""

    reads_cl100k = False
    prompts = True
    note = ""
    max_text_characters = None

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.id = folder.id

    @cached_property
    def tokenizer(self) -> HubTokenizer:
        """Return the folder's tokenizer."""
        return HubTokenizer(self.folder, EXTRA, special_tokens=False)

    @cached_property
    def _table(self) -> _Table:
        return _read_table(self.folder, self.tokenizer)

    @cached_property
    def dimensions(self) -> int:
        """Return the length of a row."""
        return int(self._table.vectors.shape[1])

    def max_text_tokens(self, prompt: str | None = None) -> int:
        """Return the tokens that a text may have beside the prompt."""
        return max(1, (self.folder.max_tokens or 1) - self.tokenizer.overhead(prompt))

    def count(self, texts: Sequence[str], prompt: str | None = None) -> list[int]:
        """Return the tokens of each text, without prompt and special tokens."""
        return self.tokenizer.count_many(texts, prompt)

    def read(self, texts: Sequence[str], prompt: str | None = None) -> _TokenRows:
        """Return the texts as token ids, without those that the vocabulary lacks."""
        unknown = self._table.unknown_id
        ids = self.tokenizer.encode(texts, prompt)
        if unknown is not None:
            ids = [one[one != unknown] for one in ids]
        return _TokenRows(self._table, ids, normalize=self.folder.normalize)

    def load(self) -> None:
        """Load tokenizer and table."""
        _ = self._table


class _TokenRows:
    """Texts as token ids, to be looked up in the table."""

    def __init__(self, table: _Table, ids: list[NDArray[np.int64]], *, normalize: bool) -> None:
        self._table = table
        self._ids = ids
        self._normalize = normalize
        self.counts = list(map(len, ids))

    def embed(self, dimensions: int) -> NDArray[np.float32]:
        """Return the vectors of the texts."""
        table = self._table
        vectors = np.empty((len(self._ids), dimensions), np.float32)
        for text, ids in enumerate(self._ids):
            places = ids if table.rows is None else table.rows[ids]
            rows = table.vectors.take(places, axis=0).astype(np.float32, copy=False)
            if table.weights is not None:
                rows = rows * table.weights[ids, None]
            np.divide(np.add.reduce(rows, axis=0)[:dimensions], len(ids), out=vectors[text])
        if self._normalize:
            normalize_rows(vectors)
        return vectors


def _read_table(folder: ModelFolder, tokenizer: HubTokenizer) -> _Table:
    tensors = _read_tensors(folder)
    where = str(folder.weights)
    vectors = next((tensors[name] for name in TABLES if name in tensors), None)
    if vectors is None or vectors.ndim != 2:
        raise UsageError(
            f"holds no table named {' or '.join(TABLES)}",
            where=where,
            hint="-p model2vec takes model2vec's folders, -p onnx transformers with an ONNX file",
        )
    weights, rows = tensors.get("weights"), tensors.get("mapping")
    known = len(vectors) if rows is None else len(rows)
    if known < (size := tokenizer.vocabulary_size()):
        raise UsageError(
            f"holds {count_phrase(known, 'row')} for a tokenizer of {count_phrase(size, 'token')}",
            where=where,
            hint="are the files of one model?",
        )
    return _Table(
        vectors,
        None if weights is None else np.asarray(weights, np.float32),
        None if rows is None else np.asarray(rows, np.int64),
        tokenizer.unknown_id(),
    )


def _read_tensors(folder: ModelFolder) -> dict[str, NDArray[np.generic]]:
    """Return the file's tensors by name, mapped."""
    where = str(folder.weights)
    damaged = UsageError("is not a safetensors file, or is cut short", where=where)
    try:
        with folder.weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 2 <= size <= MAX_HEADER_BYTES:
                raise damaged
            header = json.loads(file.read(size))
        data = np.memmap(folder.weights, np.uint8, mode="r", offset=8 + size)
        found = {}
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            if tensor["dtype"] not in DTYPES:
                raise UsageError(f"{name} is of the type {tensor['dtype']!r:.40}", where=where)
            start, end = tensor["data_offsets"]
            content = data[start:end].view(DTYPES[tensor["dtype"]])
            found[name] = np.asarray(content).reshape(tensor["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None
    return found
