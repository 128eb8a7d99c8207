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
from enum import Enum
from typing import Any, NamedTuple

import orjson

from tovec.api.interface import Reply

SNIPPET = 512  # characters of a server's words that are passed on


class TransportFailure(Exception):  # noqa: N818 - it is not an error of the program
    """No answer came. `cause` is a fixed short word, `detail` for a user.

    kind: "not_sent" (surely unpaid), "stale" (an idle connection had been closed: try a new one),
    "ambiguous" (may have been worked on and billed), "fatal" (trying again cannot help).
    """

    def __init__(self, kind: str, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.cause = cause
        self.detail = detail


class BadAnswer(Exception):  # noqa: N818 - the same
    """An answer under status 200 that cannot be right: it is never turned into vectors."""


class Action(Enum):
    """What the policy does with a refusal."""

    RETRY = "retry"  # the server's trouble: 8 attempts
    AMBIGUOUS = "ambiguous"  # perhaps worked on: 4 attempts
    THROTTLE = "throttle"  # all requests wait; not counted as an attempt
    SMALLER = "smaller"  # too much in one request: halve it, remember the limit
    ISOLATE = "isolate"  # some input is not accepted: halve until it is found
    PERSON = "person"  # key, permission, billing, address, model


class Refusal(NamedTuple):
    """An endpoint's no, whatever its shape."""

    status: int
    action: Action
    message: str
    code: str = ""
    kind: str = ""  # the endpoint's own error type
    param: str = ""
    request_id: str = ""

    def __str__(self) -> str:
        said = f"HTTP {self.status}" + (f", {self.kind}" if self.kind else "")
        said += f": {self.message}" if self.message else ""
        return said + (f" (request {self.request_id})" if self.request_id else "")

    @property
    def fingerprint(self) -> tuple[int, str, str]:
        """What two equal failures have in common: digits differ from one to the next."""
        return self.status, self.code, re.sub(r"\d", "", self.message)[:80]


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
_THROTTLE = re.compile(r"rate.?limit|too many requests|throttl", re.I)
_TOO_LARGE = re.compile(r"request too large.*limit\D*\d+.*requested\D*\d+", re.I | re.S)
_SMALLER = re.compile(
    r"per request|batch.?size|not be larger than|too many inputs|array too long"
    r"|max(imum)? ?(allowed )?(batch|number of inputs)|at most \d+ (inputs|items|texts)"
    r"|max_tokens_per_request|payload too large|body too large|too large to process",
    re.I,
)
_HINTED = {
    401: "check the key; `tovec models --providers` names the variable each provider reads",
    402: "the account has no credit or has met a spending limit",
    403: "the key lacks a permission that this endpoint asks for",
    404: "check the model's name, and whether the base URL should end in /v1",
    405: "check the address: this path takes no POST",
    407: "the proxy asks for credentials: see HTTPS_PROXY",
}


def classify(reply: Reply) -> Refusal:
    """Give the refusal that a reply with another status than 200 is."""
    said = _said(reply.body)
    refusal = Refusal(
        reply.status,
        Action.PERSON,
        _text(said.get("message")) or _snippet(reply),
        _text(said.get("code")),
        _text(said.get("type")),
        _text(said.get("param")),
        request_id(reply.headers),
    )
    action = _action(refusal, reply.headers.get("x-should-retry", ""))
    return Refusal(
        refusal.status,
        action,
        refusal.message,
        refusal.code,
        refusal.kind,
        refusal.param,
        refusal.request_id,
    )


def hint(refusal: Refusal) -> str:
    """Give the next step for a refusal that needs a person."""
    if _is_billing(refusal):
        return _HINTED[402]
    if 300 <= refusal.status < 400:
        return "redirects are not followed: name the final address with --base-url or --url"
    return _HINTED.get(refusal.status, "")


def request_id(headers: Mapping[str, str]) -> str:
    """Give the id under which the endpoint logged the request, if it says so."""
    for name in ("x-request-id", "request-id", "mistral-correlation-id", "cf-ray"):
        if value := headers.get(name):
            return value[:100]
    return ""


def _is_billing(refusal: Refusal) -> bool:
    return (
        refusal.status == 402
        or refusal.code in _BILLING
        or refusal.kind in _BILLING
        or (refusal.status == 429 and bool(_BUDGET.search(refusal.message)))
    )


def _action(refusal: Refusal, should_retry: str) -> Action:
    if _is_billing(refusal):
        return Action.PERSON
    action = _by_status(refusal)
    if should_retry == "false" and action in (Action.RETRY, Action.AMBIGUOUS):
        return Action.ISOLATE if refusal.status < 500 else Action.PERSON
    if should_retry == "true" and action in (Action.ISOLATE, Action.PERSON):
        return Action.AMBIGUOUS
    return action


def _by_status(refusal: Refusal) -> Action:
    status, words = refusal.status, f"{refusal.code} {refusal.message}"
    match status:
        case 429 if _TOO_LARGE.search(words):
            return Action.SMALLER
        case 429:
            return Action.THROTTLE
        case 400 | 404 if _THROTTLE.search(words):
            return Action.THROTTLE
        case 413:
            return Action.SMALLER
        case 400 | 422 if _SMALLER.search(words):
            return Action.SMALLER
        case 400 | 422 | 424:
            return Action.ISOLATE
        case 408 | 409 | 425 | 504 | 524:
            return Action.AMBIGUOUS
        case 501 | 505 | 511:
            return Action.PERSON
        case _ if status >= 500:
            return Action.RETRY
    return Action.PERSON


def _said(body: bytes | bytearray) -> dict[str, Any]:
    """Give message, code, type and param, from whichever shape the endpoint speaks."""
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
        place = ".".join(str(part) for part in detail[0].get("loc") or ())
        return {
            "message": f"{place}: {detail[0].get('msg', '')}",
            "type": detail[0].get("type"),
            "param": place,
        }
    return {"message": detail, **error} if isinstance(detail, str) else error


def _text(value: object) -> str:
    return str(value)[:SNIPPET] if isinstance(value, str | int) else ""


def _snippet(reply: Reply) -> str:
    """Give a body that is not an error object, shortened; HTML only by its title."""
    text = reply.body[: 4 * SNIPPET].decode(errors="replace").strip()
    if text.startswith("<"):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.I)
        return f"an HTML page{': ' + title[1].strip() if title else ''}"[:SNIPPET]
    return text[:SNIPPET]
