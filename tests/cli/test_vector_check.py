"""`tovec config check --vectors` finds servers whose vectors cannot be compared, and no others."""

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from tests.cli.inside import run
from tests.cli.test_serve import serving
from tests.local.folders import minilm, needs_minilm
from tests.servers.loopback import vectors_for

OVERLAP_SECONDS = 0.02  # that the racy server waits for a second request


class Server(ThreadingHTTPServer):
    """An endpoint with one defect."""

    def __init__(self, defect):
        super().__init__(("127.0.0.1", 0), Handler)
        self.defect = defect
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.under_way, self.latest = 0, []
        self.arrived = threading.Condition()

    def vectors(self, texts):
        """Return the vectors of texts, as the defect makes them."""
        vectors = vectors_for(texts, 64)
        if self.defect == "batch" and len(texts) > 16:
            vectors[:, 0] += 0.1
        if self.defect == "padding":
            vectors[:, 0] += [0.1 * (len(text) < max(map(len, texts)) / 4) for text in texts]
        if self.defect == "order":
            vectors = vectors[sorted(range(len(texts)), key=lambda i: len(texts[i]))]
        return vectors

    def answer(self, texts):
        """Return the vectors; a racy server takes those of the request that came last."""
        if self.defect != "race":
            return self.vectors(texts)
        with self.arrived:
            self.under_way += 1
            self.latest = texts
            self.arrived.notify_all()
            self.arrived.wait_for(lambda: self.under_way > 1, OVERLAP_SECONDS)
            vectors = self.vectors(self.latest)
            self.under_way -= 1
        return vectors


class Handler(BaseHTTPRequestHandler):
    """Speaks `POST /v1/embeddings`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        rows = self.server.answer(asked["input"]).tolist()
        if asked.get("encoding_format") == "base64":
            kind = "<f2" if self.server.defect == "half" else "<f4"
            raw = [np.array(row, kind).astype("<f4").tobytes() for row in rows]
            rows = [base64.b64encode(one).decode() for one in raw]
        data = [{"index": i, "embedding": row} for i, row in enumerate(rows)]
        body = json.dumps({"data": data, "model": asked["model"]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def server_with(defect):
    server = Server(defect)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check(url):
    return run("config", "check", "--vectors", "--base-url", url, "-m", "m")


DEFECTS = {
    "batch": "in a large batch",
    "padding": "beside long texts",
    "race": "in parallel",
    "half": "as float",
    "order": "in a batch",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_server_whose_vectors_change_is_found_and_the_way_named(defect):
    """#286 A search over vectors made in different company is wrong in silence."""
    with server_with(defect) as server:
        done = check(server.url)
    assert done.code == 5, done.out + done.err
    assert DEFECTS[defect] in done.err.decode()
    named = [line for line in done.out.decode().splitlines() if "differs" in line]
    assert any(DEFECTS[defect] in line for line in named)
    if defect not in ("order", "padding"):
        assert len(named) == 1
    assert ("those of other texts" in done.out.decode()) == (defect in ("order", "race"))


def test_a_server_whose_vectors_stay_passes_each_trial():
    with server_with("none") as server:
        done = check(server.url)
    assert done.code == 0, done.err
    lines = [line for line in done.out.decode().splitlines() if line.startswith("vectors")]
    assert [line.split()[1] for line in lines] == ["ok"] * 7


@pytest.mark.parametrize("options", [(), pytest.param(("-p", "onnx"), marks=needs_minilm)])
def test_tovecs_own_server_passes(options, tmp_path):
    """The transformer pads and the embedded model caches words: neither may show."""
    model, served = "static-minilm-256", list(options)
    if options:
        served += ["-m", str(minilm(tmp_path / "m"))]
        model = "m"
    with serving(*served) as (_, url):
        done = run("config", "check", "--vectors", "--base-url", url, "-m", model)
    assert done.code == 0, done.out + done.err
    assert done.out.count(b"vectors      ok") == 7


def test_the_embedded_model_passes_without_a_server():
    done = run("config", "check", "--vectors", "-p", "local")
    assert done.code == 0, done.err
    assert done.out.count(b"vectors      ok") == 7


def test_vectors_without_check_is_refused():
    assert run("config", "--vectors").code == 2
