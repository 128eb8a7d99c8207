"""The API documents as tests: each provider end to end, and where each statement is shown."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from tests.servers.documents import document_server
from tests.servers.loopback import vectors_for
from tovec.endpoint import wire

HERE = Path(__file__).parent
KEYS = {
    "openai": "OPENAI_API_KEY",
    "aimlapi": "AIMLAPI_API_KEY",
    "aivene": "AIVENE_API_KEY",
    "nugen": "NUGEN_API_KEY",
}
TEXTS = ["The quick brown fox", "jumps over the lazy dog"]


@pytest.fixture
def against(tovec, tmp_path):
    """Run `tovec embed` with a provider's address laid over by a loopback one."""

    def run(provider, url, *arguments):
        config = tmp_path / "config.toml"
        config.write_text(f'[providers.{provider}]\nbase_url = "{url}"\n')
        env = {KEYS[provider]: "sk-test"}
        return tovec("embed", "--config", config, "-p", provider, *arguments, env=env)

    return run


def vectors(done) -> np.ndarray:
    assert done.returncode == 0, done.stderr
    return np.array([json.loads(line)["embedding"] for line in done.stdout.splitlines()], "f4")


@pytest.mark.parametrize("provider", KEYS)
def test_each_provider_works_end_to_end_as_its_document_says(against, provider):
    with document_server(provider) as (url, asked):
        found = vectors(against(provider, url, *TEXTS))
    assert np.array_equal(found, vectors_for(TEXTS, 96))
    (request,) = asked
    assert request["body"]["input"] == TEXTS
    assert request["headers"]["authorization"] == "Bearer sk-test"
    assert request["headers"]["content-type"] == "application/json"
    assert None not in request["body"].values()


@pytest.mark.parametrize("provider", KEYS)
def test_dimensions_are_asked_for_by_the_documented_name(against, provider):
    with document_server(provider) as (url, asked):
        found = vectors(against(provider, url, "-d", 32, "-m", "text-embedding-3-large", *TEXTS))
    assert found.shape == (2, 32)
    assert asked[0]["body"]["dimensions"] == 32
    assert asked[0]["body"]["model"] == "text-embedding-3-large"


@pytest.mark.parametrize(
    ("provider", "encoding"), [("openai", "base64"), ("aivene", "base64"), ("nugen", None)]
)
def test_base64_is_asked_for_where_it_is_documented(against, provider, encoding):
    with document_server(provider) as (url, asked):
        vectors(against(provider, url, *TEXTS))
    assert asked[0]["body"].get("encoding_format") == encoding


@pytest.mark.parametrize("provider", ["openai", "aimlapi", "aivene"])
def test_a_user_is_passed_on(against, provider):
    with document_server(provider) as (url, asked):
        vectors(against(provider, url, "--user", "u-1", *TEXTS))
    assert asked[0]["body"]["user"] == "u-1"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, "authentication_error", 5),
        (402, "billing_error", 5),
        (403, "permission_error", 5),
    ],
)
def test_aivenes_errors_for_a_person_end_at_once(against, status, kind, code):
    error = {"error": {"type": kind, "message": "said by the document"}}
    with document_server("aivene", errors=[(status, {}, error)]) as (url, asked):
        done = against("aivene", url, *TEXTS)
    assert (done.returncode, len(asked)) == (code, 1)
    assert b"said by the document" in done.stderr
    assert kind.encode() in done.stderr


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, "rate_limit_error"),
        (500, "internal_server_error"),
        (502, "upstream_error"),
        (503, "upstream_error"),
    ],
)
def test_aivenes_passing_errors_are_tried_again(against, status, kind):
    error = {"error": {"type": kind, "message": "later"}}
    headers = {"retry-after": "0"} if status == 429 else {}
    with document_server("aivene", errors=[(status, headers, error)]) as (url, asked):
        found = vectors(against("aivene", url, *TEXTS))
    assert np.array_equal(found, vectors_for(TEXTS, 96))
    assert len(asked) == 2


def test_aivenes_schema_violation_names_the_field(against):
    error = {"error": {"type": "invalid_request_error", "message": "dimensions is wrong"}}
    with document_server("aivene", errors=[(400, {}, error)] * 8) as (url, _):
        done = against("aivene", url, "-m", "unknown", "-d", 7, *TEXTS)
    assert done.returncode == 5
    assert b"dimensions is wrong" in done.stderr


def test_nugens_validation_error_is_worded_from_its_detail(against):
    detail = {"detail": [{"loc": ["body", "dimensions"], "msg": "not allowed", "type": "value"}]}
    with document_server("nugen", errors=[(422, {}, detail)] * 8) as (url, _):
        done = against("nugen", url, "-d", 7, *TEXTS)
    assert done.returncode == 5
    assert b"body.dimensions: not allowed" in done.stderr


def test_the_example_answer_of_004_is_parsed_as_a_real_answer_is():
    raw = (HERE / "seeds" / "004_answer.json").read_bytes()
    found = wire.decode(raw, 1)
    assert found.vectors.shape == (1, 1536)
    assert found.vectors[0, 0] == np.float32(-0.011468903161585331)
    assert found.vectors[0, -1] == np.float32(-0.005090594291687012)
    assert (found.model, found.usage.prompt_tokens) == ("text-embedding-3-small", 5)


# Where each statement of each document is shown -------------------------------------------------

E2E = "test_seeds.py::test_each_provider_works_end_to_end_as_its_document_says"
DIMENSIONS = "test_seeds.py::test_dimensions_are_asked_for_by_the_documented_name"
ENDPOINT = "local/test_responder.py"
STATEMENTS = {
    "000 AI/ML API: POST https://api.aimlapi.com/v1/embeddings with a bearer key": E2E,
    "000 answer: object list, data[].index and embedding, model, usage": E2E,
    "000 1536 dimensions, 3072 for -large": "cli/test_models.py::"
    "test_models_are_listed_with_prices_and_pages",
    "000 fewer dimensions by the dimensions parameter": DIMENSIONS,
    "000 pages per dollar, MTEB, max input tokens": "cli/test_models.py::"
    "test_models_are_listed_with_prices_and_pages",
    "001 input: string, string[], number[], number[][]": ENDPOINT,
    "001 at most 8192 tokens an input": "cli/test_embed.py::"
    "test_a_text_over_the_models_limit_is_named",
    "001 no empty string": "cli/test_embed.py::test_an_empty_text_is_left_out_counted_and_exit_3",
    "001 at most 2048 items, 300,000 tokens summed": "pipeline/test_packing.py::"
    "test_no_request_exceeds_a_limit_unless_one_input_does_alone",
    "001 encoding_format float or base64": "cli/test_serve.py::"
    "test_openai_and_tovec_get_the_same_vectors_bit_for_bit",
    "001 user": "test_seeds.py::test_a_user_is_passed_on",
    "001 custom model strings": "cli/test_embed.py::"
    "test_further_fields_and_the_users_own_provider_reach_the_endpoint",
    "002 Aivene: arrays of token ids, safety_identifier": ENDPOINT,
    "002 base64 is a Float32Array": "test_seeds.py::"
    "test_base64_is_asked_for_where_it_is_documented",
    "002 errors 401, 402, 403": "test_seeds.py::test_aivenes_errors_for_a_person_end_at_once",
    "002 errors 429, 500, 502, 503": "test_seeds.py::test_aivenes_passing_errors_are_tried_again",
    "002 error 400 names the field": "test_seeds.py::test_aivenes_schema_violation_names_the_field",
    "003 Nugen: route, id, object embedding, created, total_tokens": E2E,
    "003 dimensions only with Matryoshka models": "test_seeds.py::"
    "test_nugens_validation_error_is_worded_from_its_detail",
    "004 the example answer, 1536 floats, meta.usage.credits_used": "test_seeds.py::"
    "test_the_example_answer_of_004_is_parsed_as_a_real_answer_is",
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_of_the_documents_names_a_test_that_exists(statement):
    file, _, name = STATEMENTS[statement].partition("::")
    tree = ast.parse((HERE / file).read_text())
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name:
        assert name in tests
    else:  # a file whose tests name the seed they show
        assert f"seed {statement[:3]}" in (HERE / file).read_text()
