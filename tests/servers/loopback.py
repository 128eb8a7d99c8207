"""A scripted endpoint on loopback: right vectors, real limits, and every fault on request.

It speaks `POST /v1/embeddings` as the seeds document it, on raw asyncio sockets, because a server
framework could neither cut an answer at a byte nor keep up with the client. In a thread:

    with Loopback(rpm=120, faults=[Fault("status", status=500, every=20)]) as server:
        ... server.base_url, server.ledger ...

or as a process, which prints its port: `python -m tests.servers.loopback --latency 0.2`. There
`GET /_ledger` gives its figures and `POST /_set` changes its attributes; neither is booked.
Vectors are a function of the text alone; `vectors_for` gives them in bulk, bit for bit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pybase64
from numpy.typing import NDArray

Input = str | list[int]
MODEL = "text-embedding-3-small"
ROWS = 32


def input_bytes(one: Input) -> bytes:
    """Give the bytes that stand for an input: the text's UTF-8, or its tokens as JSON."""
    return one.encode() if isinstance(one, str) else orjson.dumps(one)


def tokens_in(one: Input) -> int:
    """Give the tokens this server counts: a quarter of the bytes, as OpenAI's gate was seen to."""
    return len(one) if isinstance(one, list) else max(1, -(-len(one.encode()) // 4))


def vectors_for(texts: Sequence[Input], dimensions: int = 1536) -> NDArray[np.float32]:
    """Give the unit vectors, float32 (n, dimensions), with which the server answers `texts`."""
    digests = b"".join(blake2b(input_bytes(one), digest_size=4).digest() for one in texts)
    seeds = np.frombuffer(digests, "<u4")
    columns = np.arange(1, dimensions + 1, dtype=np.uint32) * np.uint32(2654435761)
    columns |= np.uint32(1)
    vectors = np.empty((len(seeds), dimensions), np.float32)
    # A few rows at a time stay in the processor's cache: three times as fast.
    mixed = np.empty((ROWS, dimensions), np.uint32)
    shifted = np.empty_like(mixed)
    for start in range(0, len(seeds), ROWS):
        out = vectors[start : start + ROWS]
        x, y = mixed[: len(out)], shifted[: len(out)]
        np.multiply(seeds[start : start + ROWS, None], columns, out=x)
        np.right_shift(x, 15, out=y)
        x ^= y
        x *= np.uint32(2246822519)
        # Ten bits a component: their squares sum exactly in int32, so that a vector depends
        # neither on the order of addition nor on the texts around it.
        small = x.view(np.int32)
        small >>= 22
        out[:] = small
        squares = np.einsum("ij,ij->i", small, small)
        out *= (1 / np.sqrt(np.maximum(squares, 1).astype(np.float64))).astype(np.float32)[:, None]
    return vectors


@dataclass(slots=True)
class Fault:
    """Something that goes wrong, and when.

    kind: "status" (an error answer), "reset", "close" (no answer), "hang", "trickle", "cut" (the
    answer ends after `byte` bytes of body), "raw" (these bytes instead of an answer), "body"
    (this body under status 200), or a change to the right answer: "short", "extra", "shuffle",
    "no_index", "some_index", "twice", "nan", "zero", "ragged", "dims", "float64", "model",
    "no_usage", "noise", "gzip", "gzip_cut", "bomb", "br". Or to how it travels: "bye" (the
    connection is closed after it), "chunked_cut" (no last chunk), "endless" (it never ends),
    "continue" (nothing but 100 Continue), "second" (another, wrong answer follows).
    When: request numbers `at` (from 1), each `every`-th, a random `rate`, requests that hold
    `text`, those with more than `over` inputs, between `start` and `stop` seconds of the server's
    life; all that are given must hold; `times` bounds how often.
    """

    kind: str
    at: Sequence[int] | None = None
    every: int | None = None
    rate: float | None = None
    text: str | None = None
    over: int | None = None
    start: float | None = None
    stop: float | None = None
    times: int | None = None
    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    byte: int = 100
    seconds: float = 0.5
    factor: float = 1.0
    wait: float = 0.0  # seconds before the fault shows

    def hits(self, number: int, inputs: Sequence[Input], age: float, chance: random.Random) -> bool:
        """Say whether this request meets the fault."""
        return (
            self.times != 0
            and (self.at is None or number in self.at)
            and (self.every is None or number % self.every == 0)
            and (self.rate is None or chance.random() < self.rate)
            and (self.text is None or any(self.text in str(one) for one in inputs))
            and (self.over is None or len(inputs) > self.over)
            and (self.start is None or age >= self.start)
            and (self.stop is None or age < self.stop)
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as the server saw it."""

    number: int
    time: float  # seconds of the server's life, when it had been received whole
    path: str
    status: int  # 0: no answer
    items: int
    tokens: int
    digest: bytes  # of the body
    headers: dict[str, str]
    body: bytes


class Ledger:
    """What was asked and what was answered, to be checked against what a client believes."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.paid: Counter[bytes] = Counter()  # digest of each input, each time it was answered
        self.under_way = 0
        self.most_under_way = 0
        self.connections = 0

    def busiest_second(self, start: float = 0.0) -> int:
        """Give the most requests in any second from `start` on, whatever became of them."""
        times = [entry.time for entry in self.entries if entry.time >= start]
        return max((bisect_left(times, one + 1, i) - i for i, one in enumerate(times)), default=0)

    @property
    def statuses(self) -> Counter[int]:
        """How many answers each status had; 0 is no answer."""
        return Counter(entry.status for entry in self.entries)

    def paid_twice(self) -> int:
        """Give how many answers to inputs were given more than once."""
        return sum(self.paid.values()) - len(self.paid)

    def busiest(self, window: float = 60.0) -> tuple[int, int]:
        """Give the most accepted requests, and the most tokens, in any window of seconds."""
        taken = [entry for entry in self.entries if entry.status == 200]
        most = (0, 0)
        for i, first in enumerate(taken):
            inside = [one for one in taken[i:] if one.time < first.time + window]
            tokens = sum(one.tokens for one in inside)
            most = max(most[0], len(inside)), max(most[1], tokens)
        return most

    def report(self) -> dict[str, Any]:
        """Give the figures as JSON values."""
        return {
            "requests": len(self.entries),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "items": sum(self.paid.values()),
            "paid_twice": self.paid_twice(),
            "most_under_way": self.most_under_way,
            "busiest_second": self.busiest_second(),
            "times": [round(entry.time, 3) for entry in self.entries],
            "connections": self.connections,
        }


class Allowance:
    """A limit a minute as a server keeps it: "bucket" refills steadily, "fixed" is a window."""

    def __init__(self, style: str) -> None:
        self.style = style
        self.used = 0.0
        self.last = 0.0

    def settle(self, limit: float, now: float) -> None:
        if self.style == "bucket":
            self.used = max(0.0, self.used - (now - self.last) * limit / 60)
            self.last = now
        elif now - self.last >= 60:
            self.used, self.last = 0.0, now

    def wait(self, limit: float, amount: float, now: float) -> float:
        """Give 0 when `amount` fits, else the seconds until it does."""
        self.settle(limit, now)
        over = self.used + amount - limit
        if over <= 1e-6:
            return 0.0
        return over * 60 / limit if self.style == "bucket" else self.last + 60 - now

    def headers(self, name: str, limit: float) -> dict[str, str]:
        full = self.used * 60 / limit if self.style == "bucket" else self.last + 60
        return {
            f"x-ratelimit-limit-{name}": str(int(limit)),
            f"x-ratelimit-remaining-{name}": str(max(0, int(limit - self.used))),
            f"x-ratelimit-reset-{name}": go_duration(full),
        }


def go_duration(seconds: float) -> str:
    """Write seconds as Go does, and OpenAI's headers: `20ms`, `7.66s`, `6m0s`, `1h2m3.5s`."""
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


class Refused(Exception):
    """A request that the endpoint answers with an error object."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = more.pop("headers", {})
        kind = "invalid_request_error" if status in (400, 404, 413, 422) else "error"
        error = {"message": message, "type": kind, "param": None, "code": None, **more}
        self.body = orjson.dumps({"error": error})


class Loopback:
    """The endpoint. Every public attribute may be changed while it runs."""

    def __init__(
        self,
        *,
        dimensions: int = 1536,
        latency: float = 0.0,
        rpm: float | None = None,
        tpm: float | None = None,
        style: str = "bucket",
        rate_headers: bool = True,
        items: int | None = 2048,
        tokens: int | None = 300_000,
        item_tokens: int | None = 8192,
        body_bytes: int | None = None,
        key: str | None = None,
        model: str | None = None,
        base64: str = "yes",
        resizes: str = "yes",
        faults: Sequence[Fault] = (),
        certificate: ssl.SSLContext | None = None,
        port: int = 0,
        seed: int = 0,
        keep_bodies: bool = True,
    ) -> None:
        self.dimensions = dimensions
        self.latency = latency
        self.rpm = rpm
        self.tpm = tpm
        self.rate_headers = rate_headers
        self.items = items
        self.tokens = tokens
        self.item_tokens = item_tokens
        self.body_bytes = body_bytes
        self.key = key
        self.model = model  # the only one known; None: any
        self.base64 = base64  # "yes", "ignore" (floats all the same) or "refuse" (400)
        self.resizes = resizes  # dimensions: "yes", "ignore" or "refuse"
        self.faults = list(faults)
        self.ledger = Ledger()
        self.keep_bodies = keep_bodies
        self.requests_allowed = Allowance(style)
        self.tokens_allowed = Allowance(style)
        self.port = port
        self._scheme = "https" if certificate else "http"
        self._certificate = certificate
        self._random = random.Random(seed)
        self._number = 0
        self._began = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._open: set[_Connection] = set()

    @property
    def base_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/v1"

    @property
    def age(self) -> float:
        """Seconds since the server began."""
        return time.monotonic() - self._began

    # Life ---------------------------------------------------------------------------------------

    async def listen(self) -> asyncio.Server:
        """Begin to take connections on 127.0.0.1; sets `port`."""
        server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self),
            "127.0.0.1",
            self.port,
            ssl=self._certificate,
            backlog=512,
        )
        self.port = server.sockets[0].getsockname()[1]
        return server

    def __enter__(self) -> Loopback:
        ready = threading.Event()

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        async def live() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            server = await self.listen()
            ready.set()
            await self._stop.wait()
            # A connection that was accepted and meets a closed server is never closed itself.
            for door in server.sockets:
                self._loop.remove_reader(door.fileno())
            # A connection just accepted needs turns of the loop to show, as a task while its TLS
            # handshake goes on, then in `_open`.
            await turns()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in others:
                    task.cancel()
                await asyncio.wait(others)
            await turns()
            server.close()
            while self._open:
                for connection in list(self._open):
                    connection.drop()
                await asyncio.sleep(0.001)

        def run() -> None:
            with asyncio.Runner() as runner:
                runner.run(live())

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(10), "the loopback server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    # One request ----------------------------------------------------------------------------------

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[Fault | None, int, dict[str, str], bytes]:
        """Give the fault met, and status, headers and body of the answer; books it."""
        self._number += 1
        number, inputs, tokens = self._number, list[Input](), 0
        fault: Fault | None = None
        out: dict[str, str] = {"x-request-id": f"req_{number:08d}"}
        try:
            if self.key is not None:
                self._authorise(headers)
            if method == "GET":
                status, answer = 200, self._models(path)
            else:
                asked = self._parsed(path, body)
                inputs = self._inputs(asked)
                fault = self._fault(number, inputs)
                tokens = sum(map(tokens_in, inputs))
                self._check(asked, inputs, tokens, len(body))
                self._charge(tokens, out)
                status, answer = 200, self._embeddings(asked, inputs, tokens, fault, path)
        except Refused as refused:
            status, answer = refused.status, refused.body
            out |= refused.headers
        if fault is not None:
            fault.times = None if fault.times is None else fault.times - 1
            if fault.kind == "status":
                status, answer = fault.status, _body_of(fault)
            elif fault.kind == "body":
                answer = _body_of(fault)
            out |= fault.headers
        silent = fault is not None and fault.kind in ("reset", "close", "hang", "raw")
        digest = blake2b(body, digest_size=8).digest()
        kept = body if self.keep_bodies else b""
        self.ledger.entries.append(
            Entry(number, self.age, path, 0 if silent else status, len(inputs), tokens, digest,
                  headers, kept)
        )  # fmt: skip
        if status == 200 and not silent and inputs:
            self.ledger.paid.update(
                blake2b(input_bytes(one), digest_size=8).digest() for one in inputs
            )
        return fault, status, out, answer

    def control(self, path: str, body: bytes) -> bytes:
        """Answer a benchmark that drives this server from another process."""
        if path == "/_set":
            for name, value in orjson.loads(body).items():
                assert hasattr(self, name), name
                setattr(self, name, value)
        return orjson.dumps(self.ledger.report())

    def _authorise(self, headers: dict[str, str]) -> None:
        given = headers.get("authorization", headers.get("api-key", ""))
        if given not in (f"Bearer {self.key}", self.key):
            shown = given.removeprefix("Bearer ")
            raise Refused(
                401,
                f"Incorrect API key provided: {shown}.",
                type="invalid_request_error",
                code="invalid_api_key",
            )

    def _parsed(self, path: str, body: bytes) -> dict[str, Any]:
        if not path.endswith("/embeddings"):
            raise Refused(404, f"Invalid URL (POST {path})")
        try:
            asked = orjson.loads(body)
        except ValueError:
            raise Refused(400, "We could not parse the JSON body of your request.") from None
        if not isinstance(asked, dict):
            raise Refused(400, "The body must be an object.")
        return asked

    def _inputs(self, asked: dict[str, Any]) -> list[Input]:
        given = asked.get("input")
        if isinstance(given, str) or (
            isinstance(given, list) and given and isinstance(given[0], int)
        ):
            return [given]
        if not isinstance(given, list) or not given:
            raise Refused(400, "'$.input' is invalid. Please check the API reference.")
        return given

    def _fault(self, number: int, inputs: list[Input]) -> Fault | None:
        # All are asked, so that what one draws does not depend on whether another hit.
        hits = [one for one in self.faults if one.hits(number, inputs, self.age, self._random)]
        return hits[0] if hits else None

    def _check(self, asked: dict[str, Any], inputs: list[Input], tokens: int, size: int) -> None:
        if None in asked.values():
            raise Refused(400, "A field is null.")  # as DeepInfra does: a null is never sent
        if self.model not in (None, asked.get("model")):
            raise Refused(
                404,
                f"The model `{asked.get('model')}` does not exist or you do not have access to it.",
                code="model_not_found",
            )
        if self.body_bytes is not None and size > self.body_bytes:
            raise Refused(413, "Payload too large")
        if self.items is not None and len(inputs) > self.items:
            raise Refused(
                400,
                f"'$.input' is too long. Batch size {len(inputs)} should not be larger than "
                f"{self.items}.",
                param="input",
            )
        for i, one in enumerate(inputs):
            if not one:
                raise Refused(400, "'$.input' is invalid. Please check the API reference.")
            if self.item_tokens is not None and tokens_in(one) > self.item_tokens:
                raise Refused(
                    400,
                    f"Invalid 'input[{i}]': maximum input length is {self.item_tokens} tokens.",
                )
        if self.tokens is not None and tokens > self.tokens:
            raise Refused(
                400,
                f"Requested {tokens} tokens, max {self.tokens} tokens per request",
                type="max_tokens_per_request",
                code="max_tokens_per_request",
            )
        if self.resizes == "refuse" and "dimensions" in asked:
            raise Refused(
                400, "This model does not support specifying dimensions.", param="dimensions"
            )
        if self.base64 == "refuse" and asked.get("encoding_format") == "base64":
            raise Refused(
                400, "encoding_format must be float.", param="encoding_format", code="invalid_value"
            )

    def _charge(self, tokens: int, out: dict[str, str]) -> None:
        now = self.age
        kinds = []
        if self.rpm is not None:
            kinds.append(("requests", self.rpm, 1.0, self.requests_allowed))
        if self.tpm is not None:
            kinds.append(("tokens", self.tpm, float(tokens), self.tokens_allowed))
        for name, limit, amount, allowed in kinds:
            if name == "tokens" and amount > limit:
                raise Refused(
                    429,
                    "Request too large for text-embedding-3-small on tokens per min (TPM): "
                    f"Limit {int(limit)}, Requested {tokens}.",
                    type="tokens",
                    code="rate_limit_exceeded",
                )
            if (wait := allowed.wait(limit, amount, now)) > 0:
                hints = {"retry-after-ms": str(int(wait * 1000) + 1)} if self.rate_headers else {}
                raise Refused(
                    429,
                    f"Rate limit reached for {name}. Please try again in {go_duration(wait)}.",
                    type=name,
                    code="rate_limit_exceeded",
                    headers=hints,
                )
        for name, limit, amount, allowed in kinds:
            allowed.used += amount
            if self.rate_headers:
                found = allowed.headers(name, limit)
                if allowed.style == "fixed":
                    found[f"x-ratelimit-reset-{name}"] = go_duration(allowed.last + 60 - now)
                out |= found

    def _models(self, path: str) -> bytes:
        if not path.endswith("/models"):
            raise Refused(404, f"Invalid URL (GET {path})")
        one = {"id": self.model or MODEL, "object": "model", "created": 0, "owned_by": "loopback"}
        return orjson.dumps({"object": "list", "data": [one]})

    def _embeddings(
        self,
        asked: dict[str, Any],
        inputs: list[Input],
        tokens: int,
        fault: Fault | None,
        path: str,
    ) -> bytes:
        size = asked.get("dimensions") or asked.get("output_dimension")
        size = self.dimensions if size is None or self.resizes == "ignore" else int(size)
        change = fault.kind if fault else ""
        if change == "dims":
            size += 1
        # As the real ones do: the first components of the whole vector, normalised again.
        vectors = vectors_for(inputs, size)
        if change == "zero":
            vectors[len(vectors) // 2] = 0
        elif change == "nan":
            vectors[len(vectors) // 2, 0] = np.nan
        elif change == "noise":
            vectors += np.float32(1e-6)
        as_text = asked.get("encoding_format") == "base64" and self.base64 == "yes"
        rows = _base64_rows(vectors, change) if as_text else _float_rows(vectors)
        numbers: list[int | None] = list(range(len(rows)))
        rows, numbers = _rearranged(rows, numbers, change, self._random)
        return _document(
            rows,
            numbers,
            "another-model" if change == "model" else str(asked.get("model") or MODEL),
            None if change == "no_usage" else tokens,
            nugen=path.startswith("/api/v3/"),
        )


def _base64_rows(vectors: NDArray[np.float32], change: str) -> list[bytes]:
    if change == "float64":
        return [b'"' + pybase64.b64encode(row.astype("<f8").tobytes()) + b'"' for row in vectors]
    rows = [b'"' + pybase64.b64encode(row) + b'"' for row in vectors]
    if change == "ragged":
        rows[-1] = b'"' + pybase64.b64encode(vectors[-1, 1:]) + b'"'
    return rows


def _float_rows(vectors: NDArray[np.float32]) -> list[bytes]:
    # orjson writes NaN as null, which is what a client must not take for a number either.
    return [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in vectors]


def _rearranged(
    rows: list[bytes], numbers: list[int | None], change: str, chance: random.Random
) -> tuple[list[bytes], list[int | None]]:
    match change:
        case "short":
            return rows[:-1], numbers[:-1]
        case "extra":
            return [*rows, rows[-1]], [*numbers, len(rows)]
        case "twice":
            return rows, [0, *numbers[:-1]]
        case "no_index":
            return rows, [None] * len(rows)
        case "some_index":
            return rows, [None, *numbers[1:]]
        case "shuffle":
            order = list(range(len(rows)))
            chance.shuffle(order)
            return [rows[i] for i in order], list(order)
    return rows, numbers


def _document(
    rows: list[bytes], numbers: list[int | None], model: str, tokens: int | None, *, nugen: bool
) -> bytes:
    parts = [b'{"object":"embedding","id":"embed-1","data":[' if nugen else
             b'{"object":"list","data":[']  # fmt: skip
    for i, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        place = b"" if number is None else b'"index":%d,' % number
        parts.append(b'%b{"object":"embedding",%b"embedding":' % (b"," if i else b"", place))
        parts.append(row)
        parts.append(b"}")
    usage: dict[str, Any] = {}
    if tokens is not None:
        whole = {"prompt_tokens": tokens, "total_tokens": tokens}
        usage = {"usage": {"total_tokens": tokens} if nugen else whole}
    tail = {"model": model, **usage, "meta": {"usage": {"credits_used": 1}}}
    parts.append(b"]," + orjson.dumps(tail)[1:])
    return b"".join(parts)


def _body_of(fault: Fault) -> bytes:
    body = fault.body
    if body is None:
        body = {"error": {"message": f"fault {fault.status}", "type": "server_error"}}
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


class _Connection(asyncio.Protocol):
    """One connection: a request is read whole, answered, and only then the next is looked at."""

    transport: asyncio.Transport

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.buffer = bytearray()
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 26)
        self.server.ledger.connections += 1
        self.server._open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.server._open.discard(self)
        if self.task is not None:
            self.task.cancel()

    def drop(self) -> None:
        if self.task is not None:
            self.task.cancel()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._next()

    def _next(self) -> None:
        if self.task is not None:
            return
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        size = int(headers.get("content-length", 0))
        if len(self.buffer) < end + 4 + size:
            return
        body = bytes(self.buffer[end + 4 : end + 4 + size])
        del self.buffer[: end + 4 + size]
        method, target, _ = first.split(" ", 2)
        self.task = asyncio.get_running_loop().create_task(
            self._reply(method, target.split("?")[0], headers, body)
        )
        self.task.add_done_callback(self._replied)

    def _replied(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.transport.abort()
            raise error
        if not self.transport.is_closing():
            self._next()

    async def _reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        if path.startswith("/_"):
            self._write(200, {}, self.server.control(path, body))
            return
        ledger = self.server.ledger
        ledger.under_way += 1
        ledger.most_under_way = max(ledger.most_under_way, ledger.under_way)
        try:
            began = time.perf_counter()
            fault, status, out, answer = self.server.answer(method, path, headers, body)
            rest = self.server.latency - (time.perf_counter() - began)
            if rest > 0 and method == "POST":
                await asyncio.sleep(rest)
            if fault is None:
                self._write(status, out, answer)
            else:
                if fault.wait:
                    await asyncio.sleep(fault.wait)
                await self._faulty(fault, status, out, answer)
        finally:
            ledger.under_way -= 1

    def _write(self, status: int, headers: dict[str, str], body: bytes, size: int = -1) -> None:
        lines = [f"HTTP/1.1 {status} -"]
        if not any(name.lower() == "content-type" for name in headers):
            lines.append("content-type: application/json")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"content-length: {len(body) if size < 0 else size}\r\n\r\n")
        self.transport.write("\r\n".join(lines).encode("latin-1"))
        self.transport.write(body)

    async def _faulty(self, fault: Fault, status: int, out: dict[str, str], body: bytes) -> None:
        match fault.kind:
            case "reset":
                linger = struct.pack("ii", 1, 0)
                raw = self.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.transport.abort()
            case "close":
                self.transport.close()
            case "bye":
                self._write(status, {**out, "connection": "close"}, body)
                self.transport.close()
            case "chunked_cut":
                self.transport.write(
                    b"HTTP/1.1 200 -\r\ntransfer-encoding: chunked\r\n\r\n8\r\n"
                    + body[:8]
                    + b"\r\n"
                )
                self.transport.close()
            case "endless":
                self.transport.write(b"HTTP/1.1 200 -\r\nconnection: close\r\n\r\n")
                while not self.transport.is_closing():
                    self.transport.write(bytes(1 << 16))
                    await asyncio.sleep(0.001)
            case "continue":
                while not self.transport.is_closing():
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    await asyncio.sleep(0.01)
            case "second":
                self._write(status, out, body)
                self._write(status, out, b'{"data":[]}')
            case "hang":
                await asyncio.sleep(3600)
            case "raw":
                self.transport.write(_body_of(fault))
                self.transport.close()
            case "cut":
                self._write(status, out, body[: fault.byte], size=len(body))
                self.transport.close()
            case "trickle":
                self._write(status, out, b"", size=len(body))
                for i in range(len(body)):
                    self.transport.write(body[i : i + 1])
                    await asyncio.sleep(fault.seconds)
            case "gzip" | "gzip_cut":
                packed = gzip.compress(body, 1)
                packed = packed[:-9] if fault.kind == "gzip_cut" else packed
                self._write(status, {**out, "content-encoding": "gzip"}, packed)
            case "bomb":
                packed = gzip.compress(bytes(300_000_000), 1)
                self._write(status, {**out, "content-encoding": "gzip"}, packed)
            case "br":
                self._write(status, {**out, "content-encoding": "br"}, body)
            case _:
                self._write(status, out, body)


# As a process ------------------------------------------------------------------------------------


class Process:
    """The server in a process of its own, so that it shares no interpreter with the client."""

    def __init__(self, started: subprocess.Popen[str]) -> None:
        assert started.stdout is not None
        self.port = int(started.stdout.readline())
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def report(self) -> dict[str, Any]:
        """Give the ledger's figures."""
        return self._control("GET", "/_ledger")

    def set(self, **attributes: Any) -> None:
        """Change the server while it runs, such as `rpm=60`."""
        self._control("POST", "/_set", json.dumps(attributes))

    def _control(self, method: str, path: str, body: str = "") -> dict[str, Any]:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Process]:
    """Run the server as a process with these command-line arguments."""
    command = [sys.executable, "-m", "tests.servers.loopback", *arguments]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield Process(started)
        finally:
            started.terminate()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until a signal comes; the port is the first line of stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    number: Callable[[str], Any]
    for name, number, default in (
        ("port", int, 0), ("dimensions", int, 1536), ("latency", float, 0.0),
        ("rpm", float, None), ("tpm", float, None), ("style", str, "bucket"),
        ("items", int, 2048), ("tokens", int, 300_000), ("item-tokens", int, 8192),
        ("body-bytes", int, None), ("key", str, None), ("model", str, None),
        ("base64", str, "yes"), ("resizes", str, "yes"), ("seed", int, 0),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=number, default=default)
    parser.add_argument("--no-rate-headers", dest="rate_headers", action="store_false")
    parser.add_argument(
        "--fault", action="append", default=[], help='JSON, such as {"kind": "reset", "every": 9}'
    )
    options = vars(parser.parse_args(argv))
    faults = [Fault(**json.loads(one)) for one in options.pop("fault")]

    async def live() -> None:
        server = Loopback(faults=faults, keep_bodies=False, **options)
        await server.listen()
        print(server.port, flush=True)
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(live())


if __name__ == "__main__":
    main()
