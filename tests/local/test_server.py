"""`tovec serve` as its users meet it: a real process, real HTTP, the official client."""

import asyncio
import base64
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import openai
import orjson
import pytest

from tovec.endpoint.transport import Call
from tovec.errors import UsageError
from tovec.local import request_body, responder, server
from tovec.local.in_process import LocalTransport
from tovec.local.model import DIMENSIONS, MODEL_ID
from tovec.text import tokens

SECRET = "sk-of-this-test"
MARK = "a text that no log may hold"
TEXTS = ["The quick brown fox", "jumps over the lazy dog", MARK]
TOKENS = sum(tokens.count_batch(TEXTS))
SCRIPT = """
import os, sys
from tovec.local import server
server.run(
    sys.argv[1], int(sys.argv[2]), sys.argv[3] or None, environ=os.environ,
    listening=lambda url: print(url, flush=True),
    log=lambda served: print(served, file=sys.stderr, flush=True),
)
"""


class Serving:
    """A server process; `stop` ends it and gives its exit status and what it logged."""

    def __init__(self, log, *, key_env="", host="127.0.0.1"):
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, host, "0", key_env],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "SERVE_KEY": SECRET},
            )
        self.url = self.process.stdout.readline().decode().strip()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.status(), self._log.read_text()

    def status(self):
        with self.process.stdout:
            return self.process.wait(20)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    one = Serving(tmp_path_factory.mktemp("serve") / "log")
    yield one
    one.stop()


@pytest.fixture
def keyed(tmp_path):
    one = Serving(tmp_path / "log", key_env="SERVE_KEY")
    yield one
    if one.process.poll() is None:
        one.stop()


def in_process(texts, **fields):
    """The vectors that `-p local` gives for the same request."""
    body = orjson.dumps({"model": MODEL_ID, "input": texts, "encoding_format": "base64", **fields})
    url = "http://tovec.invalid/v1/embeddings"
    asked = Call("POST", url, {"content-type": "application/json"}, body, 60.0, 1 << 30)
    try:
        LocalTransport().send(asked).send(None)
    except StopIteration as end:
        data = orjson.loads(end.value.body)["data"]
    return np.vstack([np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data])


def client(one, key="none"):
    return openai.OpenAI(base_url=one.url, api_key=key, max_retries=0)


# The official client ------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"encoding_format": "float"}, {"dimensions": 64}])
def test_the_openai_package_gets_the_vectors_of_the_local_provider_bit_for_bit(serving, fields):
    """Without encoding_format, the package asks for base64."""
    with client(serving) as api:
        answer = api.embeddings.create(model=MODEL_ID, input=TEXTS, **fields)
    found = np.array([item.embedding for item in answer.data], np.float32)
    dimensions = fields.get("dimensions", 256)
    assert np.array_equal(found, in_process(TEXTS, dimensions=dimensions))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == TOKENS


def test_base64_asked_for_outright_is_a_string(serving):
    with client(serving) as api:
        answer = api.embeddings.create(model=MODEL_ID, input=TEXTS, encoding_format="base64")
    raw = [np.frombuffer(base64.b64decode(item.embedding), "<f4") for item in answer.data]
    assert np.array_equal(np.vstack(raw), in_process(TEXTS))


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_the_async_client_gets_the_same(serving, encoding):
    async def asked():
        async with openai.AsyncOpenAI(base_url=serving.url, api_key="none", max_retries=0) as api:
            one = [
                api.embeddings.create(model=MODEL_ID, input=text, encoding_format=encoding)
                for text in TEXTS
            ]
            return [answer.data[0].embedding for answer in await asyncio.gather(*one)]

    found = asyncio.run(asked())
    if encoding == "base64":
        found = [np.frombuffer(base64.b64decode(text), "<f4") for text in found]
    assert np.array_equal(np.array(found, np.float32), in_process(TEXTS))


def test_the_openai_package_sends_token_arrays(serving):
    ids = tokens.encode_batch(TEXTS)
    with client(serving) as api:
        answer = api.embeddings.create(model=MODEL_ID, input=ids)
    found = np.array([item.embedding for item in answer.data], np.float32)
    assert np.array_equal(found, in_process(TEXTS))


def test_the_openai_package_lists_and_describes_models(serving):
    with client(serving) as api:
        assert [model.id for model in api.models.list()] == [MODEL_ID]
        assert api.models.retrieve(MODEL_ID).owned_by == "tovec"
        with pytest.raises(openai.NotFoundError):
            api.models.retrieve("other")


def test_the_openai_package_understands_the_errors(serving, keyed):
    with client(serving) as api:
        with pytest.raises(openai.BadRequestError) as bad:
            api.embeddings.create(model=MODEL_ID, input=["a", ""])
        assert (bad.value.param, bad.value.code) == ("input[1]", "empty_string")
        assert bad.value.type == "invalid_request_error"
        assert bad.value.request_id.startswith("req_")
        with pytest.raises(openai.NotFoundError):
            api.embeddings.create(model="text-embedding-3-small", input="a")
    with client(keyed, "wrong") as api, pytest.raises(openai.AuthenticationError):
        api.embeddings.create(model=MODEL_ID, input="a")
    with client(keyed, SECRET) as api:
        assert api.embeddings.create(model=MODEL_ID, input="a").data


def test_nugens_route_is_served(serving):
    root = serving.url.removesuffix("/v1")
    body = {"model": MODEL_ID, "input": TEXTS}
    answer = httpx.post(f"{root}/api/v3/inference/embeddings", json=body).json()
    assert (answer["object"], answer["usage"]) == ("embedding", {"total_tokens": TOKENS})
    found = np.array([item["embedding"] for item in answer["data"]], np.float32)
    assert np.array_equal(found, in_process(TEXTS))


# The server's own work ----------------------------------------------------------------------------


def test_a_body_far_over_the_cap_is_answered_413_all_the_same(serving):
    body = b"a" * (responder.MAX_BODY + (16 << 20))
    headers = {"content-type": "application/json"}
    reply = httpx.post(f"{serving.url}/embeddings", content=body, headers=headers, timeout=30)
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "payload_too_large"


def test_a_client_that_hangs_up_in_its_body_harms_nobody(serving):
    host, port = serving.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as gone:
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc"
        gone.sendall(head)
    assert httpx.get(f"{serving.url}/models").status_code == 200


def test_ipv6_is_served_where_there_is_ipv6(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    one = Serving(tmp_path / "log", host="::1")
    assert one.url.startswith("http://[::1]:")
    assert httpx.get(f"{one.url}/models").status_code == 200
    one.stop()


def test_connections_send_small_packets_at_once():
    """With Nagle's algorithm on, each answer would wait 40 ms for a delayed acknowledgement."""
    with (
        server._listening_socket("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_and_its_log_holds_no_text_and_no_key(keyed, number):
    for key in (SECRET, "sk-wrong"):
        with client(keyed, key) as api, contextlib.suppress(openai.APIStatusError):
            api.embeddings.create(model=MODEL_ID, input=[MARK], user=MARK)
    with httpx.Client(base_url=keyed.url) as plain:
        plain.post("/embeddings?api-key=" + SECRET, json={"input": MARK, MARK: 1})
    status, log = keyed.stop(number)
    assert status == -number
    lines = [line for line in log.splitlines() if line.startswith("POST ")]
    assert [line.split()[:3] for line in lines] == [
        ["POST", "/v1/embeddings", "200"],
        ["POST", "/v1/embeddings", "401"],
        ["POST", "/v1/embeddings", "401"],
    ]
    assert all("req_" in line for line in lines)
    for private in (MARK, SECRET, "sk-wrong", "api-key"):
        assert private not in log


def test_an_answer_under_way_is_finished_before_the_process_ends(keyed):
    """The body's last byte is held back until the server has been told to stop."""
    body = orjson.dumps({"model": MODEL_ID, "input": "hello"})
    host, port = keyed.url.split("/")[2].split(":")
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20) as one:
        one.sendall(head.encode() + body[:-1])
        with httpx.Client() as other:  # the first one's head has been read by now
            other.get(f"{keyed.url}/models")
        keyed.process.send_signal(signal.SIGTERM)
        until_refused(host, int(port))
        one.sendall(body[-1:])
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["data"]
    assert keyed.status() == -signal.SIGTERM


def until_refused(host, port):
    """Wait until nothing listens there any more."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError("the server still accepts connections")


def through_app(app, *calls):
    """Ask the application in this process, with its start-up and shutdown left out."""

    async def asked():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as one:
            return await asyncio.gather(*(one.request(*call, timeout=30) for call in calls))

    return asyncio.run(asked())


def test_a_fault_inside_is_a_500_that_says_nothing_of_the_text(monkeypatch):
    """seed 002: 500 internal_server_error."""

    def broken(*_given, **_named):
        raise KeyError(MARK)

    monkeypatch.setattr(responder, "answer", broken)
    served = []
    (reply,) = through_app(server.create_app(log=served.append), ("POST", "/v1/embeddings"))
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "internal_server_error"
    assert (served[0].status, served[0].fault) == (500, "KeyError")
    assert str(served[0]).endswith(f"{reply.headers['x-request-id']} KeyError")
    assert MARK not in reply.text + str(served[0])


def test_a_request_at_work_does_not_hold_up_the_others(monkeypatch):
    """The first answer waits for the second, which could not come if the loop were held."""
    second, answer = threading.Event(), responder.answer

    def waiting(method, path, *given, **named):
        if method == "POST":
            assert second.wait(20)
        else:
            second.set()
        return answer(method, path, *given, **named)

    monkeypatch.setattr(responder, "answer", waiting)
    post, get = through_app(server.create_app(), ("POST", "/v1/embeddings"), ("GET", "/v1/models"))
    assert (post.status_code, get.status_code) == (415, 200)


# Before it starts ---------------------------------------------------------------------------------


def run(**changes):
    """Run a server that must not come to listen."""

    def listening(url):
        raise AssertionError(f"it listens on {url}")

    server.run(**{"environ": {}, "listening": listening, **changes})


def test_a_port_in_use_is_a_usage_error_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError) as error:
            run(port=port)
    assert error.value.what == f"cannot listen on 127.0.0.1:{port}: another program uses that port"
    assert "--port" in error.value.hint


@pytest.mark.parametrize("changes", [{"port": 65_536}, {"port": -1}, {"host": "no.such.invalid"}])
def test_an_address_that_cannot_be_is_a_usage_error(changes):
    with pytest.raises(UsageError):
        run(**{"port": 0, **changes})


@pytest.mark.parametrize("environ", [{}, {"SERVE_KEY": ""}, {"SERVE_KEY": " \n"}])
def test_a_key_that_is_not_there_is_an_error_not_an_open_server(environ):
    with pytest.raises(UsageError, match="SERVE_KEY"):
        run(port=0, key_env="SERVE_KEY", environ=environ)


@pytest.mark.parametrize("missing", ["starlette.applications", "uvicorn"])
def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch, missing):
    """#181"""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as error:
        run(port=0)
    assert error.value.hint == "pip install 'tovec[serve]'"
    assert missing.partition(".")[0] in error.value.what


# The description ----------------------------------------------------------------------------------


def test_the_description_says_the_limits_that_the_endpoint_keeps():
    schemas = server.described()["components"]["schemas"]
    fields = schemas["EmbeddingsRequest"]["properties"]
    assert set(fields) == request_body.FIELDS
    assert fields["model"]["enum"] == [MODEL_ID]
    assert fields["dimensions"]["maximum"] == DIMENSIONS
    text, texts, ids, arrays = fields["input"]["oneOf"]
    assert text["minLength"] == texts["items"]["minLength"] == 1
    assert texts["maxItems"] == arrays["maxItems"] == request_body.MAX_ITEMS
    assert ids["maxItems"] == arrays["items"]["maxItems"] == request_body.MAX_ITEM_TOKENS
    assert schemas["Token"]["maximum"] == tokens.VOCABULARY_SIZE - 1
    assert str(request_body.MAX_TOKENS) in fields["input"]["description"]
    assert str(request_body.MAX_ITEM_TOKENS) in fields["input"]["description"]
    paths = set(server.described()["paths"])
    assert paths == {*responder._SHAPES, responder.MODELS, responder.MODELS + "/{id}"}


def test_the_description_is_published(serving):
    published = httpx.get(serving.url.removesuffix("/v1") + "/openapi.json")
    assert published.headers["content-type"] == "application/json"
    assert published.json() == server.described()


@pytest.mark.skipif(not importlib.util.find_spec("schemathesis"), reason="needs schemathesis")
def test_schemathesis_finds_nothing_that_the_description_does_not_say(serving, tmp_path):
    """Bounded: some 300 requests, the same ones each time."""
    program = Path(sys.executable).parent / "schemathesis"
    address = serving.url.removesuffix("/v1") + "/openapi.json"
    bounds = ["--max-examples=15", "--phases=examples,coverage,fuzzing", "--seed=1"]
    quiet = ["--checks=all", "--no-color", "--generation-database=none"]
    done = subprocess.run(
        [program, "run", address, *bounds, *quiet],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout.decode()[-3000:]


# Browsers ----------------------------------------------------------------------------------------


def test_without_cors_no_page_of_another_origin_may_ask(serving):
    """#260: an open page must not reach a server that is for this machine's programs."""
    asks = {"origin": "https://app.example", "access-control-request-method": "POST"}
    before = httpx.options(f"{serving.url}/embeddings", headers=asks)
    answer = httpx.get(f"{serving.url}/models", headers=asks)
    body = orjson.dumps({"model": MODEL_ID, "input": "hi"})
    plain = {"origin": asks["origin"], "content-type": "text/plain"}  # which browsers send unasked
    sent = httpx.post(f"{serving.url}/embeddings", content=body, headers=plain)
    assert (before.status_code, answer.status_code, sent.status_code) == (405, 200, 415)
    assert not [
        name for reply in (before, answer, sent) for name in reply.headers if "access-" in name
    ]


def test_head_and_a_slash_at_the_end_are_answered():
    """Probes ask by HEAD, and some clients end each address with a slash."""
    for method, path, body in (
        ("HEAD", "/v1/models", b""),
        ("GET", "/v1/models/", b""),
        ("POST", "/v1/embeddings/", b'{"model": "static-minilm-256", "input": "hi"}'),
    ):
        assert (
            responder.answer(method, path, {"content-type": "application/json"}, body).status == 200
        )
