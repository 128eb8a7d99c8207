"""A loopback endpoint for benchmarks: cheap to serve, and every vector can be recomputed.

    python benchmarks/loopback.py [--dimensions 1536] [--latency SECONDS]

prints its base URL and serves until it is stopped. A text's vector is a window of one fixed
buffer of random numbers, at a place that the text's digest gives; usage is a quarter of the bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import pybase64
from numpy.typing import NDArray

_WINDOW = 1 << 22
BUFFER: NDArray[np.float32] = np.random.default_rng(42).standard_normal(_WINDOW + 8192, np.float32)


def vector_of(text: str, dimensions: int) -> NDArray[np.float32]:
    """Give the vector that the server answers for a text."""
    place = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") % _WINDOW
    return BUFFER[place : place + dimensions]


def vectors_of(texts: Sequence[str], dimensions: int) -> NDArray[np.float32]:
    """Give the vectors of several texts: float32 (len(texts), dimensions)."""
    return np.stack([vector_of(text, dimensions) for text in texts])


class Endpoint:
    """The server's settings and what it has been asked."""

    def __init__(self, dimensions: int, latency: float) -> None:
        self.dimensions = dimensions
        self.latency = latency
        self.requests = 0
        self.inputs = 0

    def body(self, raw: bytes) -> bytes:
        """Give the answer to a request's body."""
        asked: dict[str, Any] = orjson.loads(raw)
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        dimensions = asked.get("dimensions") or self.dimensions
        self.requests += 1
        self.inputs += len(texts)
        vectors = [vector_of(text, dimensions) for text in texts]
        if asked.get("encoding_format") == "base64":
            coded = [b'"%b"' % pybase64.b64encode(vector.tobytes()) for vector in vectors]
        else:
            coded = [orjson.dumps(v, option=orjson.OPT_SERIALIZE_NUMPY) for v in vectors]
        data = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%b}' % item for item in enumerate(coded)
        )
        used = sum(len(text.encode()) for text in texts) // 4
        return b'{"object":"list","data":[%b],"model":"%b","usage":%b}' % (
            data,
            asked["model"].encode(),
            orjson.dumps({"prompt_tokens": used, "total_tokens": used}),
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET "):  # how many requests there were
                    count = b"%d" % self.requests
                    lead = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: "
                    writer.write(lead + b"%d\r\n\r\n" % len(count) + count)
                    await writer.drain()
                    break
                size = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                raw = await reader.readexactly(size)
                started = time.monotonic()
                body = self.body(raw)
                if self.latency:
                    await asyncio.sleep(max(0.0, started + self.latency - time.monotonic()))
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                    b"x-request-id: r%d\r\ncontent-length: %d\r\n\r\n" % (self.requests, len(body))
                )
                writer.write(body)
                await writer.drain()
        writer.close()


async def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimensions", type=int, default=1536)
    parser.add_argument("--latency", type=float, default=0.0)
    arguments = parser.parse_args()
    endpoint = Endpoint(arguments.dimensions, arguments.latency)
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, limit=64 << 20)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
