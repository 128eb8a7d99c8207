"""The retry policy as a table: each outcome in each situation, and what is done about it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.endpoint import retry
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
    Action,
    FailureKind,
    Refusal,
    Rule,
    classify,
)
from tovec.endpoint.transport import Reply


def refused(status: int, words: str = "no", wait: float | None = None, **more: str) -> RefusedCall:
    """Return a refusal as `classify` reads it from a reply."""
    body = f'{{"error": {{"message": "{words}", "param": "{more.pop("param", "")}"}}}}'
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    return RefusedCall(classify(Reply(status, headers, body.encode())), wait)


FIELDS = Fields(
    "encoding_format",
    "base64",
    has_other_encodings=True,
    dimensions_field="dimensions",
    dimensions=64,
    can_cut=True,
    extra=["truncate"],
)
FACTS = Facts(10, 5, 0, False, 0.0, 600.0, has_good_input=True, fields=FIELDS)
SENT = History(1, encoding="base64", with_dimensions=True)

OUTCOMES: dict[str, Outcome] = {
    "fatal": FailedCall("fatal", "tls", "not TLS"),
    "stale": FailedCall("stale", "reset", "closed"),
    "not sent": FailedCall("not_sent", "connect", "refused"),
    "ambiguous": FailedCall("ambiguous", "reset", "lost"),
    "timeout": FailedCall("ambiguous", "timeout", "late"),
    "foreign": FailedCall("foreign", "too large", "more than asked"),
    "bad answer": UnusableAnswer("a row is missing"),
    "bad shape": UnusableAnswer("no list", shape=True),
    "login page": UnusableAnswer("HTML", foreign=True),
    "307": refused(307),
    "400": refused(400),
    "400 size": refused(400, "batch size must not be larger than 8"),
    "400 rate": refused(400, "rate limit"),
    "400 again": refused(400, x_should_retry="true"),
    "400 encoding": refused(400, "unknown field encoding_format"),
    "400 dimensions": refused(400, "dimensions is not supported"),
    "400 extra": refused(400, "unknown field truncate"),
    "400 user": refused(400, param="user"),
    "401": refused(401),
    "402": refused(402),
    "403": refused(403),
    "404": refused(404),
    "408": refused(408),
    "409": refused(409),
    "413": refused(413),
    "424": refused(424),
    "425": refused(425),
    "429": refused(429),
    "429 hint": refused(429, wait=3.0),
    "429 long": refused(429, wait=601.0),
    "429 money": refused(429, "you exceeded your current quota"),
    "429 tokens": refused(429, "Request too large: Limit 10, Requested 20"),
    "500": refused(500),
    "500 never": refused(500, x_should_retry="false"),
    "501": refused(501),
    "502": refused(502),
    "503": refused(503),
    "503 hint": refused(503, wait=3.0),
    "503 long": refused(503, wait=601.0),
    "504": refused(504),
    "525": refused(525),
    "529 hint": refused(529, wait=3.0),
    "529 long": refused(529, wait=601.0),
}


def fingerprint(outcome: Outcome) -> Fingerprint:
    if isinstance(outcome, RefusedCall):
        return outcome.refusal.fingerprint
    return outcome.cause if isinstance(outcome, FailedCall) else "bad answer"


def attempts(outcome: Outcome) -> int:
    """Return how many attempts a rule allows; 1 where it allows no retry."""
    if isinstance(outcome, RefusedCall):
        return outcome.refusal.rule.attempts
    if isinstance(outcome, FailedCall):
        return (FOREIGN if outcome.kind == "foreign" else AMBIGUOUS).attempts
    return BAD_ANSWER.attempts


def situation(name: str, outcome: Outcome) -> tuple[History, Facts]:
    same = SENT._replace(sent=2, spent=1, last=fingerprint(outcome), equal=1, successes=5)
    last = SENT._replace(sent=9, spent=attempts(outcome) - 1, last="other", successes=5)
    return {
        "first": (SENT, FACTS),
        "stale": (SENT._replace(was_stale=True), FACTS),
        "equal": (same, FACTS),
        "alone": (same, FACTS._replace(rows=1)),
        "moving": (same, FACTS._replace(successes=6)),
        "alive": (same, FACTS._replace(is_alive=True)),
        "dead": (same, FACTS._replace(is_alive=False)),
        "last": (last, FACTS._replace(has_good_input=False)),
        "never": (SENT, FACTS._replace(successes=0, tries=8, has_good_input=False)),
        "started": (SENT, FACTS._replace(successes=0, tries=1, has_good_input=False)),
        "time": (SENT, FACTS._replace(is_exhausted=True)),
        "retries": (SENT, FACTS._replace(max_retries=0)),
    }[name]


# R retry with a backoff, r retry at once, P probe, X reject, N negotiate; the run stops as
# F refused, U unreachable, H the answers need a human, L later.
TABLE = """
                first stale equal alone moving alive dead last never started time retries
fatal           U     U     U     U     U      U     U    U    U     U       U    U
stale           r     R     r     r     r      r     r    r    r     r       r    r
not sent        R     R     R     R     R      R     R    R    U     R       U    U
ambiguous       R     R     P     R     X      X     R    L    L     R       L    L
timeout         R     R     P     R     X      X     R    L    L     R       L    L
foreign         R     R     H     H     H      H     H    H    H     R       H    H
bad answer      R     R     X     X     X      X     X    X    X     R       L    X
bad shape       R     R     X     X     X      X     X    X    H     R       L    X
login page      R     R     H     H     H      H     H    H    H     R       H    H
307             F     F     F     F     F      F     F    F    F     F       F    F
400             X     X     X     X     X      X     X    X    X     X       X    X
400 size        X     X     X     X     X      X     X    X    X     X       X    X
400 rate        r     r     r     r     r      r     r    r    L     r       L    L
400 again       R     R     X     X     X      X     X    X    X     R       L    X
400 encoding    N     N     N     N     N      N     N    N    N     N       N    N
400 dimensions  N     N     N     N     N      N     N    N    N     N       N    N
400 extra       F     F     F     F     F      F     F    F    F     F       F    F
400 user        F     F     F     F     F      F     F    F    F     F       F    F
401             R     R     F     F     F      F     F    F    F     F       F    F
402             F     F     F     F     F      F     F    F    F     F       F    F
403             R     R     F     F     F      F     F    F    F     F       F    F
404             F     F     F     F     F      F     F    F    F     F       F    F
408             R     R     P     R     X      X     R    L    L     R       L    L
409             R     R     P     R     X      X     R    L    L     R       L    L
413             X     X     X     X     X      X     X    X    X     X       X    X
424             R     R     X     X     X      X     X    X    X     R       L    X
425             R     R     P     R     X      X     R    L    L     R       L    L
429             r     r     r     r     r      r     r    r    L     r       L    L
429 hint        r     r     r     r     r      r     r    r    L     r       L    L
429 long        L     L     L     L     L      L     L    L    L     L       L    L
429 money       F     F     F     F     F      F     F    F    F     F       F    F
429 tokens      X     X     X     X     X      X     X    X    X     X       X    X
500             R     R     P     R     X      X     R    L    L     R       L    L
500 never       X     X     X     X     X      X     X    X    X     X       X    X
501             F     F     F     F     F      F     F    F    F     F       F    F
502             R     R     P     R     X      X     R    L    L     R       L    L
503             R     R     P     R     X      X     R    L    L     R       L    L
503 hint        r     r     r     r     r      r     r    r    L     r       L    L
503 long        L     L     L     L     L      L     L    L    L     L       L    L
504             R     R     P     R     X      X     R    L    L     R       L    L
525             R     R     F     F     F      F     F    F    F     R       F    F
529 hint        R     R     P     R     X      X     R    L    L     R       L    L
529 long        L     L     L     L     L      L     L    L    L     L       L    L
"""


def rows() -> dict[str, dict[str, str]]:
    lines = TABLE.strip().splitlines()
    names = lines[0].split()
    return {
        line[:16].strip(): dict(zip(names, line[16:].split(), strict=True)) for line in lines[1:]
    }


def letter(decision: Decision) -> str:
    match decision:
        case Retry():
            return "r" if decision.backoff is None else "R"
        case Stop():
            return {"refused": "F", "unreachable": "U", "person": "H", "later": "L"}[
                decision.ending
            ]
    return {Probe: "P", Reject: "X", Negotiate: "N"}[type(decision)]


@pytest.mark.parametrize("name", OUTCOMES)
def test_each_outcome_has_its_decision_in_each_situation(name: str) -> None:
    """#1 #8 #9 #12: the table is the policy; a change of it is a change here."""
    outcome = OUTCOMES[name]
    expected = rows()[name]
    found = {column: letter(retry.decide(outcome, *situation(column, outcome)))
             for column in expected}  # fmt: skip
    assert found == expected


def test_the_table_has_every_kind_of_failure_and_every_action() -> None:
    """A kind that is added without its row would be decided by chance."""
    kinds = {one.kind for one in OUTCOMES.values() if isinstance(one, FailedCall)}
    assert kinds == set(get_args(FailureKind))
    rules = [one.refusal.rule for one in OUTCOMES.values() if isinstance(one, RefusedCall)]
    assert {rule.action for rule in rules} | {rule.then for rule in rules} == set(Action)
    assert rows().keys() == OUTCOMES.keys()


LESSONS = {
    "fatal": None,
    "stale": None,
    "not sent": Failed(0),
    "ambiguous": Failed(2),
    "timeout": Failed(2, is_overload=True),
    "foreign": Failed(2),
    "bad answer": Failed(2),
    "400": None,
    "400 rate": Throttled(None),
    "401": Failed(1),
    "402": None,
    "413": None,
    "429": Throttled(None),
    "429 hint": Throttled(3.0),
    "429 long": None,
    "500": Failed(1),
    "503": Failed(1),
    "503 hint": Throttled(3.0),
    "529 hint": Failed(1),
    "529 long": Failed(1),
}


@pytest.mark.parametrize("name", LESSONS)
def test_the_governor_is_told_what_an_outcome_says_of_the_load(name: str) -> None:
    """A retry of what may have been billed costs more; only a timeout or too many files is load."""
    assert retry.lesson(OUTCOMES[name], SENT, FACTS) == LESSONS[name]


def test_a_second_stale_connection_and_open_files_are_lessons() -> None:
    """#12 #27"""
    stale = OUTCOMES["stale"]
    assert retry.lesson(stale, SENT._replace(was_stale=True), FACTS) == Failed(2)
    assert retry.lesson(FailedCall("not_sent", "files", ""), SENT, FACTS) == Failed(0, True)


def test_a_key_refused_before_any_success_teaches_the_governor_nothing() -> None:
    """The run ends there, without a pause for the others."""
    assert retry.lesson(OUTCOMES["401"], SENT, FACTS._replace(successes=0)) is None


@pytest.mark.parametrize(
    ("name", "history", "backoff"),
    [
        ("not sent", History(3), Backoff(3, 0.25, 15.0)),
        ("ambiguous", History(5, spent=1), Backoff(2, 1.0, 30.0)),
        ("bad answer", History(1), Backoff(1, 1.0, 30.0)),
        ("500", History(7, spent=3), Backoff(4, 0.5, 30.0)),
        ("529 hint", History(1), Backoff(1, 0.5, 30.0, 3.0)),
        ("401", History(1), Backoff(1, 0.5, 30.0, 5.0)),
    ],
)
def test_the_backoff_depends_on_what_failed(name: str, history: History, backoff: Backoff) -> None:
    """An answer that names a wait, or a key that is new, sets a floor."""
    decision = retry.decide(OUTCOMES[name], history, FACTS)
    assert isinstance(decision, Retry)
    assert decision.backoff == backoff


def test_a_retry_says_whether_the_last_attempt_may_have_been_billed() -> None:
    """#9: such retries are counted apart in the report."""
    paid = {
        name: decision.maybe_paid
        for name, outcome in OUTCOMES.items()
        if isinstance(decision := retry.decide(outcome, SENT, FACTS), Retry)
    }
    assert {name for name, maybe in paid.items() if maybe} == {
        "ambiguous", "timeout", "foreign", "bad answer", "bad shape", "login page",
        "408", "500", "504",
    }  # fmt: skip


def test_a_retry_carries_the_history_of_its_request() -> None:
    """The count of attempts, of equal failures, and the deadline that a timeout stretches."""
    decision = retry.decide(OUTCOMES["timeout"], SENT, FACTS)
    assert isinstance(decision, Retry)
    after = decision.history
    assert after == SENT._replace(spent=1, last="timeout", equal=1, successes=5, stretch=1.5)
    sent = after.after_sending("float", with_dimensions=False)
    assert (sent.sent, sent.encoding, sent.with_dimensions) == (2, "float", False)
    again = retry.decide(OUTCOMES["500"], sent, FACTS)
    assert isinstance(again, Retry)
    assert (again.history.spent, again.history.equal) == (2, 1)


def test_a_failure_that_others_got_over_is_suspected_one_time_later() -> None:
    """A retry has helped another request: this failure is chance rather than an input's fault."""
    outcome = OUTCOMES["500"]
    facts = FACTS._replace(overcome=frozenset({fingerprint(outcome)}))
    history, _ = situation("equal", outcome)
    assert letter(retry.decide(outcome, history, facts)) == "R"
    assert letter(retry.decide(outcome, history._replace(equal=2), facts)) == "P"


def test_an_endpoint_that_is_down_uses_up_no_attempts() -> None:
    """#2 #76: the probe fails too, so that the request is not to blame."""
    outcome = OUTCOMES["500"]
    history, facts = situation("dead", outcome)
    decision = retry.decide(outcome, history._replace(spent=9), facts)
    assert isinstance(decision, Retry)
    assert decision.history.spent == 0
    assert decision.backoff == Backoff(0, 0.5, 30.0)


@pytest.mark.parametrize(
    ("fields", "history", "outcome", "expected"),
    [
        (FIELDS, SENT, "400 encoding", Negotiate(Field.ENCODING)),
        (FIELDS._replace(encoding="float"), SENT, "400 encoding", Negotiate(None)),
        (FIELDS._replace(has_other_encodings=False), SENT, "400 encoding", Stop(Ending.REFUSED)),
        (FIELDS, SENT, "400 dimensions", Negotiate(Field.DIMENSIONS)),
        (FIELDS._replace(can_cut=False), SENT, "400 dimensions", Stop(Ending.REFUSED)),
        (FIELDS, SENT._replace(with_dimensions=False), "400 dimensions", Stop(Ending.REFUSED)),
        (FIELDS._replace(dimensions=None), SENT, "400 dimensions",
         Reject("HTTP 400: dimensions is not supported", "not accepted",
                "dimensions is not supported")),
        (Fields(), SENT, "400 extra",
         Reject("HTTP 400: unknown field truncate", "not accepted", "unknown field truncate")),
    ],
)  # fmt: skip
def test_a_field_is_dropped_where_the_request_works_without_it(
    fields: Fields, history: History, outcome: str, expected: Decision
) -> None:
    """#62: what the endpoint does not know is not the inputs' fault."""
    assert retry.decide(OUTCOMES[outcome], history, FACTS._replace(fields=fields)) == expected


@pytest.mark.parametrize("name", ["400", "500 never", "422"])
def test_a_refusal_in_a_resumed_run_is_tried_on_an_input_that_had_its_vector(name: str) -> None:
    """#265: an earlier run's success tells wrong settings from bad inputs, once in a run."""
    outcome = refused(422) if name == "422" else OUTCOMES[name]
    resumed = FACTS._replace(successes=0)
    assert letter(retry.decide(outcome, SENT, resumed)) == "P"
    for is_alive in (True, False):
        facts = resumed._replace(is_alive=is_alive)
        assert letter(retry.decide(outcome, SENT, facts)) == "X"
    assert letter(retry.decide(outcome, SENT, FACTS)) == "X"
    assert letter(retry.decide(outcome, SENT, resumed._replace(has_good_input=False))) == "X"


def test_a_resumed_run_isolates_a_bad_input_and_waits_for_nothing_else() -> None:
    """#265: 500 for one text, always; an endpoint that is down is given up as in a first run."""
    outcome = OUTCOMES["500"]
    history, facts = situation("last", outcome)
    resumed = facts._replace(successes=0, tries=5, has_good_input=True)
    assert letter(retry.decide(outcome, history, resumed)) == "P"
    assert letter(retry.decide(outcome, history, resumed._replace(is_alive=True))) == "X"
    assert letter(retry.decide(outcome, history, resumed._replace(is_alive=False))) == "L"


def test_an_extra_field_is_to_blame_where_it_is_called_unknown() -> None:
    """A message that has its name in passing is about the inputs."""
    passing = refused(400, "input 3 is empty; truncate was on")
    assert isinstance(retry.decide(passing, SENT, FACTS), Reject)
    longer = refused(400, "unknown field truncated_tokens")
    assert isinstance(retry.decide(longer, SENT, FACTS), Reject)
    named = refused(413, param="body.truncate")
    assert retry.decide(named, SENT, FACTS) == Stop(Ending.REFUSED)


@pytest.mark.parametrize(
    ("name", "situation_name", "more", "what"),
    [
        ("429", "never", {}, "every request is throttled: HTTP 429: no"),
        ("429", "time", {"failing_seconds": 900.4},
         "gave up after 900 s without a success: HTTP 429: no"),
        ("500", "last", {}, "gave up after 9 tries: HTTP 500: no"),
        ("500", "never", {}, "gave up after 8 tries: HTTP 500: no"),
        ("529 long", "first", {}, "the endpoint asks to wait 601 s: HTTP 529: no"),
        ("foreign", "last", {}, "the endpoint sends no usable answer: more than asked"),
    ],
)  # fmt: skip
def test_a_stop_says_what_happened(
    name: str, situation_name: str, more: dict[str, Any], what: str
) -> None:
    """A user reads it as the error's first line."""
    outcome = OUTCOMES[name]
    history, facts = situation(situation_name, outcome)
    decision = retry.decide(outcome, history, facts._replace(**more))
    assert isinstance(decision, Stop)
    assert decision.what == what


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("try again in 2d", "172,800 s, until 1970-01-03 "),
        ("try again in 999999999999 days", "86,399,999,999,913,600 s: HTTP 429"),
    ],
)
def test_a_wait_that_is_too_long_is_named_whatever_the_calendar_holds(
    words: str, said: str
) -> None:
    """#275: a year beyond what localtime knows ended the run with a traceback."""
    decision = retry.decide(refused(429, words), SENT, FACTS)
    assert isinstance(decision, Stop)
    assert decision.ending is Ending.LATER
    assert decision.what.startswith(f"the endpoint asks to wait {said}")


NO_FIELD = Reject("HTTP 422: not permitted (request 1)", "not accepted", "not permitted")
OF_INPUT = Reject("HTTP 400: too long", "not accepted", "too long", blames_input=True)


@pytest.mark.parametrize(
    ("rejected", "successes", "fails"),
    [
        ([NO_FIELD], 0, True),
        ([NO_FIELD, NO_FIELD._replace(reason="HTTP 422: not permitted (request 2)")], 0, True),
        ([NO_FIELD], 1, False),
        ([OF_INPUT], 0, False),
        ([NO_FIELD, OF_INPUT], 0, False),
        ([OF_INPUT, NO_FIELD], 0, False),
        ([NO_FIELD, NO_FIELD._replace(words="forbidden")], 0, False),
        ([Reject("a vector of zeros", "bad answer")], 0, False),
        ([Reject("HTTP 413", "too large", too_large=True)], 0, False),
        ([], 0, False),
    ],
)
def test_a_run_fails_whose_every_request_is_refused_for_one_reason(
    rejected: list[Reject], successes: int, fails: bool
) -> None:
    """#266: a reason that names no input is about the settings, though there was one row only."""
    tally = Tally(0, 0)
    for one in rejected:
        step, tally = retry.judge(one, 1, tally)
        assert step is Step.REFUSE
    stop = retry.conclude(tally._replace(successes=successes))
    assert (stop is not None) == fails
    if stop is not None:
        assert stop.ending is Ending.PERSON
        assert stop.what.endswith("not permitted (request 1)")


def test_a_hint_in_words_counts_where_no_header_names_one() -> None:
    """#80"""
    outcome = refused(429, "try again in 6m0s")
    assert retry.lesson(outcome, SENT, FACTS) == Throttled(360.0)
    assert retry.lesson(outcome._replace(retry_after=2.0), SENT, FACTS) == Throttled(2.0)


@pytest.mark.parametrize(
    ("outcome", "throttles", "hidden"),
    [
        (OUTCOMES["429"], 2, False),
        (OUTCOMES["429"], 3, True),
        (OUTCOMES["429 hint"], 3, False),
        (refused(429, "try again in 2s"), 3, False),
        (refused(429)._replace(has_rates=True), 3, False),
    ],
)
def test_limits_are_hidden_where_no_429_names_them(
    outcome: RefusedCall, throttles: int, hidden: bool
) -> None:
    """#92: --rpm is suggested then."""
    assert retry.hides_limits(outcome, throttles) is hidden


SIZE = Reject("too much", "too large", too_large=True)
INPUT = Reject("no", "not accepted")
BAD = Reject("no", "bad answer")
ACCEPTS_NOTHING = "the endpoint accepts nothing that was sent: no"


@pytest.mark.parametrize(
    ("rejected", "rows", "tally", "expected", "after"),
    [
        (SIZE, 8, Tally(0, 1, 2, 200), Step.DIVIDE, Tally(0, 1, 2, 200)),
        (SIZE, 1, Tally(0, 1), Step.REFUSE, Tally(0, 1)),
        (INPUT, 8, Tally(3, 9), Step.DIVIDE, Tally(3, 9, 0, 1)),
        (INPUT, 1, Tally(3, 9), Step.REFUSE, Tally(3, 9)),
        (INPUT, 8, Tally(0, 9, 2), Step.DIVIDE, Tally(0, 9, 3, 1)),
        (INPUT, 1, Tally(0, 9, 1), Step.REFUSE, Tally(0, 9, 2)),
        (INPUT, 1, Tally(0, 9, 2), ACCEPTS_NOTHING, Tally(0, 9, 3)),
        (BAD, 8, Tally(0, 9, 2), ACCEPTS_NOTHING, Tally(0, 9, 3)),
        (INPUT, 8, Tally(3, 9, 0, 200), "too many inputs are refused, the last with: no",
         Tally(3, 9, 0, 201)),
        (INPUT, 8, Tally(3, 5_000, 0, 200), Step.DIVIDE, Tally(3, 5_000, 0, 201)),
    ],
)  # fmt: skip
def test_a_rejected_request_is_divided_until_rejections_are_too_many(
    rejected: Reject, rows: int, tally: Tally, expected: Step | str, after: Tally
) -> None:
    """#66 #69: before any success it is the settings; a size that is learned is no rejection."""
    found, counted = retry.judge(rejected, rows, tally)
    assert (found.what if isinstance(found, Stop) else found) == expected
    assert counted == after


anything = st.builds(
    Facts,
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 9),
    st.just(False),
    st.just(0.0),
    st.just(600.0),
    has_good_input=st.booleans(),
    is_alive=st.sampled_from([None, True, False]),
    fields=st.sampled_from([FIELDS, Fields()]),
)


@given(st.sampled_from(sorted(OUTCOMES)), anything)
def test_an_outcome_that_never_changes_ends_or_waits_for_the_endpoint(
    name: str, facts: Facts
) -> None:
    """No request is retried without end but where the endpoint is throttling, down or away."""
    outcome, history = OUTCOMES[name], History()
    for _ in range(12):
        history = history.after_sending("base64", with_dimensions=True)
        decision = retry.decide(outcome, history, facts)
        if not isinstance(decision, Retry):
            return
        assert decision.history.sent == history.sent
        history = decision.history
    throttled = isinstance(retry.lesson(outcome, history, facts), Throttled)
    away = isinstance(outcome, FailedCall) and outcome.kind == "not_sent"
    assert throttled or away or facts.is_alive is False


def test_a_rule_of_one_attempt_is_never_retried() -> None:
    """The number is of attempts, the first included."""
    once = RefusedCall(Refusal(500, Rule(Action.RETRY, 1, Action.PERSON), "no"))
    assert retry.decide(once, SENT, FACTS) == Stop(Ending.REFUSED)
