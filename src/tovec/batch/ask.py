"""The first pass of a batch: ask for every vector that the store lacks."""

from __future__ import annotations

import asyncio
import contextlib

from tovec.batch.budget import Budget
from tovec.batch.commit import GroupCommit
from tovec.batch.gather import Gather
from tovec.batch.job_run import JobRun
from tovec.errors import Stopped, TovecError, UsageError
from tovec.pipeline.packing import Packer
from tovec.pipeline.prepare import Preparation
from tovec.records import Limits
from tovec.wording import count_phrase


def ask(run: JobRun) -> None:
    """Store every vector that is lacking.

    Raises what ended it early: what was received by then is stored.
    """
    limits = _learned_limits(run)
    prepare, report = run.preparation(), run.report
    count_texts = run.connection.count_texts
    commit = GroupCommit(run.job, count_texts, lambda: report.rows_done, report.estimate)
    budget = _budget(run, commit)
    try:
        asyncio.run(_gather(run, prepare, budget, commit))
    except (Stopped, TovecError):
        if len(run.job.log):
            vectors = count_phrase(len(run.job.log), "vector is", "vectors are")
            done = f"{vectors} stored in {run.work.directory}"
            run.note(f"stopped; {done}; run the same command to resume", "warning")
        raise
    finally:
        run.report.rows, run.report.blank = prepare.rows, prepare.blank
        _keep_facts(run, limits, budget)
    run.remark(prepare)


async def _gather(run: JobRun, prepare: Preparation, budget: Budget, commit: GroupCommit) -> None:
    report, client = run.report, run.connection.client

    def on_block(inputs: int, asked: int, reused: int) -> None:
        report.inputs += inputs
        report.asked += asked
        report.reused += reused
        report.rows = prepare.rows
        report.progress("asking")

    gather = Gather(
        run.job,
        run.connection.dispatcher,
        Packer(lambda: client.limits),
        commit,
        concurrency=run.connection.concurrency,
        budget=budget,
        on_block=on_block,
    )
    try:
        await gather.run(run.inputs.blocks(), prepare)
        await run.connection.dispatcher.settle()
    finally:
        await commit.close()
        await client.close()


def _learned_limits(run: JobRun) -> Limits:
    """Hold the client to what earlier runs learned; return the limits that are known."""
    job, client = run.job, run.connection.client
    client.dialect.model = job.about.get("model")
    client.dialect.dimensions = job.log.dimensions
    if learned := job.notes.get("limits"):
        client.limits = Limits(*learned)
    return client.limits


def _keep_facts(run: JobRun, before: Limits, budget: Budget) -> None:
    """Store what the run has learned; a disk that failed has been told of."""
    job, limits = run.job, run.connection.client.limits
    with contextlib.suppress(Exception):
        if limits != before and len(job.log):
            job.note("limits", list(limits))
    with contextlib.suppress(Exception):
        if budget.unanswered != job.tokens_unanswered:
            job.note("unanswered", budget.unanswered)


def _budget(run: JobRun, commit: GroupCommit) -> Budget:
    """Return what the job may spend, over all its runs."""
    work, model, job = run.work, run.connection.model, run.job
    limits: list[tuple[int, str]] = []
    if work.max_tokens is not None:
        limits.append((work.max_tokens, f"--max-tokens {work.max_tokens}"))
    if work.max_cost is not None:
        if model.price is None:
            raise UsageError(
                f"--max-cost: the price of {model.id} is not known", hint="use --max-tokens"
            )
        affordable = work.max_cost * 1e6 / model.price if model.price else float("inf")
        if affordable != float("inf"):
            limits.append((int(affordable), f"--max-cost {work.max_cost}"))
    limit, because = min(limits) if limits else (None, "")
    return Budget(
        limit,
        job.tokens,
        job.tokens_unanswered,
        because,
        run.connection.count_texts,
        store_exposure=commit.note_unanswered,
    )
