"""What is said on stderr: three lines for an error, more with -v, the wire with -vv."""

import json

import pytest

from tests.servers.documents import document_server
from tests.servers.loopback import Fault, Loopback

KEY = "sk-canary-0123456789"
TEXT = "a text that nobody else may read"


def test_an_error_of_the_endpoint_says_what_where_and_what_to_do(tovec):
    error = {"error": {"message": "no such key", "type": "invalid_request_error"}}
    errors = [(401, {"x-request-id": "req-77"}, error)] * 3
    with document_server("openai", errors=errors) as (url, _):
        done = tovec("embed", "--base-url", url, "-m", "m", TEXT, env={"TOVEC_API_KEY": KEY})
    what, where, hint = done.stderr.decode().splitlines()
    assert done.returncode == 5
    assert "HTTP 401" in what and "no such key" in what and "req-77" in what
    assert where.strip() == f"at {url}/embeddings"
    assert "check the key" in hint


def test_v_tells_each_failed_attempt_and_plain_runs_do_not(tovec):
    said = {}
    for option in ("-q", "-v"):
        faults = [Fault("status", status=500, times=2, headers={"x-request-id": "req-500"})]
        with Loopback(faults=faults) as server:
            done = tovec("embed", option, "--base-url", server.base_url, "-m", "m", TEXT)
        assert done.returncode == 0
        said[option] = done.stderr.decode()
    assert said["-q"] == ""
    assert "attempt 1 failed" in said["-v"] and "attempt 2 failed" in said["-v"]
    assert "HTTP 500" in said["-v"] and "req-500" in said["-v"]


def test_vv_tells_the_wire_without_key_and_text(tovec):
    with Loopback() as server:
        arguments = ("embed", "-vv", "--base-url", server.base_url, "-m", "m", TEXT)
        done = tovec(*arguments, env={"TOVEC_API_KEY": KEY})
    said = done.stderr.decode()
    assert done.returncode == 0
    assert "sent 1 input, " in said and "attempt 1" in said
    assert "answer to 1 input, " in said and "request " in said
    assert KEY not in said and TEXT not in said


def test_json_messages_are_one_object_a_line_with_the_same_facts(tovec):
    """#189"""
    done = tovec("--log-format", "json", "embed", "-p", "opnai", "x")
    (said,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (said["level"], said["code"], said["name"]) == ("error", 2, "UsageError")
    assert "did you mean openai?" in said["hint"]


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("static-minilm-265", "did you mean static-minilm-256?"),
        ("zebra", "leave -m out: there is only one embedded model"),
    ],
)
def test_a_model_that_the_endpoint_does_not_have_is_answered_with_the_nearest(tovec, model, hint):
    done = tovec("embed", "-p", "local", "-m", model, TEXT)
    assert done.returncode == 5
    assert hint in done.stderr.decode().splitlines()[-1]


def test_a_missing_column_is_answered_with_the_nearest(tovec, jsonl):
    path = jsonl([{"text": "one", "title": "t"}])
    done = tovec("embed", "-p", "local", "-f", path, "--columns", "titel")
    assert done.returncode == 6
    assert b"did you mean title?" in done.stderr


def test_a_missing_text_field_is_answered_with_those_that_there_are(tovec, jsonl):
    """#157"""
    path = jsonl([{"body": "one", "title": "t"}])
    done = tovec("embed", "-p", "local", "-f", path, "--text-field", "bdy")
    assert done.returncode == 6
    assert b"the row has: body, title" in done.stderr
