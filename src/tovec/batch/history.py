"""What a job's log says of its runs: when they began, how far they came, and why they stopped.

Each run notes its beginning in the log and, unless it is killed, its end. Nothing is judged by
these notes: they are for `tovec batch --status`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from typing import Literal, NamedTuple

from tovec.errors import Stopped, TovecError
from tovec.store.job import Job
from tovec.wording import rfc3339

State = Literal["not begun", "running", "stopped", "killed", "finished"]
MAX_REASON_CHARACTERS = 1_000

_MEANINGS = {
    2: "the command line or the config",
    4: "endpoint or network failed after all retries: run the same command again later",
    5: "needs a person: key, permission, billing, quota, limit, TLS trust, address or model",
    6: "the input",
    7: "local disk or file",
    8: "the job directory belongs to another job or is damaged",
    9: "another run holds the job or its output",
    70: "a bug in tovec",
}


class History(NamedTuple):
    """How a job stands. Times are RFC 3339 (UTC), and None where an older tovec noted none."""

    state: State
    rows: int | None  # that are done, about
    total: int | None
    total_is_exact: bool
    begun: str | None  # its first run since it was last finished
    started: str | None  # the last run
    ended: str | None
    exit_code: int | None
    meaning: str | None  # of the exit code
    reason: str | None
    where: str | None


def note_start(job: Job, total: int | None) -> None:
    """Note that a run begins to ask, and about how many rows its input has."""
    now = rfc3339()
    first = job.notes.get("run", {}).get("first", now)
    job.note("run", {"at": now, "first": first, "total": total})


def note_end(
    job: Job,
    error: BaseException,
    *,
    rows: int,
    total: int | None,
    is_exact: bool,
    blot: Callable[[str], str],
) -> None:
    """Note why a run stops; `blot` takes the key out of a text. A disk that fails is not asked."""
    code, reason, where = _ending(error)
    ended = {
        "at": rfc3339(),
        "code": code,
        "reason": blot(reason)[:MAX_REASON_CHARACTERS],
        "where": blot(where),
        "rows": max(rows, job.rows),
        "total": total,
        "exact": is_exact,
    }
    with contextlib.suppress(Exception):
        job.note("ended", ended)


def finished(rows: int, rejected: int) -> dict[str, object]:
    """Return what a run that is done notes of its rows."""
    return {"at": rfc3339(), "rows": rows, "rejected": rejected}


def history(job: Job) -> History:
    """Return how a job stands, from its notes."""
    run, ended, done = (job.notes.get("run", {}), job.notes.get("ended", {}), job.done)
    total = ended.get("total") or run.get("total")
    code, meaning, reason = None, None, None
    state: State
    if job.directory.is_locked():
        state, ended = "running", {}
    elif ended:
        state, code, reason = "stopped", ended["code"], ended["reason"]
        meaning = _meaning(ended["code"])
    elif run:
        state = "killed"
        reason = "it ended without a report: killed, or the machine went down"
    elif done:
        state, code, meaning = "finished", 3 if done.get("rejected") else 0, "done"
        if code:
            meaning = f"some rows were rejected: {done['rejected']:,}"
    else:
        state = "stopped" if len(job.log) else "not begun"
    rows: int | None = max(job.rows, ended.get("rows", 0))
    if state == "finished":
        rows = total = done.get("rows")
    return History(
        state,
        rows,
        total,
        state == "finished" or bool(ended.get("exact")),
        run.get("first"),
        run.get("at"),
        done.get("at") if state == "finished" else ended.get("at"),
        code,
        meaning,
        reason,
        ended.get("where") or None,
    )


def _ending(error: BaseException) -> tuple[int, str, str]:
    """Return the exit code that an error leads to, what happened, and where."""
    if isinstance(error, TovecError):
        return error.exit_code, error.what, error.where
    if isinstance(error, Stopped):
        return 128 + error.number, f"stopped by {signal.Signals(error.number).name}", ""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, "stopped by SIGINT", ""
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE, "the reader closed standard output", ""
    if isinstance(error, OSError):
        return 7, error.strerror or str(error), str(error.filename or "")
    return 70, type(error).__name__, ""


def _meaning(code: int) -> str:
    return _MEANINGS.get(code, "a signal: run the same command again" if code > 128 else "")
