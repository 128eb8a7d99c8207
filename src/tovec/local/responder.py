"""A local model's endpoint: one function from a request's bytes to an answer's bytes.

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
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.endpoint.transport import Reply
from tovec.local.embedded import EmbeddedModel
from tovec.local.request_body import (
    MAX_BODY,
    Refused,
    ServedModel,
    check_model,
    parse_body,
)

EMBEDDINGS = "/v1/embeddings"
NUGEN = "/api/v3/inference/embeddings"
MODELS = "/v1/models"
MODEL_CREATED = 1_767_225_600  # the start of 2026, in Unix seconds


def answer(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    key: str | None = None,
    served: ServedModel | None = None,
) -> Reply:
    """Return the endpoint's answer to one request.

    `path` is decoded and without query, header names are lower-case. With a `key`, requests that
    do not bring it as a bearer token get 401. Without `served` the embedded model answers.
    """
    try:
        return reply(200, _answered(method, path, headers, body, key, served or embedded()))
    except Refused as refused:
        return refusal(path, refused)


def refusal(path: str, refused: Refused) -> Reply:
    """Return the error answer, in the shape that the path's API documents."""
    if path.rstrip("/") != NUGEN:
        error = {"message": refused.message, "type": refused.kind}
        return reply(
            refused.status,
            {"error": {**error, "param": refused.param, "code": refused.code}},
            refused.headers,
        )
    if refused.status != 400:
        return reply(refused.status, {"detail": refused.message}, refused.headers)
    place = ["body", *([refused.param] if refused.param else [])]
    problem = {"loc": place, "msg": refused.message, "type": refused.code or "value_error"}
    return reply(422, {"detail": [problem]})


def reply(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an answer of JSON under a new request id."""
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
def embedded() -> ServedModel:
    """Return the model that the package ships, under its own name alone."""
    return ServedModel(EmbeddedModel())


def _answered(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    key: str | None,
    served: ServedModel,
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
    check_key(headers, key)
    if shape is None:
        return _models(path, served)
    check_body(headers, body)
    asked = parse_body(body, served)
    vectors = asked.texts.embed(asked.dimensions)
    return shape(_data(vectors, base64=asked.base64), asked.tokens, asked.model)


# Before the body is read --------------------------------------------------------------------------


def check_key(headers: Mapping[str, str], key: str | None) -> None:
    """Raise Refused where a request does not bring the key."""
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


def check_body(headers: Mapping[str, str], body: bytes) -> None:
    """Raise Refused for a body that is not plain JSON, or too large."""
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


def _models(path: str, served: ServedModel) -> dict[str, Any]:
    about = {"object": "model", "created": MODEL_CREATED, "owned_by": "tovec"}
    if path == MODELS:
        names = served.names if served.aliases else [served.model.id]
        return {"object": "list", "data": [{"id": name, **about} for name in names]}
    name = path.removeprefix(MODELS + "/")
    check_model(name, served)
    return {"id": name, **about}


# The answer ---------------------------------------------------------------------------------------


def _data(vectors: NDArray[np.float32], *, base64: bool) -> list[dict[str, Any]]:
    rows: list[Any] = list(vectors)  # orjson writes them with the shortest float32 digits
    if base64:
        import pybase64

        little_endian = vectors.astype("<f4", copy=False)
        rows = [pybase64.b64encode_as_string(row.data) for row in little_endian]
    return [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]


def _openai_shape(data: list[dict[str, Any]], count: int, model: str) -> dict[str, Any]:
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _nugen_shape(data: list[dict[str, Any]], count: int, model: str) -> dict[str, Any]:
    return {
        "id": f"embed-{os.urandom(12).hex()}",
        "object": "embedding",
        "data": data,
        "model": model,
        "created": time.time(),
        "usage": {"total_tokens": count},
    }


_SHAPES: Mapping[str, Callable[[list[dict[str, Any]], int, str], dict[str, Any]]] = {
    EMBEDDINGS: _openai_shape,
    NUGEN: _nugen_shape,
}
