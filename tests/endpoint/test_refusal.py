"""Every row of the retry table, for every shape in which an endpoint says no."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tovec.endpoint.refusal import Action, Refusal, classify, hint
from tovec.endpoint.transport import Reply


def refusal(status: int, body: Any = "", **headers: str) -> Refusal:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(Reply(status, named, raw))


def said(message: str = "", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    ("status", "action", "attempts", "then"),
    [
        *[(s, Action.PERSON, 1, None) for s in (301, 302, 307, 308, 402, 404, 405, 407, 410)],
        *[(s, Action.PERSON, 1, None) for s in (415, 451, 501, 505, 511)],
        *[(s, Action.RETRY, 2, Action.PERSON) for s in (401, 403, 525, 526, 530)],
        (400, Action.ISOLATE, 1, None),
        (422, Action.ISOLATE, 1, None),
        (408, Action.RETRY, 4, Action.LATER),
        (409, Action.RETRY, 3, Action.LATER),
        (413, Action.SMALLER, 1, None),
        (424, Action.RETRY, 2, Action.ISOLATE),
        (425, Action.RETRY, 4, Action.LATER),
        (429, Action.THROTTLE, 1, None),
        *[(s, Action.RETRY, 5, Action.LATER) for s in (500, 507, 599, 600, 999)],
        *[(s, Action.RETRY, 8, Action.LATER) for s in (502, 503, 520, 521, 522, 523, 529)],
        *[(s, Action.RETRY, 4, Action.LATER) for s in (504, 524)],
    ],
)
def test_a_status_means_what_the_table_says(
    status: int, action: Action, attempts: int, then: Action | None
) -> None:
    """#57 #58 #59 #62 #63 #64 #65 #66 #67 #68 #71 #72 #73 #74"""
    rule = refusal(status, said("no")).rule
    assert (rule.action, rule.attempts) == (action, attempts)
    assert then is None or rule.then is then


def test_what_may_have_been_paid_is_said_so() -> None:
    paid = {s for s in range(400, 600) if refusal(s).rule.maybe_paid}
    assert {408, 500, 504, 524} <= paid
    assert not paid & {401, 409, 425, 429, 502, 503, 520, 529}


@pytest.mark.parametrize(
    ("status", "body", "action"),
    [
        # Money: never waited for.
        *[
            (429, said("x", code=code), Action.PERSON)
            for code in (
                "insufficient_quota",
                "billing_hard_limit_reached",
                "credit_balance_exhausted",
                "organization_spend_limit_exceeded",
                "project_spend_limit_exceeded",
                "organization_usage_limit_exceeded",
            )
        ],
        (429, said("x", type="insufficient_quota"), Action.PERSON),
        (429, said("Budget has been exceeded! Current cost: 1"), Action.PERSON),
        (402, said("Out of credit", type="billing_error"), Action.PERSON),
        # Too fast.
        (429, said("slow", code="rate_limit_exceeded"), Action.THROTTLE),
        (429, {"message": "Model is overloaded", "type": "overloaded"}, Action.THROTTLE),
        (429, said("x", code="429"), Action.THROTTLE),
        (400, said("Rate limit exceeded for free tier"), Action.THROTTLE),
        (404, said("too many requests on the free plan"), Action.THROTTLE),
        # Too much at once.
        (429, said("Request too large for m on TPM: Limit 1,000, Requested 2,000."),
         Action.SMALLER),
        (429, said("Request too large for m on TPM: Limit 2000, Requested 1000."),
         Action.THROTTLE),
        (400, said("Requested 310000 tokens, max 300000 tokens per request",
                   code="max_tokens_per_request"), Action.SMALLER),
        (400, said("batch size is invalid, it should not be larger than 10"), Action.SMALLER),
        (422, {"message": "batch size 60 > maximum allowed batch size 32", "code": 422},
         Action.SMALLER),
        (400, {"message": "Too many inputs in request, split into more batches."},
         Action.SMALLER),
        (400, said("Invalid 'input': array too long. Expected an array with maximum length 2048"),
         Action.SMALLER),
        # One input.
        (400, said("Invalid 'input[0]': maximum input length is 8192 tokens."), Action.ISOLATE),
        (400, said("'$.input' is invalid. Please check the API reference."), Action.ISOLATE),
        (500, said("input is too large to process. increase the physical batch size"),
         Action.ISOLATE),
        (500, said("json: unsupported value: NaN"), Action.ISOLATE),
        # The settings.
        (400, said("no such model", code="model_not_found"), Action.PERSON),
        (400, said("no", param="model"), Action.PERSON),
        (404, said("The model does not exist", code="model_not_found"), Action.PERSON),
    ],
)  # fmt: skip
def test_the_words_decide_where_the_status_is_not_enough(
    status: int, body: object, action: Action
) -> None:
    """#60 #61 #63 #88 #89 #91"""
    assert refusal(status, body).rule.action is action


@pytest.mark.parametrize(
    ("body", "message", "code", "kind", "param"),
    [
        (said("m", type="t", param="p", code="c"), "m", "c", "t", "p"),
        ({"error": {"type": "t", "message": "m"}}, "m", "", "t", ""),  # Aivene
        ({"detail": [{"loc": ["body", "input"], "msg": "m", "type": "t"}]},
         "body.input: m", "", "t", "body.input"),  # Nugen
        ({"detail": "Not Found"}, "Not Found", "", "", ""),
        ({"message": "m", "code": 424, "type": "t"}, "m", "424", "t", ""),  # TEI
        ({"object": "error", "message": "m", "type": "t", "param": None, "code": 400},
         "m", "400", "t", ""),  # vLLM
        ({"code": 20015, "message": "m", "data": None}, "m", "20015", "", ""),  # SiliconFlow
        ({"error": "m"}, "m", "", "", ""),
        ("m", "m", "", "", ""),
        (["m"], '["m"]', "", "", ""),
        (b"", "", "", "", ""),
        (b"upstream connect error", "upstream connect error", "", "", ""),
        (b"<html><head><title>502 Bad Gateway</title>", "an HTML page: 502 Bad Gateway", "",
         "", ""),
        ({"error": {"message": ["m"]}}, '{"error":{"message":["m"]}}', "", "", ""),
        ({"error": None}, '{"error":null}', "", "", ""),
    ],
)  # fmt: skip
def test_each_endpoints_error_shape_is_understood(
    body: Any, message: str, code: str, kind: str, param: str
) -> None:
    """#36"""
    found = refusal(400, body)
    assert (found.message, found.code, found.kind, found.param) == (message, code, kind, param)


PRISM = {
    "type": "https://stoplight.io/prism/errors#UNPROCESSABLE_ENTITY", "title": "Invalid request",
    "status": 422, "detail": "Your request is not valid.",
    "validation": [{"location": ["body", "encoding_format"], "severity": "Error", "code": "enum",
                    "message": "must be equal to one of the allowed values: float"}],
}  # fmt: skip
RFC_9457 = {"title": "Bad body", "errors": [{"detail": "must be a string", "pointer": "#/model"}]}
ASP_NET = {"title": "One or more validation errors.", "errors": {"model": ["unknown"]}}


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (PRISM, "Your request is not valid. (body.encoding_format: must be equal to one of the "
         "allowed values: float)", "body.encoding_format"),
        (RFC_9457, "Bad body (model: must be a string)", "model"),
        (ASP_NET, "One or more validation errors. (model: unknown)", "model"),
        ({"type": "about:blank", "title": "Forbidden"}, "Forbidden", ""),
        ({"title": "T", "detail": "D"}, "D", ""),
        ({"message": "M", "errors": ["x"]}, "M", ""),
        ({"message": "M", "errors": []}, "M", ""),
    ],
)  # fmt: skip
def test_the_problem_that_a_gateway_found_is_shown(
    body: dict[str, Any], message: str, param: str
) -> None:
    """#199: Prism's `validation`, the `errors` of RFC 9457 and of ASP.NET."""
    found = refusal(422, body)
    assert (found.message, found.param, found.kind) == (message, param, "")


def test_a_refused_encoding_names_the_option() -> None:
    """#199"""
    assert "--encoding-format float" in hint(refusal(422, PRISM))
    assert "--encoding-format float" in hint(refusal(400, said("base64 is not supported")))
    assert "--encoding-format" not in hint(refusal(422, RFC_9457))
    assert "--encoding-format" not in hint(refusal(422, PRISM), encoding="float")


def test_an_error_under_200_is_not_told_as_another_status() -> None:
    """#35: what it means decides, what came is told."""
    found = refusal(200, said("no credit", code="insufficient_quota", type="insufficient_quota"))
    assert str(found) == "an error with HTTP 200, insufficient_quota: no credit"
    assert found.rule.action is Action.PERSON


@pytest.mark.parametrize(
    ("location", "said_of_it"),
    [
        ("https://Other.example:8443/x?key=canary", "a redirect to https://other.example:8443"),
        ("http://me:canary@other.example/", "a redirect to http://other.example"),
        ("//other.example/x?canary", "a redirect to other.example"),
        ("/v2/embeddings?canary", "a redirect to another path of this server"),
        ("https://h:canary/", "a redirect to an address that cannot be read"),
    ],
)
def test_a_redirect_names_the_server_that_it_leads_to(location: str, said_of_it: str) -> None:
    """#57: and nothing more of the address, which may hold a secret."""
    found = refusal(308, b"<html>moved</html>", location=location)
    assert found.message == said_of_it
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    "words",
    [
        "Client sent an HTTP request to an HTTPS server.",
        "<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>",
    ],
)
def test_plain_http_to_a_port_of_tls_is_told_to_use_https(words: str) -> None:
    """#7: as Go's servers and nginx say it."""
    assert "use https://" in hint(refusal(400, words.encode()))


def test_a_huge_error_is_shortened() -> None:
    """#36 #184"""
    for body in (said("x" * 10_000_000), b"x" * 10_000_000, ["x" * 10_000_000]):
        assert len(refusal(500, body).message) <= 512


def test_an_error_names_status_type_message_and_request() -> None:
    found = refusal(400, said("no", type="invalid_request_error"), x_request_id="req_1")
    assert str(found) == "HTTP 400, invalid_request_error: no (request req_1)"


def test_the_endpoint_may_say_itself_whether_trying_again_helps() -> None:
    """#75"""
    assert refusal(500, said("x"), x_should_retry="false").rule.action is Action.ISOLATE
    assert refusal(525, said("x"), x_should_retry="false").rule.action is Action.PERSON
    again = refusal(400, said("x"), x_should_retry="true").rule
    assert (again.action, again.attempts, again.then) == (Action.RETRY, 2, Action.ISOLATE)
    assert refusal(402, said("x"), x_should_retry="true").rule.action is Action.PERSON


@pytest.mark.parametrize(
    ("status", "word"), [(404, "/v1"), (401, "key"), (402, "credit"), (301, "redirect"),
                         (407, "proxy")]
)  # fmt: skip
def test_a_stop_says_what_to_do_next(status: int, word: str) -> None:
    assert word in hint(refusal(status, said("x")))


@pytest.mark.parametrize(
    ("status", "body", "blames"),
    [
        (400, said("Invalid 'input[0]': maximum input length is 8192 tokens."), True),
        (400, said("This model's maximum context length is 8192 tokens, however you"), True),
        (400, said("no", code="string_above_max_length"), True),
        (400, said("no", param="input[3]"), True),
        (422, {"detail": [{"loc": ["body", "input", 0], "msg": "no", "type": "x"}]}, True),
        (413, {"error": "Input validation error: `inputs` must have less than 512"}, True),
        (500, said("unsupported value: NaN"), True),
        (400, said("Bad Request"), False),
        (422, {"detail": "Unprocessable Entity"}, False),
        (422, said("Extra inputs are not permitted"), False),
        (
            422,
            {"detail": [{"loc": ["body", "priority"], "msg": "Extra inputs", "type": "x"}]},
            False,
        ),
        (400, b"", False),
    ],
)
def test_a_refusal_blames_an_input_or_may_be_about_every_request(
    status: int, body: Any, blames: bool
) -> None:
    """#266"""
    assert refusal(status, body).blames_input == blames


def test_failures_that_differ_only_in_numbers_are_equal() -> None:
    assert refusal(500, said("at 17:31")).fingerprint == refusal(500, said("at 17:32")).fingerprint
    assert refusal(500, said("a")).fingerprint != refusal(500, said("b")).fingerprint
