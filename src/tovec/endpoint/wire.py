"""The wire format of `POST /v1/embeddings`: requests to bytes, answers to one float32 matrix.

An answer is checked before it is believed: count, index a permutation, dimensions, base64's
alphabet and length, finite, not all zero. Whatever fails is a BadAnswer, never a vector.
Source: the create-embeddings reference; Nugen's and Aivene's pages for their variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.endpoint.refusal import BadAnswer
from tovec.records import Inputs, Usage
from tovec.wording import count_phrase

MAX_DIMENSIONS = 65_536


class Decoded(NamedTuple):
    """A believed answer: `vectors` is float32 (n, dimensions), row i for input i."""

    vectors: NDArray[np.float32]
    model: str
    usage: Usage


def encode(inputs: Inputs, fields: Mapping[str, object]) -> bytes:
    """Return the request's body; a field that is None is left out (some servers refuse null)."""
    body = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps({"input": inputs, **body})


def decode(body: bytes | bytearray, count: int) -> Decoded:
    """Return the vectors of an answer to `count` inputs.

    Raises BadAnswer naming what is wrong with it.
    """
    try:
        if body.startswith(b"\xef\xbb\xbf"):
            body = body[3:]
        answer = orjson.loads(body)
    except ValueError:
        if body.lstrip()[:1] == b"<":
            raise BadAnswer("the answer is an HTML page", foreign=True) from None
        raise BadAnswer("the answer is not JSON, or cut short", shape=True) from None
    if not isinstance(answer, dict):
        raise BadAnswer("the answer is not a JSON object", shape=True)
    data = answer.get("data")
    if not isinstance(data, list):
        raise BadAnswer(
            'the server\'s reply is not an embeddings response (no "data" list)', shape=True
        )
    if len(data) != count:
        inputs = count_phrase(count, "input")
        raise BadAnswer(f"the answer has {count_phrase(len(data), 'embedding')} for {inputs}")
    if not all(isinstance(item, dict) for item in data):
        raise BadAnswer("an item of `data` is not an object", shape=True)
    vectors = _vectors([item.get("embedding") for item in data])
    order = _order(data)
    if order is not None:
        placed = np.empty_like(vectors)
        placed[order] = vectors
        vectors = placed
    model = answer.get("model")
    return Decoded(vectors, model if isinstance(model, str) else "", _usage(answer.get("usage")))


def error_of(body: bytes | bytearray) -> bool:
    """Return whether a body under status 200 is an error object all the same."""
    if b'"error"' not in body[:4096]:
        return False
    try:
        answer = orjson.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and bool(answer.get("error")) and not answer.get("data")


def _order(data: list[dict[str, object]]) -> NDArray[np.int64] | None:
    """Return each item's place, or None where they stand in order (or none says its index)."""
    places: list[Any] = [item.get("index") for item in data]
    kinds = set(map(type, places))
    if kinds == {type(None)}:
        return None
    expected = list(range(len(data)))
    if kinds == {int} and places == expected:  # `True == 1` must not pass for an index
        return None
    if kinds != {int} or sorted(places) != expected:
        raise BadAnswer("the answer's `index` values are not 0 to n-1, each once")
    return np.array(places, np.int64)


def _vectors(embeddings: list[Any]) -> NDArray[np.float32]:
    if not embeddings:
        raise BadAnswer("the answer is empty")
    rows = [_from_base64(one) if isinstance(one, str) else _from_list(one) for one in embeddings]
    sizes = list(map(len, rows))
    size = sizes[0]
    if not 0 < size <= 4 * MAX_DIMENSIONS:
        raise BadAnswer(f"an embedding has {count_phrase(size // 4, 'dimension')}")
    if sizes.count(size) < len(sizes):
        other = next(one for one in sizes if one != size)
        different = count_phrase(other // 4, "dimension")
        raise BadAnswer(f"one answer has embeddings of {size // 4:,} and {different}")
    matrix = np.frombuffer(bytearray().join(rows), "<f4").reshape(len(rows), -1)
    _check_values(matrix)
    return matrix


def _from_base64(text: str) -> bytes:
    import pybase64

    try:
        raw = pybase64.b64decode(text, validate=True)
    except ValueError:
        raise BadAnswer("an embedding is neither base64 nor a list of numbers") from None
    if len(raw) % 4:
        raise BadAnswer(
            f"an embedding of {count_phrase(len(raw), 'byte')} is not an array of float32"
        )
    return raw


def _from_list(values: Any) -> bytes:
    if not isinstance(values, list):
        raise BadAnswer("an embedding is neither base64 nor a list of numbers")
    # By exact type, because numpy would take true for 1 and "1" for a number.
    if not set(map(type, values)) <= {float, int}:
        raise BadAnswer("an embedding holds something that is not a number")
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype("<f4").tobytes()


def like_float64(vectors: NDArray[np.float32]) -> bool:
    """Return whether bytes taken for float32 look like float64 (fault 44): a guess, to be checked.

    Read the other way, float32 below 0.9 gives magnitudes that no embedding has.
    """
    if vectors.shape[1] % 2:
        return False
    other = np.abs(vectors[:8].view("<f8"))
    if not np.isfinite(other).all():
        return False
    return bool(1e-3 < np.median(other) < 1e3)


def _check_values(matrix: NDArray[np.float32]) -> None:
    """Refuse components that are not finite, and vectors that are all zero."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", matrix, matrix)
    if np.isfinite(squares).all() and squares.all():
        return
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise BadAnswer(f"the embedding of input {int(np.argmin(finite))} is not finite")
    some = matrix.any(axis=1)
    if not some.all():
        raise BadAnswer(f"the embedding of input {int(np.argmin(some))} is all zero")


def _usage(said: Any) -> Usage:
    if not isinstance(said, dict):
        return Usage()
    prompt, total = (_tokens(said.get(name)) for name in ("prompt_tokens", "total_tokens"))
    return Usage(total if prompt is None else prompt, prompt if total is None else total)


def _tokens(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 53 else None
