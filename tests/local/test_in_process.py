"""The in-process transport is the endpoint, without an event loop where none is needed."""

import asyncio
import subprocess
import sys
import threading

import orjson
import pytest

from tovec.endpoint.transport import Call
from tovec.local import responder
from tovec.local.in_process import INLINE_BYTES, LocalTransport
from tovec.local.model import MODEL_ID

URL = "http://tovec.invalid/v1/embeddings?api-version=1"
LARGE = 2048  # inputs: with `"hello",` for each, more than INLINE_BYTES


def call(size=1, *, method="POST", url=URL):
    body = orjson.dumps({"model": MODEL_ID, "input": ["hello"] * size})
    assert (len(body) > INLINE_BYTES) == (size == LARGE)
    return Call(method, url, {"content-type": "application/json"}, body, 60.0, 1 << 30)


def driven(work):
    """Run a coroutine that may not suspend."""
    with pytest.raises(StopIteration) as end:
        work.send(None)
    return end.value.value


@pytest.fixture
def threads(monkeypatch):
    """The threads in which the endpoint was asked."""
    seen, answer = [], responder.answer

    def watched(*given, **named):
        seen.append(threading.current_thread())
        return answer(*given, **named)

    monkeypatch.setattr(responder, "answer", watched)
    return seen


def test_a_call_gets_the_endpoints_answer_and_never_suspends():
    for size in (1, LARGE):
        asked = call(size)
        reply = driven(LocalTransport().send(asked))
        direct = responder.answer("POST", responder.EMBEDDINGS, asked.headers, asked.body)
        assert (reply.status, reply.body) == (200, direct.body)


def test_a_models_path_is_decoded():
    reply = driven(LocalTransport().send(call(method="GET", url="http://x/v1/models/static%2Dx")))
    assert "`static-x`" in orjson.loads(reply.body)["error"]["message"]


def test_under_a_loop_a_small_call_stays_and_a_large_one_goes_to_a_thread(threads):
    async def both():
        transport = LocalTransport()
        replies = [await transport.send(call(size)) for size in (1, LARGE)]
        await transport.close()
        return replies

    small, large = asyncio.run(both())
    assert (small.status, large.status) == (200, 200)
    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_without_a_loop_a_large_call_stays_too(threads):
    driven(LocalTransport().send(call(LARGE)))
    assert threads == [threading.main_thread()]


def test_a_short_text_is_embedded_without_asyncio_httpx_or_tiktoken():
    """They would take longer to import than the whole command may."""
    script = f"""
import sys
from tovec.endpoint.transport import Call
from tovec.local.in_process import LocalTransport
body = b'{{"model": "{MODEL_ID}", "input": "hi"}}'
asked = Call("POST", "{URL}", {{"content-type": "application/json"}}, body, 60.0, 1 << 20)
try:
    LocalTransport().send(asked).send(None)
except StopIteration as end:
    assert end.value.status == 200
slow = {{"asyncio", "httpx", "tiktoken", "pyarrow", "starlette", "uvicorn", "typer", "rich"}}
print(sorted(slow & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
