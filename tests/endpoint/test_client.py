"""The client against a real server on loopback: every fault ends in right rows or a clear stop."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import openai
import orjson
import pytest
from tests.servers.loopback import Fault, Loopback, vectors_for

from tovec.endpoint import retry
from tovec.endpoint.address import Endpoint
from tovec.endpoint.client import Client
from tovec.endpoint.credentials import Secret
from tovec.endpoint.dialect import Known, cut
from tovec.endpoint.governor import Governor
from tovec.endpoint.http_transport import HttpxTransport
from tovec.endpoint.providers import Provider
from tovec.endpoint.refusal import TransportFailure
from tovec.endpoint.transport import Call, Reply
from tovec.errors import LaterError, PersonError, TovecError
from tovec.events import Event, Note, Retried, Sent, Split
from tovec.pipeline.dispatch import Dispatcher
from tovec.records import Answer, Limits, Request

DIMENSIONS = 32
TEXTS = [f"text {i:03d}" for i in range(96)]
TRUTH = vectors_for(TEXTS, DIMENSIONS)
KEY = "sk-canary-0123456789"


class Run:
    """What a client made of TEXTS: answers, events, and the client itself."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.events: list[Event] = []
        self.client: Client

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def check(self, refused: Sequence[int] = (), step: int = 8) -> None:
        """Every row that is not refused has its own vector, bit for bit."""
        missing = []
        for number, answer in enumerate(self.answers):
            start = number * step
            kept = range(step) if answer.kept is None else answer.kept
            assert np.array_equal(answer.vectors, TRUTH[[start + i for i in kept]])
            missing += [start + i for i, _ in answer.refused]
        assert sorted(missing) == sorted(refused)


def embed(
    server: Loopback,
    *,
    texts: Sequence[str] = TEXTS,
    step: int = 8,
    key: str | None = None,
    concurrency: int = 16,
    provider: dict[str, Any] | None = None,
    endpoint: dict[str, Any] | None = None,
    events: list[Event] | None = None,
    **more: Any,
) -> Run:
    run = Run()
    run.events = run.events if events is None else events
    known = Provider(name="loopback", base_url=server.base_url)._replace(**(provider or {}))
    where = Endpoint(known, f"{server.base_url}/embeddings", f"{server.base_url}/models", "m")
    where = where._replace(**(endpoint or {}))
    governor = Governor(concurrency=concurrency, randomness=lambda: 0.0)

    async def work() -> None:
        run.client = Client(
            where,
            HttpxTransport(where.url, concurrency=concurrency),
            governor,
            None if key is None else Secret(key),
            observer=run.events.append,
            **more,
        )
        dispatcher = Dispatcher(run.client, run.events.append)
        requests = [
            Request(list(texts[i : i + step]), 2 * len(texts[i : i + step]))
            for i in range(0, len(texts), step)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(dispatcher.embed(one)) for one in requests]
            run.answers = [task.result() for task in tasks]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            await run.client.close()

    asyncio.run(work())
    return run


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off for hundredths of what a user would see; the governor's tests use its own times."""
    real = Governor.backoff

    def backoff(self: Governor, attempt: int, **more: Any) -> float:
        return real(self, attempt, **more) / 100 if more.get("floor") is None else more["floor"]

    monkeypatch.setattr(Governor, "backoff", backoff)
    monkeypatch.setattr("tovec.endpoint.retry_budget.PROBE_SECONDS", (0.05,))
    monkeypatch.setattr(retry, "MIN_KEY_SECONDS", 0.05)


def serving(**more: Any) -> Loopback:
    return Loopback(dimensions=DIMENSIONS, **more)


@pytest.mark.parametrize("encoding", [None, "base64", "float"])
def test_each_row_gets_its_own_vector(encoding: str | None) -> None:
    with serving() as server:
        run = embed(server, endpoint={"encoding": encoding})
    run.check()
    assert server.ledger.paid_twice() == 0


def test_a_request_carries_what_was_chosen_and_nothing_else() -> None:
    with serving(key=KEY) as server:
        embed(
            server,
            texts=TEXTS[:2],
            key=KEY,
            endpoint={"dimensions": 16, "user": "u", "extra": {"input_type": "passage"}},
            provider={"dimensions_field": "output_dimension"},
        )
    [entry] = server.ledger.entries
    assert entry.body == (
        b'{"input":["text 000","text 001"],"model":"m","output_dimension":16,'
        b'"encoding_format":"base64","user":"u","input_type":"passage"}'
    )
    assert entry.headers["authorization"] == f"Bearer {KEY}"
    assert entry.headers["accept-encoding"] == "identity"
    assert entry.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", every=5),
        Fault("status", status=503, every=5, headers={"retry-after-ms": "10"}),
        Fault("status", status=504, at=[2, 3]),
        Fault("status", status=408, at=[2]),
        Fault("status", status=409, at=[2]),
        Fault("status", status=429, every=5, headers={"retry-after-ms": "10"}),
        Fault("status", status=400, at=[3], body={"error": {"message": "Rate limit reached"}}),
        Fault("reset", every=7),
        Fault("close", every=7),
        Fault("cut", every=7),
        Fault("cut", at=[2], byte=0),
        Fault("raw", at=[2], body=b'HTTP/1.1 200 OK\r\n\r\n{"data":['),
        Fault("raw", at=[2], body=b"nonsense\r\n\r\n"),
        Fault("gzip_cut", at=[2]),
        Fault("shuffle"),
        Fault("no_index"),
        Fault("short", at=[2]),
        Fault("extra", at=[2]),
        Fault("twice", at=[2]),
        Fault("some_index", at=[2]),
        Fault("nan", at=[2]),
        Fault("zero", at=[2]),
        Fault("ragged", at=[2]),
        Fault("dims", at=[9]),
        Fault("gzip"),
        Fault("no_usage"),
        Fault("body", at=[2], body={"error": {"message": "busy", "code": 503}}),
        Fault("body", at=[2], body={"data": None}),
        Fault("status", status=204, at=[2], body=b""),
        Fault("status", status=206, at=[2], body={"data": []}),
        Fault("status", status=299, at=[2]),
        Fault("status", status=425, at=[2]),
        Fault("status", status=520, at=[2], body=b"<html><title>Unknown error</title>"),
        Fault("status", status=529, every=5),
        Fault("status", status=600, at=[2]),
        Fault("status", status=999, at=[2]),
        Fault("chunked_cut", at=[2]),
        Fault("second", every=3),
        Fault("bye"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.every or fault.at}",
)
def test_a_passing_fault_costs_no_row_and_wrongs_none(fault: Fault) -> None:
    """#9 #10 #13 #15 #29 #30 #31 #32 #33 #34 #35 #37 #39 #40 #41 #54 #58 #64 #65 #68 #71 #72

    And #11 #14 #21 #26.
    """
    with serving(faults=[fault]) as server:
        embed(server).check()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=400, text="text 033"),
        Fault("status", status=422, text="text 033"),
        Fault("status", status=500, text="text 033"),
        Fault("close", text="text 033"),
        Fault("reset", text="text 033"),
        Fault("status", status=500, text="text 033", headers={"x-should-retry": "false"}),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
@pytest.mark.parametrize("concurrency", [1, 16])
def test_one_text_that_breaks_the_server_is_found_and_the_others_go_on(
    fault: Fault, concurrency: int
) -> None:
    """#59 #67 #69 #75 #76"""
    with serving(faults=[fault]) as server:
        run = embed(server, concurrency=concurrency)
    run.check(refused=[33])
    assert len(run.of(Split)) == 3  # 8, 4, 2
    assert len(server.ledger.entries) <= len(TEXTS) / 8 + 2 * 3 + 2 + 3 * 5


def test_two_bad_texts_in_one_request_are_both_found() -> None:
    """#59"""
    faults = [Fault("status", status=400, text=f"text {i}") for i in ("033", "038")]
    with serving(faults=faults) as server:
        run = embed(server)
    run.check(refused=[33, 38])
    assert all("HTTP 400" in why for answer in run.answers for _, why in answer.refused)


@pytest.mark.parametrize(
    ("limits", "learned"),
    [
        ({"items": 3}, Limits(items=3)),
        ({"tokens": 10}, Limits(tokens=10)),
        ({"body_bytes": 120}, None),
    ],
)
def test_a_limit_is_learned_from_a_refusal_and_kept(
    limits: dict[str, int], learned: Limits | None
) -> None:
    """#60 #66"""
    with serving(**limits) as server:
        run = embed(server)
    run.check()
    assert server.ledger.paid_twice() == 0
    if learned is not None:
        assert run.client.limits == learned
    refused = len(server.ledger.entries) - server.ledger.statuses[200]
    assert refused <= 12  # no request is sent that the learned limit forbids
    assert run.of(Note)


@pytest.mark.parametrize("base64_", ["refuse", "ignore"])
def test_an_endpoint_without_base64_is_asked_in_another_way(base64_: str) -> None:
    """#42 #67"""
    with serving(base64=base64_) as server:
        run = embed(server)
    run.check()
    assert server.ledger.statuses[400] <= 8  # those that left before the first refusal
    if base64_ == "refuse":
        last = orjson.loads(server.ledger.entries[-1].body)
        assert "encoding_format" not in last


def test_an_encoding_that_the_user_insists_on_is_not_given_up() -> None:
    with serving(base64="refuse") as server, pytest.raises(PersonError, match="encoding_format"):
        embed(server, endpoint={"encoding": "base64"})


def test_base64_of_float64_is_noticed_and_read_right() -> None:
    """#44"""
    with serving(faults=[Fault("float64")]) as server:
        run = embed(server)
    run.check()
    assert any("float64" in note.text for note in run.of(Note))


@pytest.mark.parametrize("resizes", ["ignore", "refuse"])
def test_dimensions_that_the_endpoint_does_not_do_are_cut_here_for_matryoshka(
    resizes: str,
) -> None:
    with serving(resizes=resizes) as server:
        run = embed(server, endpoint={"dimensions": 8}, known=Known(may_be_cut=True))
        with pytest.raises(PersonError, match="dimensions"):
            embed(server, endpoint={"dimensions": 8})
    made = np.concatenate([answer.vectors for answer in run.answers])
    assert np.array_equal(made, cut(TRUTH, 8))
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    assert len([note for note in run.of(Note) if "cuts 32 to 8" in note.text]) == 1


def test_a_model_with_fewer_dimensions_than_asked_is_an_error() -> None:
    with serving(resizes="ignore") as server, pytest.raises(PersonError, match="32 dimensions"):
        embed(server, endpoint={"dimensions": 64}, known=Known(may_be_cut=True))


def test_a_model_that_changes_in_mid_job_stops_it() -> None:
    """#46 #77"""
    with (
        serving(faults=[Fault("model", at=[6])]) as server,
        pytest.raises(PersonError, match="another-model"),
    ):
        embed(server, concurrency=1)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, None, "HTTP 401"),
        (402, {"error": {"type": "billing_error", "message": "no credit"}}, "no credit"),
        (403, None, "HTTP 403"),
        (404, None, "HTTP 404"),
        (405, b"", "HTTP 405"),
        (301, b"", "HTTP 301"),
        (307, b"", "HTTP 307"),
        (501, None, "HTTP 501"),
        (429, {"error": {"code": "insufficient_quota", "message": "quota"}}, "quota"),
    ],
)
def test_what_needs_a_person_is_asked_once_and_stops(status: int, body: Any, words: str) -> None:
    """#62 #63 #73 #74 #88"""
    fault = Fault("status", status=status, body=body, headers={"location": "http://127.0.0.1:1/"})
    with (
        serving(faults=[fault]) as server,
        pytest.raises(PersonError, match=words) as caught,
    ):
        embed(server, texts=TEXTS[:8])
    assert len(server.ledger.entries) == 1
    assert "req_00000001" in caught.value.what
    assert f"127.0.0.1:{server.port}" in caught.value.where


def test_a_key_refused_after_successes_gets_one_more_chance() -> None:
    """#62"""
    with serving(faults=[Fault("status", status=401, at=[5])]) as server:
        embed(server, concurrency=1).check()


def test_redirects_are_never_followed_with_key_or_text() -> None:
    """#57 #174"""
    with serving() as elsewhere:
        to = f"{elsewhere.base_url}/embeddings"
        for status in (301, 302, 303, 307, 308):
            fault = Fault("status", status=status, body=b"", headers={"location": to})
            with serving(faults=[fault]) as server, pytest.raises(PersonError):
                embed(server, key=KEY)
    assert elsewhere.ledger.connections == 0


def test_the_key_appears_nowhere_though_the_server_repeats_it() -> None:
    """#171"""
    shown: list[str] = []
    leak = {"error": {"message": f"bad {KEY}", "type": KEY, "code": KEY, "param": KEY}}
    coded = base64.b64encode(KEY.encode()).decode()
    for fault in (
        Fault("status", status=401, body=leak),
        Fault("status", status=400, body=leak),
        Fault("status", status=500, body=leak, headers={"x-request-id": KEY}),
        Fault("status", status=429, body=leak, headers={"retry-after": "9999"}),
        Fault("status", status=503, body=f"<title>{KEY} {coded}</title>".encode()),
        Fault("model", at=[6]),
    ):
        events: list[Event] = []
        with serving(faults=[fault]) as server:
            try:
                run = embed(server, texts=TEXTS[:64], key=KEY, concurrency=1, events=events)
                shown.append(repr([answer.refused for answer in run.answers]))
            except TovecError as error:
                shown += [error.what, error.where, error.hint, repr(error), str(error)]
        shown.append(repr(events))
    text = "\n".join(shown)
    assert "***" in text
    assert "canary" not in text
    assert coded not in text


def test_an_endpoint_that_is_not_there_is_tried_three_times() -> None:
    """#1"""
    with serving() as server:
        pass
    events: list[Event] = []
    with pytest.raises(LaterError, match="cannot be reached"):
        embed(server, texts=TEXTS[:1], events=events)
    assert [one.attempt for one in events if isinstance(one, Sent)] == [1, 2, 3]
    assert not any(one.maybe_paid for one in events if isinstance(one, Retried))


@pytest.mark.parametrize("concurrency", [1, 2, 16])
def test_an_outage_in_mid_job_loses_no_row(concurrency: int) -> None:
    """#2 #71"""
    # Longer than the attempts of any one request, in two kinds that look like a poisonous text.
    faults = [Fault("reset", at=range(5, 21)), Fault("status", status=503, at=range(21, 30))]
    with serving(faults=faults) as server:
        run = embed(server, concurrency=concurrency)
    run.check()
    assert not any(answer.refused for answer in run.answers)
    assert {one.cause for one in run.of(Retried)} >= {"reset"}


def test_a_server_that_trickles_is_cut_off_at_the_deadline() -> None:
    """#17"""
    with serving(faults=[Fault("trickle", at=[1], seconds=0.05)]) as server:
        run = embed(server, texts=TEXTS[:8], timeout=0.4)
    assert [(one.cause, one.maybe_paid) for one in run.of(Retried)] == [("timeout", True)]
    run.check()


def test_a_server_that_never_answers_ends_in_run_again_later() -> None:
    """#16"""
    with serving(faults=[Fault("hang")]) as server, pytest.raises(LaterError, match="4 tries"):
        embed(server, texts=TEXTS[:1], timeout=0.1)
    assert len(server.ledger.entries) == 4


@pytest.mark.parametrize("kind", ["bomb", "br"])
def test_an_answer_no_endpoint_gives_is_given_up_after_two(kind: str) -> None:
    """#53"""
    with (
        serving(faults=[Fault(kind)]) as server,
        pytest.raises(PersonError, match="no usable answer"),
    ):
        embed(server, texts=TEXTS[:1])
    assert len(server.ledger.entries) == 2


def test_an_html_page_under_200_is_a_wrong_address_not_a_bad_day() -> None:
    """#25"""
    fault = Fault("body", body=b"<html><title>Log in</title></html>")
    with serving(faults=[fault]) as server, pytest.raises(PersonError, match="HTML"):
        embed(server, texts=TEXTS[:1])


def test_a_wait_longer_than_ten_minutes_is_not_waited_for() -> None:
    """#82 #83 #90"""
    for fault in (
        Fault("status", status=429, headers={"retry-after": "86400"}),
        Fault("status", status=429, body={"error": {"message": "try again in 7h"}}),
    ):
        with serving(faults=[fault]) as server, pytest.raises(LaterError, match="until 2"):
            embed(server, texts=TEXTS[:1])
        assert len(server.ledger.entries) == 1


def test_no_retries_means_none() -> None:
    with serving(faults=[Fault("status")]) as server, pytest.raises(LaterError, match="fault 500"):
        embed(server, texts=TEXTS[:1], max_retries=0)
    assert len(server.ledger.entries) == 1


def test_settings_that_no_input_can_meet_stop_before_all_inputs_are_refused() -> None:
    """#59"""
    with (
        serving(faults=[Fault("status", status=400)]) as server,
        pytest.raises(PersonError, match="accepts nothing that was sent"),
    ):
        embed(server)
    # Those refused alone are the first few, and what was under way beside them.
    assert sum(entry.items == 1 for entry in server.ledger.entries) < len(TEXTS) / 2


def test_requests_never_exceed_the_concurrency() -> None:
    with serving(latency=0.02) as server:
        embed(server, step=1, concurrency=5)
    assert server.ledger.most_under_way == 5


def test_rate_limits_are_learned_from_headers_without_a_refusal() -> None:
    with serving(rpm=600, tpm=1_000_000) as server:
        embed(server, step=1)
    assert server.ledger.statuses == {200: 96}


def test_models_are_listed() -> None:
    with serving() as server:
        run = embed(server, texts=TEXTS[:1])

        async def listed() -> list[dict[str, Any]]:
            transport = HttpxTransport(server.base_url, concurrency=1)
            client = Client(run.client.endpoint, transport, Governor())
            try:
                return await client.models()
            finally:
                await client.close()

        found = asyncio.run(listed())
    assert [one["id"] for one in found] == ["text-embedding-3-small"]


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_the_official_package_and_this_client_get_the_same_vectors(encoding: str) -> None:
    with serving() as server:
        run = embed(server, texts=TEXTS[:8], endpoint={"encoding": encoding})
        other = openai.OpenAI(api_key="x", base_url=server.base_url, max_retries=0)
        with other:
            found = other.embeddings.create(
                input=TEXTS[:8],
                model="m",
                encoding_format=encoding,  # type: ignore[arg-type]
            )
        bodies = [orjson.loads(entry.body) for entry in server.ledger.entries]
    rows = [one.embedding for one in found.data]
    if encoding == "base64":
        theirs = np.stack([np.frombuffer(base64.b64decode(row), "<f4") for row in rows])  # type: ignore[arg-type]
    else:
        theirs = np.array(rows, np.float32)
    assert np.array_equal(run.answers[0].vectors, theirs)
    assert bodies[0] == bodies[1]


class InProcess:
    """A transport that answers at once, as the embedded model does."""

    async def send(self, call: Call) -> Reply:
        asked = orjson.loads(call.body)["input"]
        if any("broken" in one for one in asked):
            return Reply(400, {}, b'{"error":{"message":"no"}}')
        data = [{"index": i, "embedding": [1.0, float(i)]} for i in range(len(asked))]
        return Reply(200, {}, orjson.dumps({"data": data, "model": "m"}))

    async def close(self) -> None:
        raise TransportFailure("fatal", "x", "never called")


def test_an_in_process_request_never_suspends_even_when_it_is_split() -> None:
    provider = Provider(name="local", base_url="http://127.0.0.1", in_process=True)
    events: list[Event] = []
    client = Client(
        Endpoint(provider, "http://127.0.0.1/v1/embeddings", None, "m"),
        InProcess(),
        Governor(),
        observer=events.append,
    )
    work = Dispatcher(client, events.append).embed(Request(["a", "b", "broken", "d"], 4))
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    answer: Answer = ended.value.value
    assert answer.kept == (0, 1, 3)
    assert [i for i, _ in answer.refused] == [2]
    assert isinstance(events[0], Sent)


def test_no_event_loop_and_no_http_library_is_imported_for_an_in_process_client() -> None:
    import subprocess

    code = (
        "import sys, tovec.endpoint.client, tovec.endpoint.governor\n"
        "print([m for m in ('asyncio', 'httpx', 'httpcore', 'ssl') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_input_that_is_too_long_is_refused_alone() -> None:
    """#61"""
    texts = [*TEXTS[:20], "x" * 200, *TEXTS[21:24]]
    with serving(item_tokens=20) as server:
        run = embed(server, texts=texts)
    refused = [(n, i) for n, answer in enumerate(run.answers) for i, _ in answer.refused]
    assert refused == [(2, 4)]
    assert "maximum input length" in run.answers[2].refused[0][1]


def test_an_input_larger_than_a_minutes_tokens_is_refused_and_not_waited_for() -> None:
    """#91: the limit is learned from headers; no request could ever hold it."""
    texts = [*TEXTS[:20], "x" * 4_000, *TEXTS[21:24]]
    with serving(tpm=500) as server:
        run = Run()
        known = Provider(name="loopback", base_url=server.base_url)
        where = Endpoint(known, f"{server.base_url}/embeddings", None, "m")

        async def work() -> None:
            client = Client(where, HttpxTransport(where.url, concurrency=1), Governor())
            dispatcher = Dispatcher(client, run.events.append)
            for i in range(0, 24, 8):
                part = texts[i : i + 8]
                tokens = sum(-(-len(text) // 4) for text in part)
                run.answers.append(await dispatcher.embed(Request(part, tokens)))
            await client.close()

        asyncio.run(work())
    assert [i for i, _ in run.answers[2].refused] == [4]
    assert "more than the limit per minute" in run.answers[2].refused[0][1]
    assert server.ledger.statuses == {200: 5}  # two whole ones; halves without the large one


def test_a_429_about_size_is_met_with_smaller_requests_and_no_pause() -> None:
    """#91"""
    words = "Request too large for m on tokens per min (TPM): Limit 10, Requested 16."
    fault = Fault("status", status=429, over=4, body={"error": {"message": words}})
    with serving(faults=[fault]) as server:
        run = embed(server)
    run.check()
    assert run.client.limits.tokens == 10
    assert server.ledger.statuses[429] <= 8  # those that left before the first refusal
    assert not run.of(Retried)


def test_an_answer_that_differs_on_a_second_attempt_is_taken_whole() -> None:
    """#78: never a mixture of two answers."""
    faults = [Fault("cut", at=[1], byte=400), Fault("noise")]
    with serving(faults=faults) as server:
        run = embed(server, texts=TEXTS[:8])
    assert np.array_equal(run.answers[0].vectors, TRUTH[:8] + np.float32(1e-6))
    assert len(run.answers) == 1


def test_what_may_have_been_paid_twice_is_said_with_its_tokens() -> None:
    faults = [
        Fault("reset", at=[2]),
        Fault("status", status=503, at=[3]),
        Fault("status", status=500, text="text 033"),
    ]
    with serving(faults=faults) as server:
        run = embed(server, concurrency=1)
    retried = [(one.cause, one.maybe_paid, one.tokens) for one in run.of(Retried)]
    assert ("503", False, 16) in retried
    assert any(maybe and tokens == 16 for _, maybe, tokens in retried)
    assert all(split.maybe_paid and split.tokens for split in run.of(Split))


def test_dimensions_that_change_for_good_end_the_run() -> None:
    """#207: two answers that agree with each other against those before; a person must look."""
    with (
        serving(faults=[Fault("dims", at=range(4, 99))]) as server,
        pytest.raises(PersonError) as caught,
    ):
        embed(server, concurrency=1)
    assert "dimensions, earlier with 32" in caught.value.what
    assert len(server.ledger.entries) <= 5 + 1


@pytest.mark.parametrize("known", [16, 64])
def test_a_known_model_has_its_dimensions_or_is_refused(known: int) -> None:
    """#208: float16 read as float32 has half of them; the vectors would look plausible."""
    with serving() as server, pytest.raises(PersonError, match=f"m has {known} dimensions"):
        embed(server, known=Known(known))
    with serving() as server:
        embed(server, known=Known(known, may_be_cut=True), endpoint={"dimensions": 16})
        embed(server, known=Known(DIMENSIONS)).check()
        run = embed(server, known=Known(known, is_sure=False))
    assert len([note for note in run.of(Note) if f"m has {known} dimensions" in note.text]) == 1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_length_that_no_model_gives_is_said_once(scale: float) -> None:
    """#208: what is read in the wrong number format has components of absurd size."""
    vectors = [{"index": i, "embedding": (TRUTH[i] * scale).tolist()} for i in range(8)]
    body = orjson.dumps({"data": vectors, "model": "m"})
    with serving(faults=[Fault("body", body=body)]) as server:
        run = embed(server)
    assert len([note for note in run.of(Note) if "number format" in note.text]) == 1


def test_a_503_with_retry_after_is_a_rate_limit() -> None:
    """#209: halving a request would not help, and costs requests."""
    busy = Fault("status", status=503, headers={"retry-after": "0.01"}, at=[2, 3, 4, 5, 6, 7])
    with serving(faults=[busy]) as server:
        run = embed(server, concurrency=1)
    run.check()
    assert not run.of(Split)


def test_throttling_without_limits_suggests_rpm() -> None:
    """A limit that no header states cannot be learned well; the user may know it."""
    busy = Fault("status", status=429, at=[2, 3, 4, 5])
    with serving(faults=[busy]) as server:
        run = embed(server, concurrency=1)
    run.check()
    assert len([note for note in run.of(Note) if "--rpm" in note.text]) == 1


def test_a_field_that_is_refused_is_not_an_input() -> None:
    """One row and a field of every request: the row is not to blame."""
    refusal = b'{"error":{"message":"Unrecognized request argument supplied: input_type"}}'
    with (
        serving(faults=[Fault("status", status=400, body=refusal)]) as server,
        pytest.raises(PersonError, match="input_type"),
    ):
        embed(server, texts=TEXTS[:1], endpoint={"extra": {"input_type": "passage"}})
