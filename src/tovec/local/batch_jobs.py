"""The batches of `/v1/batches`: validated, worked on one line after the other, ended.

    validating → in_progress → finalizing → completed
        │            ├→ expired       its window is over: the rest is in the error file
        └→ failed    └→ cancelling → cancelled     what was done is in the output file

One thread works on them in the order of their creation, with the model that the server serves. A
`completion_window` may be shorter than the 24h of OpenAI ("90s", "15m"), so that a program's way
of meeting an expired batch can be tried in seconds.
"""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, BinaryIO

import orjson

from tovec.local import responder
from tovec.local.batch_files import Clock, Fields, FileShelf, StoredFile, expiry, page
from tovec.local.request_body import Refused, ServedModel
from tovec.wording import count_phrase

MAX_REQUESTS = 50_000  # a batch, and as many inputs over all its requests
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512  # pairs, characters
MAX_WINDOW_SECONDS = 86_400
MAX_ERRORS = 20  # that a failed batch lists
_UNITS = {"s": 1, "m": 60, "h": 3_600}


class Status(StrEnum):
    """Where a batch stands in its life cycle."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


UNDER_WAY = (Status.VALIDATING, Status.IN_PROGRESS, Status.FINALIZING, Status.CANCELLING)


class Batch:
    """One batch, as its object describes it."""

    def __init__(self, request: Fields, created: int, seconds: int) -> None:
        self.id = f"batch_{os.urandom(12).hex()}"
        self.request, self.created = request, created
        self.expires = created + seconds
        self.status = Status.VALIDATING
        self.times: dict[str, int] = {}
        self.errors: list[Fields] = []
        self.files: dict[str, str] = {}
        self.counts = {"total": 0, "completed": 0, "failed": 0}
        self.tokens = 0

    def enter(self, status: Status, now: float) -> None:
        """Reach a status."""
        self.status = status
        self.times[f"{status}_at"] = int(now)

    def described(self) -> Fields:
        """Return the batch object of the API."""
        names = [one for one in Status if one is not Status.VALIDATING]
        usage = {"input_tokens": self.tokens, "output_tokens": 0, "total_tokens": self.tokens}
        return {
            "id": self.id,
            "object": "batch",
            **{name: self.request[name] for name in ("endpoint", "input_file_id")},
            "completion_window": self.request["completion_window"],
            "status": str(self.status),
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "output_file_id": self.files.get("output"),
            "error_file_id": self.files.get("error"),
            "created_at": self.created,
            "expires_at": self.expires,
            **{f"{name}_at": self.times.get(f"{name}_at") for name in names},
            "request_counts": dict(self.counts),
            "usage": usage,
            "metadata": self.request.get("metadata"),
        }


class BatchQueue:
    """All batches of a server, and the thread that works on them."""

    def __init__(
        self,
        shelf: FileShelf,
        served: ServedModel | None = None,
        clock: Clock = time.time,
        max_queue: int | None = None,
    ) -> None:
        """`max_queue` is how many requests may wait in all; a batch beyond it fails."""
        self._shelf, self._served, self._clock = shelf, served, clock
        self._max_queue = max_queue
        self._batches: dict[str, Batch] = {}
        self._waiting: queue.Queue[Batch | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._closing = False

    def create(self, fields: Fields) -> Fields:
        """Make a batch; it is validated by the thread. Raises Refused."""
        file, seconds = self._checked(fields)
        batch = Batch({**fields, "input_file_id": file.id}, int(self._clock()), seconds)
        self._batches[batch.id] = batch
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        described = batch.described()
        self._waiting.put(batch)
        return described

    def find(self, name: str) -> Batch:
        """Return a batch. Raises Refused where there is none."""
        batch = self._batches.get(name)
        if batch is None:
            raise Refused(404, f"No batch found with id '{name[:100]}'.", param="batch_id")
        return batch

    def cancel(self, name: str) -> Fields:
        """Have a batch stop after the line that is being worked on. Raises Refused."""
        batch = self.find(name)
        if batch.status not in UNDER_WAY:
            message = f"Cannot cancel a batch with status '{batch.status}'."
            raise Refused(409, message, code="conflict")
        if batch.status in (Status.VALIDATING, Status.IN_PROGRESS):
            batch.enter(Status.CANCELLING, self._clock())
        return batch.described()

    def list(self, query: Mapping[str, str]) -> Fields:
        """Return a page of the batches, newest first."""
        return page([one.described() for one in reversed(self._batches.values())], query, 20, 100)

    def close(self) -> None:
        """End the thread after the line that it works on."""
        self._closing = True
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _checked(self, fields: Fields) -> tuple[StoredFile, int]:
        known = {"input_file_id", "endpoint", "completion_window", "metadata"}
        if unknown := fields.keys() - known - {"output_expires_after"}:
            raise _invalid(min(unknown)[:100], "unrecognized request argument")
        for name in ("input_file_id", "endpoint", "completion_window"):
            if not isinstance(fields.get(name), str):
                raise _invalid(name, "a string is required")
        if fields["endpoint"] != responder.EMBEDDINGS:
            raise _invalid("endpoint", f"this server has {responder.EMBEDDINGS} alone")
        window = re.fullmatch(r"([0-9]{1,5})([smh])", str(fields["completion_window"]))
        seconds = int(window[1]) * _UNITS[window[2]] if window else 0
        if not 1 <= seconds <= MAX_WINDOW_SECONDS:
            raise _invalid("completion_window", "24h is expected (here also less: 90s, 15m)")
        _check_metadata(fields.get("metadata"))
        _output_expiry(fields)
        file = self._shelf.find(str(fields["input_file_id"]))
        if file.purpose != "batch":
            raise _invalid("input_file_id", "the file has another purpose than batch")
        return file, seconds

    # The thread -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while (batch := self._waiting.get()) is not None and not self._closing:
            try:
                self._run(batch)
            except Exception:  # noqa: BLE001 - its words may hold a text; the next batch goes on
                batch.errors = [_problem("server_error", "The server had an error.", None)]
                batch.enter(Status.FAILED, self._clock())

    def _run(self, batch: Batch) -> None:
        try:
            file = self._shelf.find(str(batch.request["input_file_id"]))
        except Refused as gone:
            batch.errors = [_problem("file_not_found", gone.message, None)]
        else:
            batch.errors, batch.counts["total"] = _validate(file)
            if self._max_queue is not None and batch.counts["total"] > self._max_queue:
                message = f"Enqueued token limit reached: {self._max_queue} may wait."
                batch.errors = [_problem("token_limit_exceeded", message, None)]
        if batch.errors and batch.status is not Status.CANCELLING:
            batch.enter(Status.FAILED, self._clock())
            return
        output, error = self._shelf.new_output(), self._shelf.new_output()
        with output.open("xb") as results, error.open("xb") as failures:
            if batch.status is not Status.CANCELLING:
                batch.enter(Status.IN_PROGRESS, self._clock())
                with file.path.open("rb") as lines:
                    self._answer_lines(batch, lines, results, failures)
        end = self._ended(batch)
        expires = _output_expiry(batch.request)
        for name, path in (("output", output), ("error", error)):
            if path.stat().st_size:
                stored = self._shelf.add(path, f"{batch.id}_{name}.jsonl", "batch_output", expires)
                batch.files[name] = stored.id
            else:
                path.unlink()
        batch.enter(end, self._clock())

    def _ended(self, batch: Batch) -> Status:
        """Return the status with which a batch ends, once all its lines are through."""
        if batch.status is Status.CANCELLING:
            return Status.CANCELLED
        if batch.counts["completed"] + batch.counts["failed"] < batch.counts["total"]:
            return Status.EXPIRED
        batch.enter(Status.FINALIZING, self._clock())
        return Status.COMPLETED

    def _answer_lines(
        self, batch: Batch, lines: BinaryIO, results: BinaryIO, failures: BinaryIO
    ) -> None:
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            if self.must_stop(batch, number):
                return
            request = orjson.loads(line)
            answer: Fields = {"id": f"batch_req_{os.urandom(12).hex()}"}
            answer["custom_id"] = request["custom_id"]
            if self._clock() >= batch.expires:
                message = "This request could not be executed before the completion window expired."
                expired = {"code": "batch_expired", "message": message}
                failures.write(orjson.dumps({**answer, "response": None, "error": expired}) + b"\n")
                continue
            reply = responder.answer(
                "POST",
                request["url"],
                {"content-type": "application/json"},
                orjson.dumps(request["body"]),
                served=self._served,
            )
            body = orjson.loads(reply.body)
            said = {"status_code": reply.status, "request_id": reply.headers["x-request-id"]}
            is_good = reply.status == 200
            batch.counts["completed" if is_good else "failed"] += 1
            batch.tokens += body["usage"]["prompt_tokens"] if is_good else 0
            written = orjson.dumps({**answer, "response": {**said, "body": body}, "error": None})
            (results if is_good else failures).write(written + b"\n")

    def must_stop(self, batch: Batch, _number: int) -> bool:
        """Return whether a batch ends before its line of this number."""
        return self._closing or batch.status is Status.CANCELLING


def _validate(file: StoredFile) -> tuple[list[Fields], int]:
    """Return what is wrong with a request file, and how many requests it holds."""
    problems: list[Fields] = []
    seen: set[str] = set()
    models: set[str] = set()
    requests = inputs = 0
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            requests += 1
            code, message = _line_problem(line, seen, models)
            if code:
                problems.append(_problem(code, message, number))
                if len(problems) == MAX_ERRORS:
                    break
            else:
                inputs += _inputs(orjson.loads(line)["body"])
    if not requests:
        problems.append(_problem("empty_file", "The input file is empty.", None))
    elif not problems and max(requests, inputs) > MAX_REQUESTS:
        size = f"{count_phrase(requests, 'request')} of {count_phrase(inputs, 'input')}"
        message = f"The file has {size}, at most {MAX_REQUESTS}."
        problems.append(_problem("too_many_tasks", message, None))
    return problems, requests


def _line_problem(line: bytes, seen: set[str], models: set[str]) -> tuple[str, str]:
    try:
        request = orjson.loads(line)
    except ValueError:
        return "invalid_json_line", "This line is not parseable as valid JSON."
    if not isinstance(request, dict):
        return "invalid_json_line", "This line is not a JSON object."
    name, body = request.get("custom_id"), request.get("body")
    if not isinstance(name, str) or not name:
        return "missing_required_parameter", "Missing required parameter: 'custom_id'."
    if name in seen:
        return "duplicate_custom_id", f"The custom_id '{name[:64]}' was already used."
    seen.add(name)
    if request.get("method") != "POST" or request.get("url") != responder.EMBEDDINGS:
        return "mismatched_endpoint", f"Expected POST and the url {responder.EMBEDDINGS}."
    if not isinstance(body, dict):
        return "missing_required_parameter", "Missing required parameter: 'body'."
    models.add(str(body.get("model")))
    if len(models) > 1:
        return "mismatched_model", "All requests of a batch must name one model."
    return "", ""


def _inputs(body: Mapping[str, Any]) -> int:
    given = body.get("input")
    many = isinstance(given, list) and given and not isinstance(given[0], int)
    return len(given) if many and isinstance(given, list) else 1


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or len(metadata) > MAX_METADATA:
        raise _invalid("metadata", f"an object of at most {MAX_METADATA} pairs is expected")
    for name, value in metadata.items():
        if not isinstance(value, str) or len(value) > MAX_METADATA_VALUE:
            raise _invalid("metadata", f"values are strings of {MAX_METADATA_VALUE} characters")
        if len(name) > MAX_METADATA_KEY:
            raise _invalid("metadata", f"keys have at most {MAX_METADATA_KEY} characters")


def _output_expiry(fields: Mapping[str, object]) -> int | None:
    said = fields.get("output_expires_after")
    if said is None:
        return None
    if not isinstance(said, dict):
        raise _invalid("output_expires_after", "an object is expected")
    return expiry(said.get("anchor"), said.get("seconds"))


def _problem(code: str, message: str, line: int | None) -> Fields:
    return {"code": code, "line": line, "message": message, "param": None}


def _invalid(name: str, wanted: str) -> Refused:
    return Refused(400, f"Invalid '{name}': {wanted}.", param=name, code="invalid_value")
