"""What the retry policy is asked, and what it answers: outcomes, history, facts, decisions.

Plain data without behaviour; `retry.py` holds the policy itself.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from enum import StrEnum
from typing import NamedTuple

from tovec.endpoint.refusal import FailureKind, Refusal

Fingerprint = tuple[int, str, str] | str
"""What two equal failures have in common."""


# What came back ---------------------------------------------------------------------------------


class RefusedCall(NamedTuple):
    """The endpoint said no. `retry_after` is its header, in seconds."""

    refusal: Refusal
    retry_after: float | None = None
    has_rates: bool = False  # whether it named any rate limit


class FailedCall(NamedTuple):
    """No answer came."""

    kind: FailureKind
    cause: str
    detail: str


class UnusableAnswer(NamedTuple):
    """An answer came that must not be turned into vectors."""

    detail: str
    foreign: bool = False
    shape: bool = False


Outcome = RefusedCall | FailedCall | UnusableAnswer


# What is known ----------------------------------------------------------------------------------


class History(NamedTuple):
    """What one request has been through so far."""

    sent: int = 0  # attempts, all of them
    spent: int = 0  # attempts that count toward the number that a rule allows
    was_stale: bool = False  # whether a closed idle connection has been excused already
    encoding: str | None = None  # of the vectors, as the last attempt asked
    with_dimensions: bool = False  # whether the last attempt asked for dimensions
    stretch: float = 1.0  # of the deadline
    last: Fingerprint | None = None  # failure
    equal: int = 0  # failures in a row like the last
    successes: int | None = None  # of the run, when this request last failed

    def after_sending(self, encoding: str | None, *, with_dimensions: bool) -> History:
        """Return the history with one more attempt."""
        return self._replace(sent=self.sent + 1, encoding=encoding, with_dimensions=with_dimensions)


class Fields(NamedTuple):
    """The optional fields of a request's body, as they are asked for now."""

    encoding_field: str | None = None
    encoding: str | None = None
    has_other_encodings: bool = False  # whether there is another way to ask
    dimensions_field: str | None = None
    dimensions: int | None = None
    can_cut: bool = False  # whether vectors may be cut here if the endpoint does not
    extra: Collection[str] = ()


class Facts(NamedTuple):
    """What the run knows, read after the governor has been told the lesson."""

    rows: int  # of the request
    successes: int  # of the run
    tries: int  # `Governor.tries`
    is_exhausted: bool  # `Governor.exhausted()`
    failing_seconds: float
    longest_wait: float  # seconds that the endpoint may ask for
    now: float = 0.0  # seconds since the epoch, to name a time of day
    max_retries: int | None = None
    overcome: Set[Fingerprint] = frozenset()  # failures after which a retry has helped
    has_good_input: bool = False  # whether an input has had its vector, now or in an earlier run
    is_alive: bool | None = None  # whether that input just had it again; None: not asked
    fields: Fields = Fields()


class Tally(NamedTuple):
    """How many requests of the run were sent, answered and rejected."""

    successes: int
    sent: int
    first_refusals: int = 0  # rejected before any success
    splits: int = 0
    common: Reject | None = None  # what all first refusals say, if they blame no input


# What to do -------------------------------------------------------------------------------------


class Throttled(NamedTuple):
    """Tell the governor that a request was throttled; `hint` is the wait that was asked for."""

    hint: float | None


class Failed(NamedTuple):
    """Tell the governor that a request failed: what a retry costs, and whether it is overload."""

    cost: float
    is_overload: bool = False


Lesson = Throttled | Failed


class Backoff(NamedTuple):
    """The arguments of `Governor.backoff`."""

    attempt: int
    base: float
    cap: float
    floor: float | None = None


class Retry(NamedTuple):
    """Send the request again. Without a backoff at once, or when the governor admits it."""

    cause: str
    detail: str
    history: History
    backoff: Backoff | None = None
    maybe_paid: bool = False


class Field(StrEnum):
    """A field that the endpoint does not know, and without which the request may work."""

    ENCODING = "encoding"
    DIMENSIONS = "dimensions"


class Negotiate(NamedTuple):
    """Send the request again without a field. None: another request has learned it meanwhile."""

    drop: Field | None


class Probe(NamedTuple):
    """Send an input that has had its vector, then decide again with `Facts.is_alive`.

    If it has its vector again, the request is to blame and not the endpoint.
    """


class Reject(NamedTuple):
    """The request is not accepted as it is; smaller parts of it may be. `judge` says what next."""

    reason: str
    cause: str
    words: str = ""  # the endpoint's own, from which a limit may be learned
    too_large: bool = False
    maybe_paid: bool = False
    blames_input: bool = False  # if not, it may be about every request


class Ending(StrEnum):
    """Which error ends the run."""

    REFUSED = "refused"  # a person must act; the refusal says why
    UNREACHABLE = "unreachable"  # the failure says why
    PERSON = "person"  # a person must act; `Stop.what` and `Stop.hint` say why
    LATER = "later"  # run again later; `Stop.what` says why


class Stop(NamedTuple):
    """End the run."""

    ending: Ending
    what: str = ""
    hint: str = ""


class Step(StrEnum):
    """What becomes of a rejected request."""

    DIVIDE = "divide"
    REFUSE = "refuse"  # it has one input, which never gets a vector


Decision = Retry | Negotiate | Probe | Reject | Stop
