"""What a job did, in numbers: gathered from its events, for its summary and `--stats`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from tovec.batch.verify import Verified
from tovec.events import Answered, Event, Observer, Progress, Sent, Split
from tovec.pipeline.retries import Retries
from tovec.store.removal import FinishedJob

KIND = "tovec batch"  # what a file of `--stats` says that it is
MAX_REPORT_BYTES = 1 << 16


def is_report(path: str) -> bool:
    """Return whether a file is a report that an earlier run wrote with `--stats`."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            found = orjson.loads(file.read(MAX_REPORT_BYTES))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("report") == KIND


class Traffic:
    """Counts what was sent to the endpoint, and what came back."""

    def __init__(self) -> None:
        self.requests = 0
        self.answers = 0
        self.inputs = 0  # answered
        self.tokens = 0
        self.uncounted = 0  # answers without usage, ...
        self.estimated = 0  # ... and the most tokens that they took
        self.splits = 0
        self._seconds: list[float] = []

    def count(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Sent():
                self.requests += 1
            case Answered(items, tokens, seconds, _):
                self.answers += 1
                self.inputs += items
                self.tokens += tokens or 0
                self.uncounted += tokens is None
                self._seconds.append(seconds)
            case Split():
                self.splits += 1

    @property
    def latency(self) -> dict[str, float]:
        """Return percentiles of the seconds that answers took."""
        ordered = sorted(self._seconds)
        if not ordered:
            return {}
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        last = len(ordered) - 1
        return {name: round(ordered[round(share * last)], 4) for name, share in shares.items()}


class Report:
    """Counts a run's events and passes them on; rows and inputs are counted by the job.

    `price` is USD a million tokens, None where it is not known; `clock` gives seconds, of any
    beginning.
    """

    def __init__(self, observer: Observer, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer, self._clock = observer, clock
        self.resent = Retries(observer)
        self.traffic = Traffic()
        self.price: float | None = None
        self._began = clock()
        self.rows = 0
        self.total: int | None = None
        self.total_is_exact = False
        self.written = 0
        self.blank = 0
        self.rejected = 0
        self.finished: FinishedJob | None = None  # a directory that the caller removes at its end
        self.inputs = 0
        self.asked = 0
        self.reused = 0
        self.verified: Verified | None = None

    def begin_again(self) -> None:
        """Forget the rows: they are read anew."""
        self.total_is_exact = False
        self.rows = self.written = self.blank = self.inputs = self.reused = 0

    @property
    def tokens(self) -> int:
        """Return the tokens of all answers, the most where the endpoint reports none."""
        return self.traffic.tokens + self.traffic.estimated

    @property
    def cost(self) -> float | None:
        """Return what the tokens cost in USD; None where the price is not known."""
        return cost(self.tokens, self.price)

    @property
    def rows_done(self) -> int:
        """Return how many rows have been read whose inputs are answered, about."""
        return max(0, self.rows - max(0, self.asked - self.traffic.inputs))

    def estimate(self, tokens: int) -> None:
        """Count tokens of an answer for which the endpoint reports none."""
        self.traffic.estimated += tokens

    def wrote(self, rows: int) -> None:
        """Count rows that were written."""
        if rows:
            self.written += rows
            self.progress("writing")

    def __call__(self, event: Event) -> None:
        """Count an event and pass it on."""
        self.traffic.count(event)
        self.resent(event)
        if isinstance(event, Answered):
            self.progress("asking")

    def progress(self, phase: str) -> None:
        """Tell how far the job is."""
        rows = self.rows_done if phase == "asking" else self.written
        retries = self.resent.causes.total()
        self._observer(Progress(phase, rows, self.total, self.tokens, self.cost, retries))

    def as_json(self) -> dict[str, Any]:
        """Return everything, for `--stats`."""
        traffic = self.traffic
        return {
            "report": KIND,
            "rows": self.rows,
            "rows_written": self.written,
            "rows_rejected": self.rejected,
            "blank_lines": self.blank,
            "inputs": self.inputs,
            "inputs_asked": self.asked,
            "inputs_reused": self.reused,
            "inputs_repeated": self.inputs - self.asked - self.reused,
            "requests": traffic.requests,
            "answers": traffic.answers,
            "retries": dict(+self.resent.causes),
            "requests_maybe_paid_twice": self.resent.maybe_paid,
            "requests_split": traffic.splits,
            "tokens": traffic.tokens,
            "tokens_estimated": traffic.estimated,
            "answers_without_usage": traffic.uncounted,
            "cost_usd": None if self.cost is None else round(self.cost, 6),
            "verified_texts": self.verified.texts if self.verified else 0,
            "verified_least_cosine": self.verified.least_cosine if self.verified else None,
            "latency_seconds": traffic.latency,
            "seconds": round(self._clock() - self._began, 3),
        }


def cost(tokens: int, price: float | None) -> float | None:
    """Return what tokens cost in USD, at a `price` a million; None where it is not known."""
    return None if price is None else tokens * price / 1e6
