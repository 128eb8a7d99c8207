"""The embedded model's endpoint: one function from a request's bytes to an answer's bytes.

`-p local` calls it in this process and `tovec serve` puts HTTP before it. Parameters, limits and
error object are those of the create-embeddings reference; `POST /api/v3/inference/embeddings` is
Nugen's route, with its answer and FastAPI's `detail` for errors. Where the documents are silent:
an optional field that is null counts as absent, and a field that nobody knows is refused by name,
because a mistyped `dimension` must not quietly mean the default.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.endpoint.transport import Reply
from tovec.local.embedded import EmbeddedModel
from tovec.local.local_model import LocalModel, ReadTexts
from tovec.local.model import DIMENSIONS, MODEL_ID
from tovec.text import tokens

EMBEDDINGS = "/v1/embeddings"
NUGEN = "/api/v3/inference/embeddings"
MODELS = "/v1/models"

MAX_ITEMS = 2048
MAX_ITEM_TOKENS = 8192
MAX_TOKENS = 300_000
MAX_BODY = 32 << 20  # bytes; 300,000 tokens of text that is escaped as \uXXXX take a tenth of it
MODEL_CREATED = 1_767_225_600  # the start of 2026, in Unix seconds

_FIELDS = {
    *("input", "model", "dimensions", "encoding_format", "user"),
    "safety_identifier",  # Aivene's alias of `user`
}
_LONGEST_TOKEN = 128  # bytes, in cl100k: a longer text has more tokens than its bytes over this


class Refused(Exception):  # noqa: N818 - it describes a request
    """A request that gets an error object instead of vectors."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind
        self.headers = headers or {}


class Asked(NamedTuple):
    """A request that has passed every check; `tokens` as a bill counts them."""

    texts: ReadTexts
    tokens: int
    dimensions: int
    base64: bool


def answer(
    method: str, path: str, headers: Mapping[str, str], body: bytes, *, key: str | None = None
) -> Reply:
    """Return the endpoint's answer to one request.

    `path` is decoded and without query, header names are lower-case. With a `key`, requests that
    do not bring it as a bearer token get 401.
    """
    try:
        return _reply(200, _answered(method, path, headers, body, key))
    except Refused as refused:
        return refusal(path, refused)


def refusal(path: str, refused: Refused) -> Reply:
    """Return the error answer, in the shape that the path's API documents."""
    if path.rstrip("/") != NUGEN:
        error = {"message": refused.message, "type": refused.kind}
        return _reply(
            refused.status,
            {"error": {**error, "param": refused.param, "code": refused.code}},
            refused.headers,
        )
    if refused.status != 400:
        return _reply(refused.status, {"detail": refused.message}, refused.headers)
    place = ["body", *([refused.param] if refused.param else [])]
    problem = {"loc": place, "msg": refused.message, "type": refused.code or "value_error"}
    return _reply(422, {"detail": [problem]})


def warm() -> None:
    """Load model and tokenizer now, for a server that will need them."""
    _model().load()


def _reply(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(
        status,
        {
            "content-type": "application/json",
            "x-request-id": f"req_{os.urandom(16).hex()}",
            **(headers or {}),
        },
        orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY),
    )


@cache
def _model() -> LocalModel:
    return EmbeddedModel()


def _answered(
    method: str, path: str, headers: Mapping[str, str], body: bytes, key: str | None
) -> dict[str, Any]:
    path = path.rstrip("/") or "/"
    shape = _SHAPES.get(path)
    if shape is None and path != MODELS and not path.startswith(MODELS + "/"):
        raise Refused(404, f"Invalid URL ({method[:16]} {path[:200]})", code="unknown_url")
    allowed = "GET" if shape is None else "POST"
    is_allowed = method == allowed or (method == "HEAD" and allowed == "GET")
    if not is_allowed:  # HEAD is answered as GET is, without the body
        message = f"Not allowed to {method[:16]} on {path[:200]}: use {allowed}."
        raise Refused(405, message, code="method_not_allowed", headers={"allow": allowed})
    _check_key(headers, key)
    if shape is None:
        return _models(path)
    _check_body(headers, body)
    asked = _asked(body)
    vectors = asked.texts.embed(asked.dimensions)
    return shape(_data(vectors, base64=asked.base64), asked.tokens)


# Before the body is read --------------------------------------------------------------------------


def _check_key(headers: Mapping[str, str], key: str | None) -> None:
    if key is None:
        return
    from hmac import compare_digest

    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        message = "No API key was given: send it as `Authorization: Bearer KEY`."
    elif compare_digest(given.strip().encode(), key.encode()):
        return
    else:
        message = "The API key is not correct."
    raise Refused(
        401,
        message,
        kind="authentication_error",
        code="invalid_api_key",
        headers={"www-authenticate": "Bearer"},
    )


def _check_body(headers: Mapping[str, str], body: bytes) -> None:
    content = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content != "application/json":
        message = f"The content-type must be application/json, not {content[:100] or 'absent'}."
        raise Refused(415, message, code="unsupported_media_type")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        message = f"The content-encoding {encoding[:100]} is not supported."
        raise Refused(415, message, code="unsupported_media_type")
    if len(body) > MAX_BODY:
        raise too_large()


def too_large() -> Refused:
    """Return the refusal of a body over the cap."""
    message = f"Payload too large: the body may have {MAX_BODY} bytes."
    return Refused(413, message, code="payload_too_large")


def _models(path: str) -> dict[str, Any]:
    model = {"id": MODEL_ID, "object": "model", "created": MODEL_CREATED, "owned_by": "tovec"}
    if path == MODELS:
        return {"object": "list", "data": [model]}
    _check_model(path.removeprefix(MODELS + "/"))
    return model


# The body -----------------------------------------------------------------------------------------


def _asked(body: bytes) -> Asked:
    try:
        fields = orjson.loads(body)
    except ValueError:
        raise Refused(400, "The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise Refused(400, "The body must be a JSON object.", code="invalid_type")
    if unknown := fields.keys() - _FIELDS:
        name = min(unknown)[:100]
        message = f"Unrecognized request argument supplied: {name}"
        raise Refused(400, message, param=name, code="unknown_parameter")
    for name in ("model", "input"):
        if name not in fields:
            message = f"Missing required parameter: '{name}'."
            raise Refused(400, message, param=name, code="missing_required_parameter")
    _check_model(fields["model"])
    for name in ("user", "safety_identifier"):
        if not isinstance(fields.get(name), str | None):
            raise _wrong_type(name, "a string")
    dimensions = _dimensions(fields.get("dimensions"))
    base64 = _encoding(fields.get("encoding_format")) == "base64"
    texts, counts = _inputs(fields["input"])
    if sum(counts) > MAX_TOKENS:
        message = f"Requested {sum(counts)} tokens, max {MAX_TOKENS} tokens per request."
        raise Refused(400, message, param="input", code="max_tokens_per_request")
    return Asked(texts, sum(counts), dimensions, base64)


def _check_model(model: object) -> None:
    if not isinstance(model, str):
        raise _wrong_type("model", "a string")
    if model != MODEL_ID:
        message = f"The model `{model[:100]}` does not exist; this server has `{MODEL_ID}`."
        raise Refused(404, message, param="model", code="model_not_found")


def _dimensions(value: object) -> int:
    if value is None:
        return DIMENSIONS
    value = _whole([value])[0]
    if type(value) is not int:  # True is an int for isinstance
        raise _wrong_type("dimensions", "an integer")
    if not 1 <= value <= DIMENSIONS:
        code = "integer_below_min_value" if value < 1 else "integer_above_max_value"
        message = f"Invalid 'dimensions' = {value}: must be from 1 to {DIMENSIONS}."
        raise Refused(400, message, param="dimensions", code=code)
    return value


def _encoding(value: object) -> str:
    if value not in (None, "float", "base64"):
        message = "Invalid 'encoding_format': supported values are 'float' and 'base64'."
        raise Refused(400, message, param="encoding_format", code="invalid_value")
    return str(value or "float")


def _inputs(value: object) -> tuple[ReadTexts, list[int]]:
    """Return the texts of `input`, whichever of its four forms it has, and their token counts."""
    several: Any = [value] if isinstance(value, str) else value
    if not isinstance(several, list):
        raise _wrong_type("input", "a string or an array")
    if not several:
        raise Refused(400, "Invalid 'input': empty array.", param="input", code="empty_array")
    kinds = set(map(type, several))
    single = kinds <= {int, float} or isinstance(value, str)
    if kinds <= {int, float}:
        several, kinds = [several], {list}
    if len(several) > MAX_ITEMS:
        message = f"array too long: {len(several)} inputs, at most {MAX_ITEMS} are allowed."
        raise _invalid("input", message, "array_above_max_length")
    names = ["input"] if single else [f"input[{i}]" for i in range(len(several))]
    if kinds == {str}:
        return _read_texts(several, names)
    if kinds == {list}:
        texts = _token_texts(list(map(_whole, several)), names)
        return _model().read(texts), list(map(len, several))
    raise _wrong_type("input", "one kind: strings, token ids, or arrays of token ids")


def _read_texts(texts: list[str], names: list[str]) -> tuple[ReadTexts, list[int]]:
    for name, text in zip(names, texts, strict=True):
        if not text:
            raise _invalid(name, "input cannot be an empty string.", "empty_string")
        if len(text) > MAX_ITEM_TOKENS * _LONGEST_TOKEN:  # sure without counting
            raise _too_long(name)
    read = _model().read(texts)
    for name, count in zip(names, read.counts, strict=True):
        if count > MAX_ITEM_TOKENS:
            raise _too_long(name)
    return read, read.counts


def _token_texts(several: list[list[Any]], names: list[str]) -> list[str]:
    """Return the texts that token ids stand for: they get the vectors which the texts get."""
    for name, ids in zip(names, several, strict=True):
        if not ids:
            raise _invalid(name, "empty array.", "empty_array")
        if len(ids) > MAX_ITEM_TOKENS:
            raise _too_long(name)
    if set(map(type, chain.from_iterable(several))) != {int}:
        raise _wrong_type("input", "arrays of integer token ids")
    for name, ids in zip(names, several, strict=True):
        if min(ids) < 0 or max(ids) >= tokens.VOCABULARY_SIZE:
            message = f"token ids are from 0 to {tokens.VOCABULARY_SIZE - 1} (cl100k_base)."
            raise _invalid(name, message, "invalid_token")
    return [tokens.decode_bytes(ids).decode(errors="replace") for ids in several]


def _whole(values: list[Any]) -> list[Any]:
    """Return the numbers with 5.0 as 5: JSON knows no other difference between the two."""
    if float not in set(map(type, values)):
        return values
    return [int(v) if type(v) is float and v.is_integer() else v for v in values]


def _too_long(name: str) -> Refused:
    message = f"maximum input length is {MAX_ITEM_TOKENS} tokens."
    return _invalid(name, message, "context_length_exceeded")


def _invalid(name: str, message: str, code: str) -> Refused:
    return Refused(400, f"Invalid '{name}': {message}", param=name, code=code)


def _wrong_type(name: str, wanted: str) -> Refused:
    message = f"Invalid type for '{name}': expected {wanted}."
    return Refused(400, message, param=name, code="invalid_type")


# The answer ---------------------------------------------------------------------------------------


def _data(vectors: NDArray[np.float32], *, base64: bool) -> list[dict[str, Any]]:
    rows: list[Any] = list(vectors)  # orjson writes them with the shortest float32 digits
    if base64:
        import pybase64

        little_endian = vectors.astype("<f4", copy=False)
        rows = [pybase64.b64encode_as_string(row.data) for row in little_endian]
    return [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]


def _openai_shape(data: list[dict[str, Any]], count: int) -> dict[str, Any]:
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": MODEL_ID, "usage": usage}


def _nugen_shape(data: list[dict[str, Any]], count: int) -> dict[str, Any]:
    return {
        "id": f"embed-{os.urandom(12).hex()}",
        "object": "embedding",
        "data": data,
        "model": MODEL_ID,
        "created": time.time(),
        "usage": {"total_tokens": count},
    }


_SHAPES: Mapping[str, Callable[[list[dict[str, Any]], int], dict[str, Any]]] = {
    EMBEDDINGS: _openai_shape,
    NUGEN: _nugen_shape,
}
