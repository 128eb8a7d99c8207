"""What a job did, in numbers: gathered from its events, for its summary and `--stats`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson

from tovec.events import Answered, Event, Observer, Progress, Sent, Split
from tovec.pipeline.retries import Retries

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


class Report:
    """Counts a run's events and passes them on; rows and inputs are counted by the job.

    `price` is USD a million tokens, None where it is not known; `clock` gives seconds, of any
    beginning.
    """

    def __init__(self, observer: Observer, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer, self._clock = observer, clock
        self.resent = Retries(observer)
        self.price: float | None = None
        self._began = clock()
        self.rows = 0
        self.total: int | None = None
        self.total_is_exact = False
        self.written = 0
        self.blank = 0
        self.rejected = 0
        self.inputs = 0
        self.asked = 0
        self.reused = 0
        self.answered = 0
        self.tokens = 0
        self.uncounted = 0  # answers without usage, ...
        self.estimated = 0  # ... and the most tokens that they took
        self.requests = 0
        self.answers = 0
        self.splits = 0
        self._seconds: list[float] = []

    def begin_again(self) -> None:
        """Forget the rows: they are read anew."""
        self.total_is_exact = False
        self.rows = self.written = self.blank = self.inputs = self.reused = 0

    @property
    def cost(self) -> float | None:
        """Return what the tokens cost in USD; None where the price is not known."""
        return cost(self.tokens + self.estimated, self.price)

    @property
    def rows_done(self) -> int:
        """Return how many rows have been read whose inputs are answered, about."""
        return max(0, self.rows - max(0, self.asked - self.answered))

    def estimate(self, tokens: int) -> None:
        """Count tokens of an answer for which the endpoint reports none."""
        self.estimated += tokens

    def __call__(self, event: Event) -> None:
        """Count an event and pass it on."""
        match event:
            case Sent():
                self.requests += 1
            case Answered(items, tokens, seconds, _):
                self.answers += 1
                self.answered += items
                self.tokens += tokens or 0
                self.uncounted += tokens is None
                self._seconds.append(seconds)
            case Split():
                self.splits += 1
        self.resent(event)
        if isinstance(event, Answered):
            self.progress("asking")

    def progress(self, phase: str) -> None:
        """Tell how far the job is."""
        rows = self.rows_done if phase == "asking" else self.written
        tokens, retries = self.tokens + self.estimated, self.resent.causes.total()
        self._observer(Progress(phase, rows, self.total, tokens, self.cost, retries))

    def as_json(self) -> dict[str, Any]:
        """Give everything, for `--stats`."""
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
            "requests": self.requests,
            "answers": self.answers,
            "retries": dict(+self.resent.causes),
            "requests_maybe_paid_twice": self.resent.maybe_paid,
            "requests_split": self.splits,
            "tokens": self.tokens,
            "tokens_estimated": self.estimated,
            "answers_without_usage": self.uncounted,
            "cost_usd": None if self.cost is None else round(self.cost, 6),
            "latency_seconds": self._latency(),
            "seconds": round(self._clock() - self._began, 3),
        }

    def _latency(self) -> dict[str, float]:
        ordered = sorted(self._seconds)
        if not ordered:
            return {}
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        last = len(ordered) - 1
        return {name: round(ordered[round(share * last)], 4) for name, share in shares.items()}


def cost(tokens: int, price: float | None) -> float | None:
    """Give what tokens cost in USD, at a `price` a million; None where it is not known."""
    return None if price is None else tokens * price / 1e6
