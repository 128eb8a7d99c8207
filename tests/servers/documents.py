"""Loopback servers that answer exactly as the four providers' documents say, errors included."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.loopback import vectors_for

PATHS = {
    "openai": "/v1/embeddings",
    "aimlapi": "/v1/embeddings",
    "aivene": "/v1/embeddings",
    "nugen": "/api/v3/inference/embeddings",
}
BASES = {name: path.removesuffix("/embeddings") for name, path in PATHS.items()}


def answer(provider: str, asked: dict[str, Any], dimensions: int) -> dict[str, Any]:
    """Give the answer in the shape of the provider's document."""
    texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    vectors = vectors_for(texts, asked.get("dimensions") or dimensions)
    coded: list[Any] = [row.tolist() for row in vectors]
    if asked.get("encoding_format") == "base64":
        coded = [base64.b64encode(row.tobytes()).decode() for row in vectors]
    data = [{"object": "embedding", "index": i, "embedding": one} for i, one in enumerate(coded)]
    said: dict[str, Any] = {"object": "list", "data": data, "model": asked["model"]}
    tokens = sum(len(text) for text in texts)
    if provider == "nugen":
        shape = {"id": "embed-abc123xyz", "object": "embedding", "created": 1705329600.0}
        return {**said, **shape, "usage": {"total_tokens": tokens}}
    said["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    if provider == "aimlapi":
        said["meta"] = {"usage": {"credits_used": 1}}
    return said


@contextmanager
def document_server(
    provider: str, *, errors: list[tuple[int, dict[str, str], Any]] | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve one provider; give its base URL and the list of what it is asked.

    `errors` are answered first, one a request: status, headers, body.
    """
    pending = list(errors or [])
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked.append({"path": self.path, "headers": headers, "body": body})
            if self.path != PATHS[provider]:
                self.reply(404, {}, {"error": {"message": f"no {self.path}", "type": "x"}})
            elif pending:
                self.reply(*pending.pop(0))
            else:
                self.reply(200, {}, answer(provider, body, 96))

        def reply(self, status: int, headers: dict[str, str], said: Any) -> None:
            raw = json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{BASES[provider]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
