"""`tovec models`: what is known, and what the endpoint says."""

import json

from tests.servers.loopback import Loopback


def test_models_are_listed_with_prices_and_pages(tovec):
    rows = json.loads(tovec("models", "--format", "json").stdout)
    small = next(row for row in rows if row["id"] == "text-embedding-3-small")
    assert (small["dimensions"], small["input"], small["pages_per_dollar"]) == (1536, 8192, 62500)
    assert rows[0]["id"] == "static-minilm-256"


def test_one_model_is_shown_and_a_typo_gets_a_suggestion(tovec):
    (row,) = json.loads(tovec("models", "static-minilm-256", "--format", "json").stdout)
    assert row["dimensions"] == 256
    done = tovec("models", "static-minilm-265")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"did you mean static-minilm-256?" in done.stderr


def test_tsv_has_a_header_and_a_line_for_each_row(tovec):
    lines = tovec("models", "--format", "tsv").stdout.decode().splitlines()
    assert lines[0].split("\t")[:2] == ["id", "dimensions"]
    assert all(line.count("\t") == lines[0].count("\t") for line in lines)


def test_providers_say_whether_their_key_is_set_and_never_its_value(tovec):
    done = tovec("models", "--providers", "--format", "json", env={"AIVENE_API_KEY": "sk-canary"})
    rows = {row["provider"]: row for row in json.loads(done.stdout)}
    assert rows["aivene"]["set"] is True and rows["openai"]["set"] is False
    assert rows["local"]["set"] is None
    assert b"sk-canary" not in done.stdout + done.stderr


def test_remote_adds_the_endpoints_own_models(tovec):
    with Loopback(model="served-here") as server:
        done = tovec("models", "--remote", "--base-url", server.base_url, "--format", "json")
    assert "served-here" in [row["id"] for row in json.loads(done.stdout)]


def test_a_models_list_that_is_not_there_is_exit_4(tovec):
    done = tovec("models", "--remote", "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) <= 3
