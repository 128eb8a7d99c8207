"""Transformers in this process, by onnxruntime (extra `onnx`).

Texts are sorted by length before they are padded, and computed a few at a time on all cores, so
that memory is constant and little of the work is padding. A vector is the pooled output of its
text's own tokens: the padding is masked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.errors import UsageError
from tovec.local.hub_tokenizer import HubTokenizer, missing_extra
from tovec.local.model_folder import ModelFolder
from tovec.local.vector_rows import normalize_rows
from tovec.wording import count_phrase

if TYPE_CHECKING:
    import onnxruntime

EXTRA = "onnx"
MAX_BATCH_TOKENS = 512  # padded, at once: larger batches take up to a fifth more CPU (measured)
DEFAULT_MAX_TOKENS = 512
SENTENCE_OUTPUT = "sentence_embedding"  # what a graph calls vectors that it pools itself
TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


class _Graph(NamedTuple):
    """A loaded model, and what it takes and gives."""

    session: onnxruntime.InferenceSession
    inputs: dict[str, type[np.int64] | type[np.int32]]
    output: str
    is_pooled: bool


class OnnxModel:
    """A sentence-transformers model with an ONNX file."""

    reads_cl100k = False
    prompts = True
    max_text_characters = None

    def __init__(self, folder: ModelFolder) -> None:
        self.folder = folder
        self.id = folder.id
        self.note = (
            f"{folder.path} does not say how it pools (1_Pooling/config.json): taking the mean"
            if folder.pooling_is_assumed
            else ""
        )
        self._running = Lock()  # one batch at a time: it uses all cores

    @cached_property
    def tokenizer(self) -> HubTokenizer:
        """Return the folder's tokenizer."""
        return HubTokenizer(self.folder, EXTRA, special_tokens=True)

    @cached_property
    def _graph(self) -> _Graph:
        return _load(self.folder)

    @cached_property
    def dimensions(self) -> int:
        """Return the dimensions that the folder names, or else the graph."""
        if self.folder.dimensions is not None:
            return self.folder.dimensions
        graph = self._graph
        shape = {one.name: one.shape for one in graph.session.get_outputs()}[graph.output]
        if not isinstance(shape[-1], int):
            raise UsageError("the model does not say its dimensions", where=str(self.folder.path))
        return shape[-1]

    def max_text_tokens(self, prompt: str | None = None) -> int:
        """Return the tokens that a text may have beside the prompt and special tokens."""
        limit = self.folder.max_tokens or DEFAULT_MAX_TOKENS
        return max(1, limit - self.tokenizer.overhead(prompt))

    def count(self, texts: Sequence[str], prompt: str | None = None) -> list[int]:
        """Return the tokens of each text, without prompt and special tokens."""
        return self.tokenizer.count_many(texts, prompt)

    def read(self, texts: Sequence[str], prompt: str | None = None) -> _EncodedTexts:
        """Return the texts as token ids."""
        overhead = self.tokenizer.overhead(prompt)
        return _EncodedTexts(self, self.tokenizer.encode(texts, prompt), overhead)

    def load(self) -> None:
        """Load tokenizer and graph."""
        _ = self.tokenizer, self._graph

    def run(self, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the pooled vectors of token ids, computed at once."""
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.tokenizer.pad_id(), np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        given = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.maximum(np.cumsum(mask, axis=1) - 1, 0),
        }
        with self._running:  # loaded once, whichever thread comes first
            graph = self._graph
        feed = {name: given[name].astype(kind, copy=False) for name, kind in graph.inputs.items()}
        try:
            with self._running:
                (output,) = graph.session.run([graph.output], feed)
        except Exception as error:  # noqa: BLE001 - the library's errors have no common base
            raise UsageError(
                f"the model cannot compute: {_reason(error)}",
                where=str(self.folder.weights),
                hint="are the files of the folder of one model?",
            ) from None
        vectors = np.asarray(output, np.float32)
        return vectors if graph.is_pooled else _pool(vectors, mask, self.folder.pooling)


class _EncodedTexts:
    """Texts as token ids, to be embedded in batches of like length."""

    def __init__(self, model: OnnxModel, ids: list[NDArray[np.int64]], overhead: int) -> None:
        self._model = model
        self._ids = ids
        self.counts = [max(1, len(one) - overhead) for one in ids]

    def embed(self, dimensions: int) -> NDArray[np.float32]:
        """Return the vectors of the texts."""
        vectors = np.empty((len(self._ids), dimensions), np.float32)
        for places in _batches([len(one) for one in self._ids]):
            pooled = self._model.run([self._ids[place] for place in places])
            if pooled.ndim != 2 or pooled.shape[1] < dimensions:
                named = count_phrase(dimensions, "dimension")
                raise UsageError(
                    f"the model gives vectors of the shape {list(pooled.shape)}",
                    where=str(self._model.folder.weights),
                    hint=f"its folder names {named}: are the files of one model?",
                )
            vectors[places] = pooled[:, :dimensions]
        if self._model.folder.normalize:
            normalize_rows(vectors)
        return vectors


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Cut texts, longest first, into batches of at most MAX_BATCH_TOKENS with their padding."""
    order = np.argsort([-length for length in lengths], kind="stable").tolist()
    start = 0
    while start < len(order):
        size = max(1, MAX_BATCH_TOKENS // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _pool(
    vectors: NDArray[np.float32], mask: NDArray[np.int64], pooling: str
) -> NDArray[np.float32]:
    """Return one vector per text of those of its tokens."""
    if pooling == "cls":
        first: NDArray[np.float32] = vectors[:, 0]
        return first
    last = mask.sum(axis=1) - 1
    if pooling == "lasttoken":
        final: NDArray[np.float32] = vectors[np.arange(len(vectors)), last]
        return final
    if pooling == "max":
        highest: NDArray[np.float32] = np.where(mask[:, :, None] > 0, vectors, -np.inf).max(axis=1)
        return highest
    # Added one token after the other, so that zeros of padding change nothing.
    sums = np.add.reduce(vectors * mask[:, :, None].astype(np.float32), axis=1)
    mean: NDArray[np.float32] = sums / (last + 1)[:, None].astype(np.float32)
    return mean


def _load(folder: ModelFolder) -> _Graph:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise missing_extra(error, EXTRA) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if _HAS_AFFINITY else 0
    options.enable_mem_pattern = False  # for shapes that do not change; ours do
    # Threads that wait for work by spinning took 40 % more CPU here, and on a machine with other
    # work up to four times as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors, which are raised too
    where = str(folder.weights)
    try:
        session = onnxruntime.InferenceSession(
            str(folder.weights), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - the library's errors have no common base
        raise UsageError(f"the model cannot be loaded: {_reason(error)}", where=where) from None
    inputs = {one.name: one.type for one in session.get_inputs()}
    if odd := [name for name in inputs if name not in INPUTS]:
        raise UsageError(
            f"the model takes an input that tovec does not know: {odd[0][:100]}",
            where=where,
            hint=f"those that it knows: {', '.join(INPUTS)}",
        )
    output, is_pooled = _output(session, where)
    kinds = {n: np.int32 if "int32" in kind else np.int64 for n, kind in inputs.items()}
    return _Graph(session, kinds, output, is_pooled)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _output(session: onnxruntime.InferenceSession, where: str) -> tuple[str, bool]:
    """Return the name of the output to be read, and whether it is one vector per text."""
    ranks = {one.name: len(one.shape) for one in session.get_outputs()}
    if ranks.get(SENTENCE_OUTPUT) == 2:
        return SENTENCE_OUTPUT, True
    for name in (*TOKEN_OUTPUTS, *ranks):
        if ranks.get(name) == 3:
            return name, False
    raise UsageError(
        f"the model gives no vectors of tokens; it gives: {', '.join(ranks)[:200]}",
        where=where,
        hint="it must be exported for feature extraction",
    )


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")
