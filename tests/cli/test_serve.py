"""`tovec serve` as a real process: the embedded model for any client of the API."""

import contextlib
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys

import httpx
import numpy as np
import openai
import pytest
from tests.cli.inside import run
from tests.local.folders import minilm, needs_minilm


@contextlib.contextmanager
def serving(*arguments: str, **environ: str):
    program = subprocess.Popen(
        [sys.executable, "-m", "tovec", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        yield program, program.stdout.readline().decode().strip()
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_openai_and_tovec_get_the_same_vectors_bit_for_bit(tovec, encoding):
    texts = ["hello world", "東京", "a" * 500]
    with serving() as (_, url):
        with openai.OpenAI(base_url=url, api_key="none") as client:
            answer = client.embeddings.create(
                input=texts, model="static-minilm-256", encoding_format=encoding
            )
        embed = ["embed", "-m", "static-minilm-256", "--encoding-format", encoding]
        served = tovec(*embed, "--base-url", url, *texts)
    local = tovec("embed", "-p", "local", *texts)
    assert served.stdout == local.stdout != b""
    mine = [json.loads(line)["embedding"] for line in local.stdout.splitlines()]
    theirs = [item.embedding for item in answer.data]
    if encoding == "base64":
        import base64

        theirs = [np.frombuffer(base64.b64decode(one), "<f4") for one in theirs]
    assert np.array_equal(np.array(theirs, np.float32), np.array(mine, np.float32))


def test_a_key_is_asked_for_when_one_is_named(tovec):
    with serving("--api-key-env", "SERVE_KEY", SERVE_KEY="sk-served") as (_, url):
        options = ["embed", "hi", "-m", "static-minilm-256", "--base-url", url]
        assert tovec(*options).returncode == 5
        assert tovec(*options, env={"TOVEC_API_KEY": "sk-served"}).returncode == 0


@pytest.mark.parametrize(
    ("allowed", "origins", "others"),
    [
        (
            ["https://app.example", "http://localhost:3000"],
            ["https://app.example", "http://localhost:3000"],
            ["https://other.example", "http://app.example", "null"],
        ),
        (["*"], ["https://any.example"], []),
    ],
)
def test_pages_may_ask_only_where_their_origin_is_allowed(allowed, origins, others):
    """#260: browsers ask by OPTIONS, without a key, before a page of another origin may post."""
    cors = [word for origin in allowed for word in ("--cors", origin)]
    key = {"authorization": "Bearer sk-served"}
    body = {"model": "static-minilm-256", "input": "hi"}
    with (
        serving(*cors, "--api-key-env", "SERVE_KEY", SERVE_KEY="sk-served") as (_, url),
        httpx.Client(base_url=url) as browser,
    ):
        for origin in (*origins, *others):
            asks = {
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization, content-type",
            }
            before = browser.options("/embeddings", headers=asks)
            answer = browser.post("/embeddings", json=body, headers=key | {"origin": origin})
            refused = browser.post("/embeddings", json=body, headers={"origin": origin})
            assert before.status_code == (200 if origin in origins else 400)
            assert (answer.status_code, refused.status_code) == (200, 401)
            for reply in (before, answer, refused):
                found = reply.headers.get("access-control-allow-origin")
                assert found in ((origin, "*") if origin in origins else (None,))
            if origin in origins:
                headers = before.headers["access-control-allow-headers"].lower()
                assert "authorization" in headers and "content-type" in headers


def test_requests_are_logged_without_their_text_and_a_signal_ends_it(tovec):
    with serving("-v") as (program, url):
        tovec("embed", "a secret text", "-m", "static-minilm-256", "--base-url", url)
        program.send_signal(signal.SIGTERM)
        _, said = program.communicate(timeout=30)
    assert program.returncode == -signal.SIGTERM
    assert b"POST /v1/embeddings 200" in said
    assert b"secret" not in said and b"Traceback" not in said


def test_a_port_that_is_taken_is_an_error_in_three_lines(tovec):
    with serving() as (_, url):
        port = url.rpartition(":")[2].removesuffix("/v1")
        done = tovec("serve", "--port", port)
    assert done.returncode == 2
    assert port.encode() in done.stderr
    assert len(done.stderr.splitlines()) <= 3


@needs_minilm
def test_a_clients_own_model_name_reaches_a_local_model(tmp_path):
    """Clients that know OpenAI's names alone send them, some as token ids of cl100k_base."""
    folder = minilm(tmp_path / "m")
    options = ["-p", "onnx", "-m", str(folder), "--alias", "text-embedding-3-small"]
    with serving(*options) as (_, url), openai.OpenAI(base_url=url, api_key="none") as client:
        create = functools.partial(client.embeddings.create, model="text-embedding-3-small")
        text, several = create(input="a cat"), create(input=["x " * 100, "a cat"])
        ids = create(input=[[64, 8415]])  # "a cat"
        own, alias = [one.id for one in client.models.list().data][::2]
        with pytest.raises(openai.BadRequestError, match="another tokenizer"):
            client.embeddings.create(model=own, input=[[64, 8415]])
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.embeddings.create(model="text-embedding-3-large", input="a cat")
    assert (text.model, alias) == ("text-embedding-3-small", "text-embedding-3-small")
    vectors = [text.data[0].embedding, several.data[1].embedding, ids.data[0].embedding]
    assert len(vectors[0]) == 384
    assert vectors[0] == vectors[1] == vectors[2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-p", "onnx"], "-p onnx needs the model's folder"),
        (["-p", "onnx", "-m", "nowhere"], "there is no model folder nowhere"),
        (["-m", "folder"], "-m does not apply to the embedded model"),
        (["--prompt", "query"], "--prompt does not apply to the embedded model"),
        (["--alias", ""], "--alias takes the name of a model"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_listens(options, said):
    done = run("serve", "--port", "0", *options)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err.decode()


def test_any_name_reaches_the_embedded_model():
    """`--alias '*'`; the answer bears the name that was asked for."""
    with serving("--alias", "*") as (_, url), openai.OpenAI(base_url=url, api_key="x") as client:
        answer = client.embeddings.create(model="whatever-1", input="hi")
        assert answer.model == "whatever-1"
        assert [one.id for one in client.models.list().data] == ["static-minilm-256"]


CLIENTS = {
    "llm": """
import llm
model = llm.get_embedding_model("3-small")
vectors = list(model.embed_multi(["a cat", "a kitten"]))
""",
    "llama_index": """
from llama_index.embeddings.openai import OpenAIEmbedding
model = OpenAIEmbedding(model="text-embedding-3-small")
vectors = model.get_text_embedding_batch(["a cat", "a kitten"])
""",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_knows_openais_names_alone_works(client, tmp_path):
    """Each as its users write it, with the address and a key in the environment."""
    if importlib.util.find_spec(client) is None:
        pytest.skip(f"{client} is not installed")
    script = f"{CLIENTS[client]}\nimport json; print(json.dumps([list(v) for v in vectors]))"
    with serving("--alias", "text-embedding-3-small") as (_, url):
        settings = {"OPENAI_BASE_URL": url, "OPENAI_API_BASE": url, "OPENAI_API_KEY": "none"}
        environ = {**os.environ, **settings, "LLM_USER_PATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, env=environ, timeout=100
        )
    assert done.returncode == 0, done.stderr
    cat, kitten = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert len(cat) == 256
    assert 0.5 < cat @ kitten < 0.99
