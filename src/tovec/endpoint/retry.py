"""The retry policy as pure functions: what to do after an attempt that brought no vectors.

    lesson    what the governor is told about the outcome, before anything is decided
    decide    retry, negotiate, probe, reject the request, or stop the run
    judge     divide a rejected request, refuse its single input, or stop the run
    conclude  whether a run that is through has failed all the same

No clock, no randomness, no I/O: outcome, history and facts go in, a decision comes out. Who waits,
sends and words errors is the client. Source: the reliability notes, section (c).
"""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from tovec.endpoint import rate_headers
from tovec.endpoint.outcomes import (
    Backoff,
    Decision,
    Ending,
    Facts,
    Failed,
    FailedCall,
    Field,
    Fields,
    Fingerprint,
    History,
    Lesson,
    Negotiate,
    Outcome,
    Probe,
    RefusedCall,
    Reject,
    Retry,
    Step,
    Stop,
    Tally,
    Throttled,
    UnusableAnswer,
)
from tovec.endpoint.refusal import (
    AMBIGUOUS,
    BAD_ANSWER,
    FOREIGN,
    THROTTLE,
    Action,
    Refusal,
    Rule,
    without_digits,
)
from tovec.endpoint.retry_budget import MAYBE_PAID
from tovec.wording import count_phrase

MAX_START_TRIES = 3  # attempts of the whole run to connect, while nothing has ever worked ...
MAX_START_THROTTLES = 8  # ... and to find room, while every request is answered with 429
MIN_KEY_SECONDS = 5.0  # until all machines of an endpoint know a new key
MIN_EQUAL_FAILURES = 2  # in a row before a request is suspected; one more if others got over it
MAX_FIRST_REFUSALS = 3  # without any success: the settings are wrong, not the inputs
MAX_SPLITS = 200  # to find single bad inputs ...
MIN_REQUESTS_PER_SPLIT = 20  # ... or one split for so many requests, whichever allows more
MIN_SILENT_THROTTLES = 3  # 429s without rate-limit headers after which --rpm is suggested
TIMEOUT_STRETCH = 1.5  # of the deadline after each timeout
UNKNOWN_FIELD = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|unsupported|not (permitted|allowed)|extra"
)


def lesson(outcome: Outcome, history: History, facts: Facts) -> Lesson | None:
    """Return what the governor is to be told; None where the outcome says nothing of load."""
    match outcome:
        case FailedCall(kind="fatal"):
            return None
        case FailedCall(kind="stale") if not history.was_stale:
            return None
        case FailedCall(kind="not_sent"):
            return Failed(0, is_overload=outcome.cause == "files")
        case FailedCall():
            return Failed(MAYBE_PAID, is_overload=outcome.cause == "timeout")
        case UnusableAnswer():
            return Failed(MAYBE_PAID)
    if _is_key_refused_at_start(outcome, facts):
        return None
    match _rule(outcome).action:
        case Action.THROTTLE:
            hint = _throttle_hint(outcome)
            return None if hint is not None and hint > facts.longest_wait else Throttled(hint)
        case Action.RETRY:
            return Failed(1)
    return None


def decide(outcome: Outcome, history: History, facts: Facts) -> Decision:
    """Return what to do about an attempt that brought no vectors."""
    match outcome:
        case FailedCall():
            return _after_failure(outcome, history, facts)
        case UnusableAnswer():
            is_foreign = outcome.foreign or (outcome.shape and not facts.successes)
            failure = _Failure("bad answer", outcome.detail, "bad answer")
            return _again(FOREIGN if is_foreign else BAD_ANSWER, failure, history, facts)
    return _after_refusal(outcome, history, facts)


def judge(rejected: Reject, rows: int, tally: Tally) -> tuple[Step | Stop, Tally]:
    """Return whether to divide a rejected request of so many rows, or to stop; and the new tally.

    A request that is too large teaches a limit, and is not counted.
    """
    step = Step.DIVIDE if rows > 1 else Step.REFUSE
    if rejected.too_large:
        return step, tally
    if not tally.successes:
        common = _common(rejected, tally)
        tally = tally._replace(first_refusals=tally.first_refusals + 1, common=common)
        is_alone = rows == 1 or rejected.cause == "bad answer"
        if tally.first_refusals >= MAX_FIRST_REFUSALS and is_alone:
            return _nothing_accepted(rejected), tally
    tally = tally._replace(splits=tally.splits + (rows > 1))
    if tally.splits > max(MAX_SPLITS, tally.sent // MIN_REQUESTS_PER_SPLIT):
        return Stop(
            Ending.PERSON,
            f"too many inputs are refused, the last with: {rejected.reason}",
            "look at the rejected rows; what is done so far is kept",
        ), tally
    return step, tally


def conclude(tally: Tally) -> Stop | None:
    """Return why a run has failed of which each request was refused, all for one reason.

    The reason names no input: the settings are wrong. None where an input may be to blame.
    """
    if tally.successes or tally.common is None:
        return None
    return _nothing_accepted(tally.common)


def hides_limits(outcome: RefusedCall, throttles: int) -> bool:
    """Return whether so many 429s, this one included, never said what the limits are."""
    return (
        throttles >= MIN_SILENT_THROTTLES
        and not outcome.has_rates
        and _throttle_hint(outcome) is None
    )


def _common(rejected: Reject, tally: Tally) -> Reject | None:
    """Return what all refusals before any success say; None where they differ or blame inputs."""
    if rejected.cause != "not accepted" or rejected.blames_input:
        return None
    if not tally.first_refusals:
        return rejected
    before = tally.common
    is_alike = before and without_digits(before.words) == without_digits(rejected.words)
    return before if is_alike else None


def _nothing_accepted(rejected: Reject) -> Stop:
    return Stop(
        Ending.PERSON,
        f"the endpoint accepts nothing that was sent: {rejected.reason}",
        "check the model and the options, such as --dimensions and --extra; "
        "--encoding-format float for servers that refuse base64",
    )


class _Failure(NamedTuple):
    """A failure that may be retried."""

    cause: str
    detail: str
    fingerprint: Fingerprint
    refusal: Refusal | None = None
    hint: float | None = None  # seconds that the endpoint asks to wait


def _after_failure(outcome: FailedCall, history: History, facts: Facts) -> Decision:
    """Return what to do where no answer came."""
    cause, detail = outcome.cause, outcome.detail
    if outcome.kind == "fatal":
        return Stop(Ending.UNREACHABLE)
    if outcome.kind == "stale" and not history.was_stale:
        return Retry("stale", detail, history._replace(was_stale=True))
    if outcome.kind == "not_sent":
        if (
            _has_never_worked(facts, MAX_START_TRIES)
            or facts.is_exhausted
            or _is_out_of_retries(history, facts)
        ):
            return Stop(Ending.UNREACHABLE)
        return Retry(cause, detail, history, Backoff(history.sent, base=0.25, cap=15.0))
    if cause == "timeout":
        history = history._replace(stretch=history.stretch * TIMEOUT_STRETCH)
    rule = FOREIGN if outcome.kind == "foreign" else AMBIGUOUS
    return _again(rule, _Failure(cause, detail, cause), history, facts)


def _after_refusal(outcome: RefusedCall, history: History, facts: Facts) -> Decision:
    """Return what to do where the endpoint said no."""
    refusal, hint, rule = outcome.refusal, outcome.retry_after, _rule(outcome)
    if _is_key_refused_at_start(outcome, facts):
        return Stop(Ending.REFUSED)
    if refusal.status in (401, 403):
        hint = max(hint or 0.0, MIN_KEY_SECONDS)
    match rule.action:
        case Action.PERSON:
            return Stop(Ending.REFUSED)
        case Action.THROTTLE:
            return _after_throttle(outcome, history, facts)
        case Action.SMALLER:
            if _is_about_every_request(refusal, facts.fields):
                return Stop(Ending.REFUSED)
            return Reject(str(refusal), "too large", refusal.message, too_large=True)
        case Action.ISOLATE:
            if negotiated := _negotiate(refusal, history, facts.fields):
                return negotiated
            if _is_about_every_request(refusal, facts.fields):
                return Stop(Ending.REFUSED)
            if not facts.successes and facts.has_good_input and facts.is_alive is None:
                return Probe()  # an input of an earlier run tells wrong settings from bad inputs
            words, blames_input = refusal.message, refusal.blames_input
            return Reject(str(refusal), "not accepted", words, blames_input=blames_input)
    cause, detail = str(refusal.status), str(refusal)
    return _again(rule, _Failure(cause, detail, refusal.fingerprint, refusal, hint), history, facts)


def _after_throttle(outcome: RefusedCall, history: History, facts: Facts) -> Decision:
    """Return what to do about a 429, for which the governor makes all requests wait."""
    refusal, hint = outcome.refusal, _throttle_hint(outcome)
    if hint is not None and hint > facts.longest_wait:
        until = _time_of_day(facts.now + hint)
        return Stop(Ending.LATER, f"the endpoint asks to wait {hint:,.0f} s{until}: {refusal}")
    if _has_never_worked(facts, MAX_START_THROTTLES) or _is_out_of_retries(history, facts):
        return Stop(Ending.LATER, f"every request is throttled: {refusal}")
    if facts.is_exhausted:
        return _give_up_for_time(str(refusal), facts)
    return Retry(str(refusal.status), str(refusal), history)


def _again(rule: Rule, failure: _Failure, history: History, facts: Facts) -> Decision:
    """Return when to send the request again, or what comes after the last attempt."""
    is_moving = history.successes is not None and facts.successes > history.successes
    history = history._replace(
        successes=facts.successes,
        spent=history.spent + 1,
        equal=history.equal + 1 if failure.fingerprint == history.last else 1,
        last=failure.fingerprint,
    )
    # A failure that other requests have overcome by a retry is chance, not an input's fault.
    enough = MIN_EQUAL_FAILURES + (failure.fingerprint in facts.overcome)
    is_suspect = history.equal >= enough and facts.rows > 1
    if failure.hint is not None and failure.hint > facts.longest_wait:
        what = f"the endpoint asks to wait {failure.hint:,.0f} s: {failure.detail}"
        return Stop(Ending.LATER, what)
    is_last = history.spent >= rule.attempts or _has_never_worked(
        facts, max(rule.attempts, MAX_START_TRIES)
    )
    if facts.is_exhausted:
        if rule.then is Action.PERSON:
            return _give_up(rule, failure, history, facts)
        return _give_up_for_time(failure.detail, facts)
    if (is_suspect or is_last) and rule.then is Action.LATER and facts.has_good_input:
        # Some servers fail on one bad text, always (faults 69 and 76); others are down.
        if is_moving or facts.is_alive:
            return Reject(failure.detail, failure.cause, maybe_paid=rule.maybe_paid)
        if facts.is_alive is None:
            return Probe()
        if facts.successes:  # else it has been down since the run began: that is not waited for
            history, is_last = history._replace(spent=0), False
    if is_last or _is_out_of_retries(history, facts):
        return _give_up(rule, failure, history, facts)
    base = 1.0 if failure.refusal is None else 0.5
    backoff = Backoff(history.spent, base, 30.0, failure.hint)
    return Retry(failure.cause, failure.detail, history, backoff, rule.maybe_paid)


def _give_up(rule: Rule, failure: _Failure, history: History, facts: Facts) -> Decision:
    """Return what comes after the last attempt."""
    if rule.then is Action.PERSON:
        if failure.refusal is not None:
            return Stop(Ending.REFUSED)
        return Stop(
            Ending.PERSON,
            f"the endpoint sends no usable answer: {failure.detail}",
            "check that the address is that of an OpenAI-compatible endpoint",
        )
    if rule.then is Action.ISOLATE:
        return Reject(failure.detail, failure.cause, maybe_paid=rule.maybe_paid)
    tries = count_phrase(max(history.sent, facts.tries), "try", "tries")
    return Stop(Ending.LATER, f"gave up after {tries}: {failure.detail}")


def _give_up_for_time(detail: str, facts: Facts) -> Stop:
    seconds = f"{facts.failing_seconds:,.0f} s"
    return Stop(Ending.LATER, f"gave up after {seconds} without a success: {detail}")


def _rule(outcome: RefusedCall) -> Rule:
    """Return the rule for a refusal: a 503 with Retry-After says when there is room again."""
    if outcome.refusal.status == 503 and outcome.retry_after is not None:
        return THROTTLE
    return outcome.refusal.rule


def _is_key_refused_at_start(outcome: RefusedCall, facts: Facts) -> bool:
    """Return whether the key is refused before it has ever worked: no retry helps."""
    return outcome.refusal.status in (401, 403) and not facts.successes


def _throttle_hint(outcome: RefusedCall) -> float | None:
    """Return the seconds that a throttled request is asked to wait, by header or in words."""
    if outcome.retry_after is not None:
        return outcome.retry_after
    return rate_headers.wait_in(outcome.refusal.message)


def _has_never_worked(facts: Facts, tries: int) -> bool:
    """Return whether nothing has ever succeeded, in so many tries of the whole run."""
    return not facts.successes and facts.tries >= tries


def _is_out_of_retries(history: History, facts: Facts) -> bool:
    return facts.max_retries is not None and history.sent > facts.max_retries


def _negotiate(refusal: Refusal, history: History, fields: Fields) -> Negotiate | Stop | None:
    """Return which field to drop; None where the refusal names none that could be dropped."""
    words = f"{refusal.param} {refusal.message}".lower()
    if fields.encoding_field and fields.encoding_field in words:
        if fields.encoding != history.encoding:
            return Negotiate(None)
        return Negotiate(Field.ENCODING) if fields.has_other_encodings else Stop(Ending.REFUSED)
    if fields.dimensions_field and fields.dimensions_field in words and fields.dimensions:
        if fields.can_cut and history.with_dimensions:
            return Negotiate(Field.DIMENSIONS)
        return Stop(Ending.REFUSED)
    return None


def _is_about_every_request(refusal: Refusal, fields: Fields) -> bool:
    """Return whether the refusal names a field of every request: no input is to blame."""
    if refusal.param.removeprefix("body.") in {"model", "user", *fields.extra}:
        return True
    words = refusal.message.lower()
    is_named = any(re.search(rf"\b{re.escape(name.lower())}\b", words) for name in fields.extra)
    return is_named and UNKNOWN_FIELD.search(words) is not None


def _time_of_day(epoch: float) -> str:
    """Return ", until" and the local time; nothing where no calendar reaches so far."""
    try:
        return time.strftime(", until %Y-%m-%d %H:%M", time.localtime(epoch))
    except (OverflowError, ValueError, OSError):
        return ""
