"""What a job would do, and what its directory holds: nothing is asked for, nothing is written."""

from __future__ import annotations

from tovec import formats
from tovec.batch.budget import token_counts
from tovec.batch.history import history
from tovec.batch.report import cost
from tovec.batch.run import identity
from tovec.batch.specification import Batch
from tovec.errors import UsageError
from tovec.events import Observer
from tovec.pipeline.connect import Hide, connect
from tovec.pipeline.number_types import check_number_types
from tovec.pipeline.packing import Packer
from tovec.pipeline.prepare import Preparation
from tovec.store.content_keys import keys_of
from tovec.store.job import Job
from tovec.wording import rfc3339


def plan(work: Batch, observer: Observer, hide: Hide) -> dict[str, object]:
    """Return rows, unique texts, tokens, requests, cost and time at the limits that are known."""
    connection = connect(work.settings, work.environ, observer, hide, will_ask=False)
    check_number_types(work.target, connection, observer)
    model, limits = connection.model, connection.client.limits
    count_batch = connection.count_texts
    prepare = Preparation(
        limits.item_tokens, connection.count_text, strict=work.on_error == "stop", long=work.long
    )
    packer = Packer(lambda: limits)
    job = Job.look(work.directory, identity(connection))
    inputs = asked = tokens = requests = 0
    stored: set[int] = set()
    for block in formats.read(work.paths, work.read._replace(ours=work.ours)):
        texts = prepare(block).inputs
        ordinals, wanted, inherited = job.look_up(keys_of(texts, job.digest))
        texts = [texts[i] for i in wanted.tolist()]
        tokens += sum(token_counts(texts, count_batch))
        requests += len(packer.add(texts))
        inputs, asked = inputs + len(ordinals), asked + len(wanted)
        stored.update(ordinals[inherited].tolist())
    requests += len(packer.flush())
    return {
        "rows": prepare.rows,
        "rows_rejected": prepare.rejected,
        "blank_lines": prepare.blank,
        "texts": inputs,
        "unique_texts": asked + len(stored),
        "stored_already": len(stored),
        "tokens": tokens,
        "tokens_are": "exact" if count_batch else "at most (bytes: the tokenizer is not known)",
        "requests": requests,
        "cost_usd": _rounded(cost(tokens, model.price)),
        "seconds_at_limits": _seconds(work, requests, tokens),
        "model": connection.client.endpoint.model,
        "provider": connection.provider.name,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _seconds(work: Batch, requests: int, tokens: int) -> float | None:
    """Return the least time that --rpm and --tpm leave; None where neither is set."""
    settings = work.settings
    shares = [
        amount / limit * 60
        for amount, limit in ((requests, settings.rpm), (tokens, settings.tpm))
        if limit
    ]
    return round(max(shares), 1) if shares else None


def holdings(directory: str) -> dict[str, object]:
    """Return how a job stands, and what its directory holds. Raises UsageError if there is none."""
    job = Job.look(directory)
    try:
        if job.directory.description is None:
            raise UsageError("there is no job", where=directory)
        now = history(job)
        changed = job.log.changed
        return {
            "directory": directory,
            "state": now.state,
            "rows": now.rows,
            "rows_total": now.total,
            "rows_total_is": "exact" if now.total_is_exact else "about",
            "exit_code": now.exit_code,
            "exit_means": now.meaning,
            "reason": now.reason,
            "where": now.where,
            "begun": now.begun,
            "started": now.started,
            "ended": now.ended,
            "last_stored": None if changed is None else rfc3339(changed),
            "vectors": len(job.log),
            "dimensions": job.log.dimensions,
            "tokens": job.tokens,
            "tokens_estimated": job.tokens_estimated,
            "tokens_without_answer": job.tokens_unanswered,
            "answers": job.requests,
            "refused": len(job.refused),
            "bytes": job.log.size,
            "running": now.state == "running",
            **job.directory.description,
        }
    finally:
        job.close()
