"""`/v1/files` and `/v1/batches` of `tovec serve`, driven by the official client over a socket."""

import contextlib
import threading
import time

import httpx
import numpy as np
import openai
import orjson
import pytest
import uvicorn

from tovec.local import responder, server
from tovec.local.batch_jobs import BatchQueue
from tovec.local.batch_routes import BatchApi

KEY = "sk-of-this-test"
ENDED = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture(scope="module")
def url():
    """Serve in a thread; the socket is real."""
    with server._listening_socket("127.0.0.1", 0) as listener:
        one = uvicorn.Server(uvicorn.Config(server.create_app(KEY), log_config=None))
        thread = threading.Thread(target=one.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        one.should_exit = True
        thread.join()


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as one:
        yield one


def line(name, **body):
    body = {"model": "static-minilm-256", "input": f"text {name}", **body}
    return {"custom_id": name, "method": "POST", "url": "/v1/embeddings", "body": body}


def upload(client, lines, name="rows.jsonl", **more):
    data = b"".join(orjson.dumps(one) + b"\n" for one in lines)
    return client.files.create(file=(name, data), purpose="batch", **more)


def create(client, lines, window="24h", **more):
    file = upload(client, lines)
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window=window, **more
    )


def ended(client, batch):
    while batch.status not in ENDED:
        time.sleep(0.01)
        batch = client.batches.retrieve(batch.id)
    return batch


def test_a_batch_gives_the_vectors_of_single_requests(client):
    """The same model answers; a line that fails is in the error file, and the rest is not lost."""
    lines = [line(f"n{i}", dimensions=8) for i in range(20)] + [line("bad", dimensions=0)]
    batch = ended(client, create(client, lines, metadata={"job": "x"}))
    assert (batch.status, batch.metadata) == ("completed", {"job": "x"})
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (21, 20, 1)
    output = client.files.content(batch.output_file_id).text
    found = {one["custom_id"]: one["response"]["body"] for one in map(orjson.loads, output.split())}
    alone = client.embeddings.create(
        model="static-minilm-256", input=[one["body"]["input"] for one in lines[:20]], dimensions=8
    )
    for i, item in enumerate(alone.data):
        vector = np.float32(found[f"n{i}"]["data"][0]["embedding"])
        np.testing.assert_array_equal(vector, np.float32(item.embedding))
    failed = orjson.loads(client.files.content(batch.error_file_id).content)
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("bad", 400)
    assert batch.in_progress_at <= batch.finalizing_at <= batch.completed_at


def test_files_are_listed_described_and_deleted(client):
    """Page by page, as the official client's iterator walks them."""
    named = [upload(client, [line("a")], f"list-{i}.jsonl").id for i in range(5)]
    pages = [one.id for one in client.files.list(purpose="batch", limit=2)]
    assert [one for one in pages if one in named] == named[::-1]
    file = client.files.retrieve(named[0])
    assert (file.filename, file.purpose, file.bytes) == (
        "list-0.jsonl", "batch", len(client.files.content(file.id).content),
    )  # fmt: skip
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_batches_are_listed_newest_first_page_by_page(client):
    made = [create(client, [line("a")]).id for _ in range(3)]
    listed = [one.id for one in client.batches.list(limit=2)]
    assert [one for one in listed if one in made] == made[::-1]


def test_a_file_is_bytes_for_bytes_what_was_uploaded(client):
    """A form's boundary, its line ends and empty content must not leak into the file."""
    for data in (b"\r\n--x\r\n\r\n", b"", bytes(range(256)) * 5000):
        file = client.files.create(file=("a.jsonl", data), purpose="batch")
        assert client.files.content(file.id).content == data


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "empty_file"),
        ([line("a"), line("a")], "duplicate_custom_id"),
        ([line("a"), line("b", model="other")], "mismatched_model"),
        ([{**line("a"), "url": "/v1/chat/completions"}], "mismatched_endpoint"),
        ([{"custom_id": "a"}], "mismatched_endpoint"),
        (["not an object"], "invalid_json_line"),
        ([line(f"n{i}", input=["x"] * 2048) for i in range(25)], "too_many_tasks"),
    ],
)
def test_a_file_that_cannot_be_meant_fails_in_validation(client, lines, code):
    batch = ended(client, create(client, lines))
    assert batch.status == "failed"
    assert batch.errors.data[0].code == code
    assert batch.output_file_id is None


def test_errors_have_the_shape_that_the_client_raises(client, url):
    file = upload(client, [line("a")])
    bad = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    for change in (
        {"endpoint": "/v1/chat/completions"},
        {"completion_window": "48h"},
        {"metadata": {"a": "b" * 513}},
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.batches.create(**{**bad, **change})
        assert caught.value.param == next(iter(change))
    with pytest.raises(openai.NotFoundError):
        client.batches.create(**{**bad, "input_file_id": "file-none"})
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("a.txt", b"x"), purpose="batch")
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("a.jsonl", b"x"), purpose="fine-tune")
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(ended(client, create(client, [line("a")])).id)
    with (
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        other.files.list()
    headers = {"authorization": f"Bearer {KEY}"}
    assert httpx.put(f"{url}/files", headers=headers).headers["allow"] == "GET, POST"
    assert httpx.get(f"{url}/batches/x/y", headers=headers).status_code == 404
    torn = {**headers, "content-type": "multipart/form-data; boundary=b"}
    assert httpx.post(f"{url}/files", headers=torn, content=b"--b\r\nx").status_code == 400


def test_files_expire_when_their_time_is_over():
    """The clock is the test's: an hour later the file is gone, from disk too."""
    now = [1000.0]
    with contextlib.closing(BatchApi(clock=lambda: now[0])) as api:
        path = api.shelf.new_output()
        path.write_bytes(b"x")
        file = api.shelf.add(path, "a.jsonl", "batch", 3600)
        now[0] += 3601
        assert api.shelf.list({})["data"] == []
        assert api.answer("GET", f"/v1/files/{file.id}", {}, {}, None).status == 404
        assert not path.exists()


class Stepping(BatchQueue):
    """Does to a batch what the test says, before the line of a number."""

    act = staticmethod(lambda _queue, _batch: None)
    at = 4

    def must_stop(self, batch, number):
        if number == self.at:
            self.act(self, batch)
        return super().must_stop(batch, number)


def through(act, lines=10):
    """Return the batch object and the lines of its two files, after `act` before line 4."""
    now = [1000.0]
    stepping = type("Now", (Stepping,), {"act": staticmethod(lambda *one: act(now, *one))})
    with contextlib.closing(BatchApi(clock=lambda: now[0], queue=stepping)) as api:
        path = api.shelf.new_output()
        path.write_bytes(b"".join(orjson.dumps(line(f"n{i}")) + b"\n" for i in range(lines)))
        file = api.shelf.add(path, "a.jsonl", "batch")
        fields = {"input_file_id": file.id, "endpoint": responder.EMBEDDINGS}
        batch = api.queue.create({**fields, "completion_window": "2s"})["id"]
        while api.queue.find(batch).status not in ENDED:
            time.sleep(0.005)
        found = api.queue.find(batch).described()
        ids = (found["output_file_id"], found["error_file_id"])
        return found, [
            []
            if one is None
            else list(map(orjson.loads, api.shelf.find(one).path.read_bytes().splitlines()))
            for one in ids
        ]


def test_what_an_expired_batch_has_done_is_there_and_the_rest_is_named():
    def act(now, _queue, _batch):
        now[0] += 3

    batch, (output, errors) = through(act)
    assert (batch["status"], len(output), len(errors)) == ("expired", 4, 6)
    assert {one["error"]["code"] for one in errors} == {"batch_expired"}


def test_what_a_cancelled_batch_has_done_is_there():
    batch, (output, errors) = through(lambda _now, queue, one: queue.cancel(one.id))
    assert (batch["status"], len(output), errors) == ("cancelled", 4, [])
    assert batch["cancelling_at"] and batch["cancelled_at"]
