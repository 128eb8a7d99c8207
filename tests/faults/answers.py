"""Answers and replies as an endpoint might send them, right and wrong, with the truth beside."""

from __future__ import annotations

import base64
import gzip
import json
import math
from typing import Any, NamedTuple

import numpy as np
import orjson
from hypothesis import strategies as st
from tests.servers.loopback import vectors_for

HARMLESS = ("shuffle", "no index", "more fields", "space", "mark", "floats", "usage", "twice a key")
HARMFUL = (
    "drop", "extra", "repeat", "replace", "dims", "ragged", "nan", "inf", "huge", "zero", "null",
    "float16", "int8", "text", "nested", "urlsafe", "unpadded", "line break", "cut", "garbage",
    "index text", "index bool", "index float", "index negative", "index gone", "data object",
    "data null", "two documents", "html", "utf-16", "bad utf-8", "deep", "error", "empty",
)  # fmt: skip


class Made(NamedTuple):
    """An answer that was made, and what a believer of it must get."""

    body: bytes
    truth: np.ndarray[Any, Any]
    harmful: str | None


def coded(row: np.ndarray[Any, Any], kind: str = "<f4") -> str:
    return base64.b64encode(row.astype(kind).tobytes()).decode()


@st.composite
def answers(draw: st.DrawFn, most: int = 5) -> Made:
    """Make an answer to 1 to `most` inputs, with any harmless changes and at most one harmful."""
    count, width = draw(st.integers(1, most)), draw(st.sampled_from([2, 3, 8, 96]))
    first = draw(st.integers(0, 999))
    truth = vectors_for([f"{first + i}" for i in range(count)], width)
    truth[~truth.any(axis=1)] = 1
    changes = draw(st.sets(st.sampled_from(HARMLESS)))
    harmful = draw(st.one_of(st.none(), st.sampled_from(HARMFUL)))
    floats = "floats" in changes
    rows: list[dict[str, Any]] = [
        {"index": i, "embedding": row.tolist() if floats else coded(row)}
        for i, row in enumerate(truth)
    ]
    at = draw(st.integers(0, count - 1))
    document: dict[str, Any] = {"data": rows, "model": "m", "usage": {"prompt_tokens": count}}
    if harmful is not None:
        _spoil_row(harmful, rows, at, truth)
    by_index = harmful == "replace" or (harmful or "").startswith("index")
    if "no index" in changes and not by_index:
        for row in rows:
            row.pop("index", None)
    elif "shuffle" in changes:
        rows[:] = draw(st.permutations(rows))
    if "more fields" in changes:
        rows[:] = [{"object": "embedding", **row, "x": [None, {}]} for row in rows]
    if "usage" in changes:
        document["usage"] = draw(st.sampled_from([None, {}, {"prompt_tokens": -1}, "5", [1]]))
    return Made(_written(document, changes, harmful, draw), truth, harmful)


def _spoil_row(harmful: str, rows: list[dict[str, Any]], at: int, truth: Any) -> None:
    """Make one row, or the list of rows, one that must not be believed."""
    row, true = rows[at], truth[at]
    spoilt = true.astype(np.float64)
    match harmful:
        case "drop":
            del rows[at]
        case "extra" | "repeat":
            rows.append({**row, "index": len(rows) if harmful == "extra" else row["index"]})
        case "replace":
            rows[at] = {**row, "index": len(rows) + 3}
        case "dims" | "ragged":
            row["embedding"] = coded(np.append(true, 1)) if harmful == "ragged" else []
            if harmful == "ragged" and len(rows) == 1:
                row["embedding"] = "AAA"
        case "nan" | "inf":
            spoilt[0] = math.nan if harmful == "nan" else math.inf
            row["embedding"] = coded(spoilt)
        case "huge":
            row["embedding"] = [1e39, *true[1:].tolist()]
        case "zero":
            row["embedding"] = [0.0] * len(true)
        case "null":
            row["embedding"] = [None, *true[1:].tolist()]
        case "float16":
            row["embedding"] = base64.b64encode(true.astype("<f2").tobytes()[:-1]).decode()
        case "int8":
            row["embedding"] = base64.b64encode(bytes(4 * len(true) + 1)).decode()
        case "text":
            row["embedding"] = json.dumps(true.tolist())
        case "nested":
            row["embedding"] = [true.tolist()]
        case "urlsafe":
            row["embedding"] = "-_" + coded(true)[2:]
        case "unpadded":
            row["embedding"] = coded(true).rstrip("=") + ("" if "=" in coded(true) else "A")
        case "line break":
            row["embedding"] = coded(true)[:4] + "\n" + coded(true)[4:]
        case "index text" | "index bool" | "index float" | "index negative":
            wrong = {"text": str(at), "bool": bool(at), "float": float(at), "negative": -1}
            row["index"] = wrong[harmful.removeprefix("index ")]
        case "index gone":
            row["index"] = None if len(rows) > 1 else "0"


def _written(document: dict[str, Any], changes: set[str], harmful: str | None, draw: Any) -> bytes:
    if harmful in ("data object", "data null"):
        document["data"] = None if harmful == "data null" else {"0": document["data"]}
    if harmful == "error":
        document = {"error": {"message": "no", "code": 500}}
    body = orjson.dumps(document)
    if "space" in changes:
        body = json.dumps(document, indent=2, allow_nan=False).encode()
    if "twice a key" in changes and body.startswith(b'{"data"'):
        body = b'{"model":"other",' + body[1:]
    match harmful:
        case "cut":
            body = body[: draw(st.integers(0, len(body) - 1))]
        case "garbage":
            body += draw(st.sampled_from([b"x", b"}", b"\0", b",{}"]))
        case "two documents":
            body += b"\n" + body
        case "html":
            body = b"<html>" + body
        case "utf-16":
            body = body.decode().encode("utf-16")
        case "bad utf-8":
            body = body.replace(b'"model":', b'"model\xff":', 1) if b'"model":' in body else b"\xff"
        case "deep":
            body = b'{"data":' + b"[" * 100_000
        case "empty":
            body = draw(st.sampled_from([b"", b"null", b"[]", b"0", b'""']))
    return b"\xef\xbb\xbf" + body if "mark" in changes else body


FRAMINGS = ("length", "close", "chunked", "gzip", "mislabelled", "short", "long", "cut", "slow")


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, Made, str]:
    """Make the bytes of a whole reply of any status, framing and damage around an answer."""
    made, framing = draw(answers(most=2)), draw(st.sampled_from(FRAMINGS))
    status = draw(st.sampled_from([200] * 12 + [201, 204, 302, 400, 404, 429, 500, 503, 999]))
    odd = draw(
        st.sampled_from(
            [b""] * 6
            + [
                b"x: " + b"y" * 70_000 + b"\r\n",
                b"retry-after: nan\r\n",
                b"x-ratelimit-remaining-tokens: -5\r\n",
                b"bad header\r\n",
            ]
        )
    )
    body, more = made.body, b""
    match framing:
        case "gzip":
            body, more = gzip.compress(body, 1), b"content-encoding: gzip\r\n"
        case "mislabelled":
            more = b"content-encoding: gzip\r\n"
        case "chunked":
            more = b"transfer-encoding: chunked\r\n"
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    size = {"short": len(body) + 5, "long": max(0, len(body) - 5)}.get(framing, len(body))
    if framing not in ("close", "chunked"):
        more += b"content-length: %d\r\n" % size
    whole = b"HTTP/1.1 %d X\r\n%b%bconnection: close\r\n\r\n%b" % (status, more, odd, body)
    if framing == "cut":
        whole = whole[: draw(st.integers(0, len(whole)))]
    return whole, made, framing
