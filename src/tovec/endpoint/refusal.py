"""What a call can come to besides a good answer, and what is to be done about it.

    TransportFailure    no answer: nothing was sent, or it is not known whether it was worked on
    BadAnswer           an answer under status 200 that must not be believed
    Refusal             an answer that says no; `action` is what the retry policy makes of it

Source: the retry table of the reliability notes, section (c), and the error shapes that the
endpoints document (OpenAI's error object, Aivene's, FastAPI's detail, TEI's and vLLM's flat ones).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import orjson

from tovec.endpoint.address import PORTS, origin
from tovec.endpoint.transport import Reply

SNIPPET = 512  # characters of a server's words that are passed on

FailureKind = Literal["not_sent", "stale", "ambiguous", "foreign", "fatal"]
"""How far a call came that brought no answer.

"not_sent" (surely unpaid), "stale" (an idle connection had been closed: try a new one),
"ambiguous" (may have been worked on and billed), "foreign" (an answer that no endpoint gives:
beyond its cap, or in an encoding nobody asked for), "fatal" (a retry cannot help).
"""


class TransportFailure(Exception):  # noqa: N818 - it is not an error of the program
    """No answer came. `cause` is a fixed short word, `detail` for a user, `hint` the next step."""

    def __init__(self, kind: FailureKind, cause: str, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.cause = cause
        self.detail = detail
        self.hint = hint


class BadAnswer(Exception):  # noqa: N818 - the same
    """An answer under status 200 that cannot be right: it is never turned into vectors.

    `foreign`: it does not come from an endpoint at all, such as a proxy's login page. `shape`: it
    does not have the form of an embeddings response, whatever the inputs.
    """

    def __init__(self, what: str, *, foreign: bool = False, shape: bool = False) -> None:
        super().__init__(what)
        self.foreign = foreign
        self.shape = shape


class Action(StrEnum):
    """What the policy does with a refusal."""

    RETRY = "retry"  # send it again, `Rule.attempts` times in all
    THROTTLE = "throttle"  # all requests wait; not counted as an attempt
    SMALLER = "smaller"  # too much in one request: halve it, remember the limit
    ISOLATE = "isolate"  # some input is not accepted: halve until it is found
    PERSON = "person"  # key, permission, billing, address, model
    LATER = "later"  # only as what comes after the last attempt


class Rule(NamedTuple):
    """One row of the retry table: what to do, how often in all, and then what."""

    action: Action
    attempts: int = 1
    then: Action = Action.LATER
    maybe_paid: bool = False


class Refusal(NamedTuple):
    """An endpoint's no, whatever its shape."""

    status: int
    rule: Rule
    message: str
    code: str = ""
    kind: str = ""  # the endpoint's own error type
    param: str = ""
    request_id: str = ""
    hidden: bool = False  # whether it came under status 200; `status` is then what it means
    in_process: bool = False  # whether it came from a model in this process, without HTTP

    def __str__(self) -> str:
        if self.in_process and self.message:
            return self.message
        said = "an error with HTTP 200" if self.hidden else f"HTTP {self.status}"
        said += f", {self.kind}" if self.kind else ""
        said += f": {self.message}" if self.message else ""
        return said + (f" (request {self.request_id})" if self.request_id else "")

    @property
    def fingerprint(self) -> tuple[int, str, str]:
        """What two equal failures have in common: digits differ from one to the next."""
        return self.status, self.code, without_digits(self.message)

    @property
    def blames_input(self) -> bool:
        """Whether an input is the reason; if not, it may be about every request."""
        words = self.param or f"{self.code} {self.message}"
        return self.status >= 500 or bool(_INPUT.search(words.replace("_", " ")))


def without_digits(words: str) -> str:
    """Return what is alike in the words of two equal failures."""
    return re.sub(r"\d", "", words)[:80]


AMBIGUOUS = Rule(Action.RETRY, 4, maybe_paid=True)
BAD_ANSWER = Rule(Action.RETRY, 2, Action.ISOLATE, maybe_paid=True)
FOREIGN = Rule(Action.RETRY, 2, Action.PERSON, maybe_paid=True)

_PERSON, _ISOLATE, _SMALLER = Rule(Action.PERSON), Rule(Action.ISOLATE), Rule(Action.SMALLER)
THROTTLE = Rule(Action.THROTTLE)
_UNAVAILABLE = Rule(Action.RETRY, 8)
_BROKEN = Rule(Action.RETRY, 5, maybe_paid=True)
_ORIGIN_TLS = Rule(Action.RETRY, 2, Action.PERSON)
_RULES = {
    **dict.fromkeys((501, 505, 511), _PERSON),
    **dict.fromkeys((502, 503, 520, 521, 522, 523, 529), _UNAVAILABLE),
    **dict.fromkeys((408, 504, 524), AMBIGUOUS),
    **dict.fromkeys((525, 526, 530), _ORIGIN_TLS),
    400: _ISOLATE,
    401: Rule(Action.RETRY, 2, Action.PERSON),  # a new key takes seconds to be known everywhere;
    403: Rule(Action.RETRY, 2, Action.PERSON),  # the client does not retry these before a success
    409: Rule(Action.RETRY, 3),
    413: _SMALLER,
    422: _ISOLATE,
    424: Rule(Action.RETRY, 2, Action.ISOLATE),
    425: Rule(Action.RETRY, 4),
    429: THROTTLE,
}
_BILLING = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "budget_exceeded",
}
_BUDGET = re.compile(r"budget has been exceeded|exceeded your current quota", re.I)
_THROTTLED = re.compile(r"rate.?limit|too many requests|throttl", re.I)
_OVER_LIMIT = re.compile(
    r"request too large.*?limit\D*([\d,]+).*?requested\D*([\d,]+)", re.I | re.S
)
_TOO_LARGE = re.compile(
    r"per request|batch.?size|not be larger than|too many inputs|array too long|input' is too long"
    r"|max(imum)? ?(allowed )?(batch|number of inputs)|at most \d+ (inputs|items|texts)"
    r"|max_tokens_per_request|payload too large|body too large|split into more batches",
    re.I,
)
# Answers of 500 that the same input will always meet: it is too long, or its vector is not finite.
_INPUT_FAULT = re.compile(r"too large to process|physical batch|unsupported value: NaN", re.I)
_INPUT = re.compile(  # "Extra inputs are not permitted" is said of fields
    r"(?<!extra )\b(inputs?|texts?|tokens?|strings?|characters?|sequences?|sentences?|documents?"
    r"|prompts?|contents?|length|long|longer|empty)\b",
    re.I,
)
_TO_TLS = re.compile(r"\bhttps (port|server)|plain http request", re.I)
_ENCODING = re.compile(r"encoding.?format|embedding.?type|base64", re.I)
_MODEL_CODES = {"model_not_found", "invalid_model", "unsupported_model"}
_HINTED = {
    401: "check the key; `tovec models --providers` names the variable each provider reads",
    402: "the account has no credit or has reached a spending limit",
    403: "the key lacks a permission that this endpoint asks for",
    404: "check the model's name, and whether the base URL should end in /v1",
    405: "check the address: this path does not accept POST",
    407: "the proxy asks for credentials: see HTTPS_PROXY",
}


def classify(reply: Reply) -> Refusal:
    """Classify a reply that carries no embeddings; an error object may come with status 200."""
    hidden = reply.status == 200
    reply = _with_status(reply)
    said = _error_fields(reply.body)
    refusal = Refusal(
        reply.status,
        _PERSON,
        _redirect(reply) or _text(said.get("message")) or _snippet(reply),
        _text(said.get("code")),
        "" if ":" in (kind := _text(said.get("type"))) else kind,  # problem+json's is an address
        _text(said.get("param")),
        request_id(reply.headers),
        hidden,
    )
    rule = _rule(refusal)
    # The endpoint knows best whether trying again helps, but for money and for being too fast.
    match reply.headers.get("x-should-retry", "").strip().lower():
        case "false" if rule.action is Action.RETRY:
            rule = _PERSON if rule.then is Action.PERSON else _ISOLATE
        case "true" if rule.action in (Action.ISOLATE, Action.PERSON) and not billing(refusal):
            rule = Rule(Action.RETRY, 2, rule.action)
    return refusal._replace(rule=rule)


def _with_status(reply: Reply) -> Reply:
    """Return the reply, one under 200 with the status that its error means (fault 35)."""
    if reply.status != 200:
        return reply
    found = re.search(rb'"(?:code|status)"\s*:\s*"?([45]\d\d)\b', reply.body[:4096])
    return reply._replace(status=int(found[1]) if found else 500)


def _redirect(reply: Reply) -> str:
    """Return where a redirect leads: the server only, since the rest may hold a secret."""
    target = reply.headers.get("location", "")
    if not 300 <= reply.status < 400 or not target:
        return ""
    try:
        parts = urlsplit(target)
        absolute = parts.scheme in PORTS and bool(parts.hostname)
        server = str(origin(target)) if absolute else parts.hostname
    except ValueError:
        return "a redirect to an address that cannot be read"
    return f"a redirect to {server}" if server else "a redirect to another path of this server"


def hint(
    refusal: Refusal, model: str = "", key_advice: str = "", encoding: str | None = None
) -> str:
    """Return the next step for a refusal that needs a person.

    `model` and `encoding` are those that were asked for, `key_advice` what to do about the key.
    """
    from tovec.endpoint import models  # which only an error needs

    if refusal.in_process:
        if refusal.status != 404:
            return ""
        near = models.nearest(model)
        return f"did you mean {near}?" if near else "leave -m out: there is only one embedded model"
    if refusal.status == 401 and key_advice:
        return key_advice
    if refusal.status == 400 and _TO_TLS.search(refusal.message):
        return "the server speaks TLS on this port: use https://"
    words = f"{refusal.param} {refusal.message}"
    if refusal.status in (400, 422) and encoding != "float" and _ENCODING.search(words):
        return "--encoding-format float asks for numbers instead of base64"
    if billing(refusal):
        return _HINTED[402]
    is_about_model = refusal.status in (400, 404) and model and model in refusal.message
    if is_about_model and (near := models.nearest(model)):
        return f"did you mean {near}? `tovec models --remote` lists what the endpoint has"
    if 300 <= refusal.status < 400:
        return "redirects are not followed: name the final address with --base-url or --url"
    return _HINTED.get(refusal.status, "")


def request_id(headers: Mapping[str, str]) -> str:
    """Return the id under which the endpoint logged the request, if it says so."""
    for name in ("x-request-id", "request-id", "mistral-correlation-id", "cf-ray"):
        if value := headers.get(name):
            return value[:100]
    return ""


def billing(refusal: Refusal) -> bool:
    """Return whether money is the reason: no waiting helps, and 429 does not mean "slower" here."""
    return (
        refusal.status == 402
        or refusal.code in _BILLING
        or refusal.kind in _BILLING
        or (refusal.status == 429 and bool(_BUDGET.search(refusal.message)))
    )


def _rule(refusal: Refusal) -> Rule:
    status, words = refusal.status, f"{refusal.code} {refusal.kind} {refusal.message}"
    if billing(refusal):
        return _PERSON
    if status == 429 and (found := _OVER_LIMIT.search(words)):
        limit, asked = (int(number.replace(",", "")) for number in found.groups())
        return _SMALLER if asked > limit else THROTTLE
    if status in (400, 404) and _THROTTLED.search(words):
        return THROTTLE
    if status in (400, 422) and _TOO_LARGE.search(words):
        return _SMALLER
    if status in (400, 422) and (refusal.code in _MODEL_CODES or refusal.param == "model"):
        return _PERSON
    if status >= 500 and _INPUT_FAULT.search(words):
        return _ISOLATE
    return _RULES.get(status, _PERSON if status < 500 else _BROKEN)


def _error_fields(body: bytes | bytearray) -> dict[str, object]:
    """Return message, code, type and param, from whichever shape the endpoint speaks."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        return {}
    if not isinstance(answer, dict):
        return {"message": answer} if isinstance(answer, str) else {}
    error = answer.get("error", answer)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    detail = error.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):  # FastAPI, Nugen
        field = _dotted_path(detail[0].get("loc"))
        return {
            "message": f"{field}: {detail[0].get('msg', '')}",
            "type": detail[0].get("type"),
            "param": field,
        }
    if problem := _first_problem(error):
        message, field = problem
        general = (error.get("message"), detail, error.get("title"))
        lead = next((f"{words} " for words in general if isinstance(words, str)), "")
        about = f"{field}: " if field else ""
        return {"param": field, **error, "message": f"{lead}({about}{message})"}
    if "message" not in error and not isinstance(detail, str):
        detail = error.get("title")  # application/problem+json without a detail
    return {"message": detail, **error} if isinstance(detail, str) else error


def _first_problem(error: dict[str, object]) -> tuple[str, str] | None:
    """Return the first problem that a problem+json object lists, in words, and its field.

    `validation` is Prism's list, `errors` that of RFC 9457 or, by field, of ASP.NET.
    """
    listed = error.get("validation") or error.get("errors")
    if isinstance(listed, dict) and listed:
        field, words = next(iter(listed.items()))
        first = words[0] if isinstance(words, list) and words else words
        return (str(first), str(field)) if isinstance(first, str) else None
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], dict):
        return None
    first = listed[0]
    message = first.get("message") or first.get("detail")
    field = _dotted_path(first.get("location") or first.get("pointer") or first.get("path"))
    return (message, field) if isinstance(message, str) else None


def _dotted_path(path: object) -> str:
    """Return the path of a field, given as a list or a JSON pointer, as body.field."""
    if isinstance(path, str):
        return path.removeprefix("#").strip("/").replace("/", ".")
    return ".".join(map(str, path)) if isinstance(path, list) else ""


def _text(value: object) -> str:
    return str(value)[:SNIPPET] if isinstance(value, str | int) else ""


def _snippet(reply: Reply) -> str:
    """Return a body that is not an error object, shortened; HTML only by its title."""
    text = reply.body[: 4 * SNIPPET].decode(errors="replace").strip()
    if text.startswith("<"):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.I)
        return f"an HTML page{': ' + title[1].strip() if title else ''}"[:SNIPPET]
    return text[:SNIPPET]
