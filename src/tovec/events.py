"""What happens while vectors are made, as events: the work reports, and knows no terminal.

The parts call an `Observer`; the command line turns events into lines, a bar or a report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

# How loud a message is; how each is shown is `cli.reporting.LEVELS`.
Level = Literal["error", "warning", "summary", "progress", "info", "debug"]


class Sent(NamedTuple):
    """A request left for the endpoint."""

    items: int
    tokens: int
    attempt: int  # from 1


class Answered(NamedTuple):
    """An answer was received and believed."""

    items: int
    tokens: int | None  # as the endpoint's usage says
    seconds: float
    request_id: str | None


class Retried(NamedTuple):
    """A request failed and will be sent again after `delay` seconds."""

    cause: str  # a short fixed word: "429", "500", "timeout", "reset", "connect", "truncated", ...
    detail: str  # for -v: sanitised, without key and text
    delay: float
    attempt: int
    maybe_paid: bool  # the endpoint may have done, and billed, the work
    tokens: int = 0  # of the request, estimated


class Split(NamedTuple):
    """A request was cut in two because the endpoint refused it whole."""

    items: int
    cause: str
    maybe_paid: bool = False
    tokens: int = 0


class Refused(NamedTuple):
    """The endpoint refused one input, whose row is rejected."""

    reason: str


class Held(NamedTuple):
    """The next request waits `seconds`: for a rate limit, or after a failure."""

    seconds: float


class Note(NamedTuple):
    """Something a user should know once (a limit learned, dimensions cut here, ...)."""

    text: str
    level: Level = "warning"


class Progress(NamedTuple):
    """How far a job is; `phase` is "asking" or "writing", `total` the rows if it is known."""

    phase: str
    rows: int
    total: int | None
    tokens: int
    cost: float | None  # USD
    retries: int


Event = Progress | Sent | Answered | Retried | Split | Refused | Held | Note
Observer = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Observe nothing."""
