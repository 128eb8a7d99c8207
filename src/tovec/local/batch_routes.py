"""`/v1/files` and `/v1/batches`: from a request to what answers it, without HTTP.

`server.py` puts HTTP before it. Paths, fields and errors are those of OpenAI's API.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from tovec.endpoint.transport import Reply
from tovec.local import responder
from tovec.local.batch_files import MAX_FORM_BYTES, Clock, Fields, FileShelf
from tovec.local.batch_jobs import BatchQueue
from tovec.local.request_body import MAX_BODY, Refused, ServedModel

FILES, BATCHES = "/v1/files", "/v1/batches"


class Download(NamedTuple):
    """An answer that is a file."""

    path: Path
    headers: Mapping[str, str]


def is_routed(path: str) -> bool:
    """Return whether a path belongs to the Batch API."""
    return any(path == root or path.startswith(root + "/") for root in (FILES, BATCHES))


def max_body(path: str) -> int:
    """Return how many bytes the body of a request may have."""
    return MAX_FORM_BYTES if path.rstrip("/") == FILES else MAX_BODY


class BatchApi:
    """The Batch API of one server. What it holds is gone after `close`."""

    def __init__(
        self,
        served: ServedModel | None = None,
        key: str | None = None,
        clock: Clock = time.time,
        queue: type[BatchQueue] = BatchQueue,
        max_queue: int | None = None,
    ) -> None:
        self.key = key
        self.shelf = FileShelf(clock)
        self.queue = queue(self.shelf, served, clock, max_queue)

    def close(self) -> None:
        """End the work, and remove all files."""
        self.queue.close()
        self.shelf.close()

    def answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: BinaryIO,
    ) -> Reply | Download:
        """Return the answer to one request; `path` is decoded, header names are lower-case."""
        path = path.rstrip("/")
        try:
            responder.check_key(headers, self.key)
            found = self._answered(method, path, query, headers, body)
        except Refused as refused:
            return responder.refusal(path, refused)
        return found if isinstance(found, Download) else responder.reply(200, found)

    def _answered(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: BinaryIO,
    ) -> Fields | Download:
        root = FILES if path.startswith(FILES) else BATCHES
        names = path.removeprefix(root).strip("/").split("/")
        match root, method, names:
            case "/v1/files", "POST", [""]:
                return self.shelf.upload(headers.get("content-type", ""), body).described()
            case "/v1/files", "GET", [""]:
                return self.shelf.list(query)
            case "/v1/files", "GET", [name]:
                return self.shelf.find(name).described()
            case "/v1/files", "DELETE", [name]:
                return self.shelf.delete(name)
            case "/v1/files", "GET", [name, "content"]:
                return Download(
                    self.shelf.find(name).path, {"content-type": "application/octet-stream"}
                )
            case "/v1/batches", "POST", [""]:
                return self.queue.create(_json(headers, body))
            case "/v1/batches", "GET", [""]:
                return self.queue.list(query)
            case "/v1/batches", "GET", [name]:
                return self.queue.find(name).described()
            case "/v1/batches", "POST", [name, "cancel"]:
                return self.queue.cancel(name)
        raise _unrouted(method, path, root, names)


def _unrouted(method: str, path: str, root: str, names: list[str]) -> Refused:
    allowed = {
        (FILES, 1): "GET, POST" if names == [""] else "GET, DELETE",
        (BATCHES, 1): "GET, POST" if names == [""] else "GET",
    }.get((root, len(names)))
    if names[1:] == ["content"] and root == FILES:
        allowed = "GET"
    elif names[1:] == ["cancel"] and root == BATCHES:
        allowed = "POST"
    if allowed is None:
        return Refused(404, f"Invalid URL ({method[:16]} {path[:200]})", code="unknown_url")
    message = f"Not allowed to {method[:16]} on {path[:200]}: use {allowed}."
    return Refused(405, message, code="method_not_allowed", headers={"allow": allowed})


def _json(headers: Mapping[str, str], body: BinaryIO) -> Fields:
    body.seek(0)
    data = body.read(MAX_BODY + 1)
    responder.check_body(headers, data)
    try:
        fields = orjson.loads(data)
    except ValueError:
        raise Refused(400, "The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise Refused(400, "The body must be a JSON object.", code="invalid_type")
    return fields
