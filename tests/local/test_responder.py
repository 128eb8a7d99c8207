"""The embedded model's endpoint keeps to the documents: parameters, limits, answers, errors.

"seed 001" to "seed 003" name the API document whose statement a test shows.
"""

import base64
import re

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tovec.local import request_body, responder
from tovec.local.embedded import LONGEST_TOKEN
from tovec.local.model import DIMENSIONS, MODEL_ID, StaticModel, normalise_text
from tovec.text import tokens

JSON = {"content-type": "application/json"}
MODEL = StaticModel.load()
DOG = "The quick brown fox jumps over the lazy dog"


def post(path=responder.EMBEDDINGS, headers=JSON, key=None, **fields):
    """Post fields (model filled in) and give the reply; `model=...` (Ellipsis) leaves one out."""
    fields = {"model": MODEL_ID, "input": "hello", **fields}
    body = orjson.dumps({name: value for name, value in fields.items() if value is not ...})
    return responder.answer("POST", path, headers, body, key=key)


def answered(**fields):
    reply = post(**fields)
    assert reply.status == 200, reply.body
    return orjson.loads(reply.body)


def vectors(**fields):
    return np.array([item["embedding"] for item in answered(**fields)["data"]], np.float32)


def expected(*texts, dimensions=DIMENSIONS):
    return MODEL.embed(tokens.encode_batch([normalise_text(text) for text in texts]), dimensions)


def error(reply):
    assert set(orjson.loads(reply.body)) == {"error"}
    said = orjson.loads(reply.body)["error"]
    assert set(said) == {"message", "type", "param", "code"}
    assert isinstance(said["message"], str)
    return reply.status, said["type"], said["param"], said["code"]


# Answers ------------------------------------------------------------------------------------------


def test_an_answer_has_the_documented_fields_and_no_others():
    """seeds 001 and 002: object, data (object, index, embedding), model, usage."""
    answer = answered(input=DOG)
    assert set(answer) == {"object", "data", "model", "usage"}
    assert (answer["object"], answer["model"]) == ("list", MODEL_ID)
    assert [set(item) for item in answer["data"]] == [{"object", "index", "embedding"}]
    assert answer["data"][0]["object"] == "embedding"
    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


def test_nugens_route_answers_in_nugens_shape():
    """seed 003: id, object "embedding", data, model, created in Unix seconds, only total_tokens."""
    answer = answered(path=responder.NUGEN, input=[DOG, "second"])
    assert set(answer) == {"id", "object", "data", "model", "created", "usage"}
    assert answer["id"].startswith("embed-")
    assert answer["object"] == "embedding"
    assert isinstance(answer["created"], float)
    assert answer["created"] > responder.MODEL_CREATED
    assert answer["usage"] == {"total_tokens": 10}
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert np.array_equal(vectors(path=responder.NUGEN), vectors())


def test_several_texts_come_back_in_their_order():
    """seed 001: input string[]; index is the position in the input array."""
    texts = ["First document to embed", "Second document to embed", "Third document to embed"]
    answer = answered(input=texts)
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert np.array_equal(vectors(input=texts), expected(*texts))


@settings(deadline=None)  # the first example loads the tokenizer
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.integers(1, DIMENSIONS))
def test_float_and_base64_carry_the_same_float32_bits(texts, dimensions):
    """seed 001: dimensions; encoding_format float or base64."""
    fields = {"input": texts, "dimensions": dimensions}
    packed = answered(encoding_format="base64", **fields)["data"]
    raw = b"".join(base64.b64decode(item["embedding"], validate=True) for item in packed)
    matrix = np.frombuffer(raw, "<f4").reshape(len(texts), dimensions)
    assert np.array_equal(matrix, vectors(encoding_format="float", **fields))
    assert np.array_equal(matrix, expected(*texts, dimensions=dimensions))


@settings(deadline=None)  # the first example loads the tokenizer
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_token_arrays_get_the_vectors_and_the_usage_of_the_texts_they_stand_for(texts):
    """seed 001: input number[][]."""
    ids = tokens.encode_batch(texts)
    assert np.array_equal(vectors(input=ids), vectors(input=texts))
    usage = answered(input=ids)["usage"]
    assert usage == answered(input=texts)["usage"]
    assert usage["prompt_tokens"] == sum(tokens.count_batch(texts))


def test_one_array_of_token_ids_is_one_input():
    """seed 001: input number[]."""
    assert np.array_equal(vectors(input=tokens.encode(DOG)), vectors(input=DOG))
    assert vectors(input=[5]).shape == (1, DIMENSIONS)


def test_usage_counts_the_text_as_given_not_as_the_model_reads_it():
    text = "  SHOUTING   and SPACES "
    assert answered(input=text)["usage"]["prompt_tokens"] == tokens.count(text)
    assert tokens.count(text) != tokens.count(normalise_text(text))


def test_special_token_strings_are_plain_text():
    assert answered(input="<|endoftext|>")["usage"]["prompt_tokens"] > 1


@pytest.mark.parametrize("name", ["dimensions", "encoding_format", "user", "safety_identifier"])
def test_an_optional_field_that_is_null_counts_as_absent(name):
    assert np.array_equal(vectors(**{name: None}), expected("hello"))


def test_the_default_is_float_and_all_dimensions():
    """seeds 001 and 002: encoding_format, default float."""
    assert np.array_equal(vectors(), vectors(encoding_format="float", dimensions=DIMENSIONS))


def test_a_whole_number_may_be_written_with_a_point():
    """seed 001 calls dimensions and token ids numbers, and JSON's 5.0 is the number 5."""
    assert vectors(dimensions=5.0).shape == (1, 5)
    assert np.array_equal(vectors(input=[15339.0, 1917]), vectors(input=[15339, 1917]))


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
def test_an_end_user_may_be_named_either_way(name):
    """seed 002: safety_identifier is accepted as an alias of user."""
    assert np.array_equal(vectors(**{name: "user-1"}), vectors())


def test_models_are_listed_and_described():
    """seed 002: model ids come from GET /v1/models."""
    listed = orjson.loads(responder.answer("GET", "/v1/models", {}, b"").body)
    assert listed["object"] == "list"
    assert [set(m) for m in listed["data"]] == [{"id", "object", "created", "owned_by"}]
    one = responder.answer("GET", f"/v1/models/{MODEL_ID}", {}, b"")
    assert orjson.loads(one.body) == listed["data"][0]
    assert orjson.loads(one.body)["id"] == MODEL_ID


def test_every_answer_has_its_own_request_id():
    replies = [post(), post(), post(model="x"), responder.answer("GET", "/nowhere", {}, b"")]
    ids = {reply.headers["x-request-id"] for reply in replies}
    assert len(ids) == 4
    assert all(re.fullmatch("req_[0-9a-f]{32}", one) for one in ids)


# Limits, at and over the edge ---------------------------------------------------------------------

LONG = [15339] * request_body.MAX_ITEM_TOKENS


def test_2048_inputs_are_answered_and_one_more_is_refused():
    """seed 001: any array must be 2048 or less; seed 002: batches of up to 2,048 inputs."""
    assert len(answered(input=["a"] * 2048, dimensions=1)["data"]) == 2048
    for one in ("a", [5]):
        reply = post(input=[one] * 2049)
        assert error(reply) == (400, "invalid_request_error", "input", "array_above_max_length")


def test_8192_tokens_are_answered_and_one_more_is_refused():
    """seed 001: 8192 tokens for all embedding models. It is the number of tokens that counts."""
    text = "hello" + " hello" * 8191
    for at, over in ((text, text + " hello"), (LONG, [*LONG, 1]), ([LONG], [[*LONG, 1]])):
        assert answered(input=at)["usage"]["prompt_tokens"] == 8192
        status, kind, _param, code = error(post(input=over))
        assert (status, kind, code) == (400, "invalid_request_error", "context_length_exceeded")
    assert error(post(input=["short", text + " hello"]))[2] == "input[1]"


def test_a_text_that_must_be_too_long_is_refused_without_counting_it(monkeypatch):
    monkeypatch.delattr(tokens, "count_batch")
    reply = post(input=" " * (8192 * 128 + 1))
    assert error(reply)[3] == "context_length_exceeded"


def test_no_token_is_longer_than_the_shortcut_believes():
    assert max(map(len, tokens._ranks())) == LONGEST_TOKEN


def test_300000_tokens_are_answered_and_one_more_is_refused():
    """seed 001: at most 300,000 tokens summed across all inputs of a request."""
    most = [LONG[:5000]] * 60
    assert answered(input=most, dimensions=1)["usage"]["total_tokens"] == 300_000
    reply = post(input=[*most, [1]])
    assert error(reply) == (400, "invalid_request_error", "input", "max_tokens_per_request")


def test_dimensions_are_1_to_256():
    """seeds 001 to 003: dimensions."""
    assert vectors(dimensions=1).shape == (1, 1)
    assert vectors(dimensions=256).shape == (1, 256)
    for wrong, code in ((0, "below_min"), (-1, "below_min"), (257, "above_max")):
        expected_code = f"integer_{code}_value"
        reply = post(dimensions=wrong)
        assert error(reply) == (400, "invalid_request_error", "dimensions", expected_code)


def test_a_body_over_the_cap_is_413():
    body = b'{"input":"' + b"a" * responder.MAX_BODY + b'"}'
    reply = responder.answer("POST", responder.EMBEDDINGS, JSON, body)
    assert error(reply) == (413, "invalid_request_error", None, "payload_too_large")


# Errors -------------------------------------------------------------------------------------------

REFUSED = {
    "no model": ({"model": ...}, 400, "model", "missing_required_parameter"),
    "a null model": ({"model": None}, 400, "model", "invalid_type"),
    "an unknown model": ({"model": "text-embedding-3-small"}, 404, "model", "model_not_found"),
    "no input": ({"input": ...}, 400, "input", "missing_required_parameter"),
    "a null input": ({"input": None}, 400, "input", "invalid_type"),
    "a number": ({"input": 5}, 400, "input", "invalid_type"),
    "an object": ({"input": {"text": "a"}}, 400, "input", "invalid_type"),
    "an empty string": ({"input": ""}, 400, "input", "empty_string"),
    "an empty string among others": ({"input": ["a", ""]}, 400, "input[1]", "empty_string"),
    "an empty array": ({"input": []}, 400, "input", "empty_array"),
    "an empty array among others": ({"input": [[1], []]}, 400, "input[1]", "empty_array"),
    "strings and ids": ({"input": ["a", 1]}, 400, "input", "invalid_type"),
    "strings and arrays": ({"input": ["a", [1]]}, 400, "input", "invalid_type"),
    "a null among strings": ({"input": ["a", None]}, 400, "input", "invalid_type"),
    "arrays of strings": ({"input": [["a"]]}, 400, "input", "invalid_type"),
    "true as an id": ({"input": [True]}, 400, "input", "invalid_type"),
    "true among ids": ({"input": [[1, True]]}, 400, "input", "invalid_type"),
    "half an id": ({"input": [1.5]}, 400, "input", "invalid_type"),
    "a negative id": ({"input": [-1]}, 400, "input", "invalid_token"),
    "an id too high": ({"input": [[1], [100_256]]}, 400, "input[1]", "invalid_token"),
    "dimensions as text": ({"dimensions": "64"}, 400, "dimensions", "invalid_type"),
    "dimensions true": ({"dimensions": True}, 400, "dimensions", "invalid_type"),
    "half a dimension": ({"dimensions": 1.5}, 400, "dimensions", "invalid_type"),
    "hex": ({"encoding_format": "hex"}, 400, "encoding_format", "invalid_value"),
    "no name of a format": ({"encoding_format": ["float"]}, 400, "encoding_format", None),
    "a user of a wrong type": ({"user": 5}, 400, "user", "invalid_type"),
    "an alias of a wrong type": (
        {"safety_identifier": {}},
        400,
        "safety_identifier",
        "invalid_type",
    ),
    "a mistyped field": ({"dimension": 64}, 400, "dimension", "unknown_parameter"),
}


@pytest.mark.parametrize(("fields", "status", "param", "code"), REFUSED.values(), ids=REFUSED)
def test_what_the_api_refuses_gets_its_error_object(fields, status, param, code):
    """seed 002: errors have type and message, 400 is a schema violation that names the field."""
    reply = post(**fields)
    assert error(reply)[:3] == (status, "invalid_request_error", param)
    assert code is None or error(reply)[3] == code
    assert param.partition("[")[0] in orjson.loads(reply.body)["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"input": "\\ud800"}', b"NaN", b"[" * 5000])
def test_a_body_that_is_not_json_is_refused(body):
    reply = responder.answer("POST", responder.EMBEDDINGS, JSON, body)
    assert error(reply) == (400, "invalid_request_error", None, "invalid_json")


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"null", b"5"])
def test_a_body_that_is_not_an_object_is_refused(body):
    reply = responder.answer("POST", responder.EMBEDDINGS, JSON, body)
    assert error(reply) == (400, "invalid_request_error", None, "invalid_type")


@pytest.mark.parametrize("content", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_415(content):
    """seed 002: Content-Type must be application/json."""
    reply = post(headers={} if content is None else {"content-type": content})
    assert error(reply) == (415, "invalid_request_error", None, "unsupported_media_type")


def test_a_charset_beside_the_content_type_is_no_matter():
    assert post(headers={"content-type": "Application/JSON; charset=utf-8"}).status == 200


def test_a_compressed_body_is_415():
    reply = post(headers={**JSON, "content-encoding": "gzip"})
    assert error(reply) == (415, "invalid_request_error", None, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/", "/embeddings", "/v1/modelsx", "/v2/a"])
def test_an_unknown_path_is_404(path):
    for method in ("GET", "POST"):
        reply = responder.answer(method, path, JSON, b"{}")
        assert error(reply) == (404, "invalid_request_error", None, "unknown_url")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/embeddings", "POST"),
        ("DELETE", "/v1/embeddings", "POST"),
        ("HEAD", "/v1/embeddings", "POST"),
        ("HEAD", "/v1/embeddings/", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", f"/v1/models/{MODEL_ID}", "GET"),
    ],
)
def test_another_method_is_405_and_says_which_is_allowed(method, path, allowed):
    reply = responder.answer(method, path, JSON, b"{}")
    assert error(reply) == (405, "invalid_request_error", None, "method_not_allowed")
    assert reply.headers["allow"] == allowed
    said = orjson.loads(reply.body)["error"]["message"]
    assert said.startswith(f"Not allowed to {method} on {path.rstrip('/')}: use {allowed}")


def test_an_unknown_model_is_404_where_models_are_described():
    reply = responder.answer("GET", "/v1/models/gpt-x", {}, b"")
    assert error(reply) == (404, "invalid_request_error", "model", "model_not_found")


@pytest.mark.parametrize("path", [responder.NUGEN, responder.NUGEN + "/"])
def test_errors_on_nugens_route_have_fastapis_shape(path):
    """Nugen's server is built with FastAPI: `detail`, a list under 422, otherwise a sentence."""
    reply = post(path=path, input="")
    assert reply.status == 422
    (problem,) = orjson.loads(reply.body)["detail"]
    assert (problem["loc"], problem["type"]) == (["body", "input"], "empty_string")
    reply = post(path=path, model="other")
    assert reply.status == 404
    assert MODEL_ID in orjson.loads(reply.body)["detail"]


KEY = "sk-local-é-1"  # a key is compared as bytes: one that is not ASCII must not crash


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", f"Basic {KEY}", "Bearer wrong", KEY]
)
@pytest.mark.parametrize("path", [responder.EMBEDDINGS, "/v1/models", f"/v1/models/{MODEL_ID}"])
def test_a_missing_or_wrong_key_is_401_and_is_not_repeated(given, path):
    """seed 002: 401 authentication_error, missing or invalid API key."""
    headers = JSON if given is None else {**JSON, "authorization": given}
    method = "POST" if path == responder.EMBEDDINGS else "GET"
    reply = responder.answer(method, path, headers, b"{}", key=KEY)
    assert error(reply) == (401, "authentication_error", None, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert b"wrong" not in reply.body
    assert KEY.encode() not in reply.body


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_right_key_is_let_in(scheme):
    """seeds 002 and 003: Authorization: Bearer <token>."""
    assert post(headers={**JSON, "authorization": f"{scheme} {KEY}"}, key=KEY).status == 200


def test_a_key_is_not_asked_for_unless_the_server_has_one():
    assert post(headers={**JSON, "authorization": "Bearer anything"}).status == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
fields = st.sampled_from(sorted(request_body.FIELDS))


@settings(deadline=None)
@given(st.dictionaries(fields, json_values, max_size=6), st.booleans())
def test_whatever_the_fields_hold_there_is_an_answer_or_an_error_object(values, sane):
    """No JSON value anywhere is worth a crash."""
    import json

    values = {**values, "model": MODEL_ID} if sane else values
    body = json.dumps(values).encode()
    reply = responder.answer("POST", responder.EMBEDDINGS, JSON, body)
    assert reply.status in (200, 400, 404)
    assert ("error" in orjson.loads(reply.body)) == (reply.status != 200)
