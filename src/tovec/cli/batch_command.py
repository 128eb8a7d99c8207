"""The command `tovec batch`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from tovec.cli.arguments import (
    if_exists,
    is_skipped,
    load_settings,
    long_texts,
    output_path,
    output_target,
    read_options,
    share,
)
from tovec.cli.options import (
    Common,
    EndpointOptions,
    InputOptions,
    JobActions,
    JobOptions,
    OutputOptions,
)
from tovec.cli.progress import Watch, clock, display
from tovec.cli.reporting import Reporter
from tovec.cli.signatures import argument
from tovec.errors import UsageError
from tovec.startup import load_numpy
from tovec.wording import count_phrase

if TYPE_CHECKING:
    from tovec.batch.report import Report
    from tovec.batch.specification import Batch


def batch(
    reporter: Reporter,
    common: Common,
    actions: JobActions,
    endpoint: EndpointOptions,
    input_options: InputOptions,
    output: OutputOptions,
    job: JobOptions,
    inputs: Annotated[list[str] | None, argument("INPUT...", "Files of rows; - is stdin.")] = None,
) -> None:
    """Embed files as a job: kill it, run it again, pay for nothing twice.

    tovec batch rows.jsonl -o vectors.parquet -p openai

    tovec batch rows.jsonl -o vectors.parquet --dry-run    # what will it cost?

    tovec batch rows.jsonl -o vectors.parquet --keep-job   # pay for changes only
    """
    _check_actions(actions, output, job)
    target, replaced = output_path(output), if_exists(output)
    if not (actions.status or actions.dry_run) and is_skipped(target, replaced, reporter):
        return
    load_numpy()
    from tovec.batch import dry_run
    from tovec.batch.run import run
    from tovec.batch.specification import Batch
    from tovec.cli.status_view import show_facts, status_words

    work = Batch(
        settings=load_settings(common, endpoint),
        environ=os.environ,
        paths=tuple(inputs or ()),
        target=output_target(output, input_options.id_field, job.rows_per_file, job.int8_scale),
        read=read_options(input_options, output.columns),
        long=long_texts(input_options),
        if_exists=replaced,
        repair=actions.repair,
        job_dir=job.job_dir,
        keep_job=job.keep_job,
        on_error=job.on_error,
        rejects=job.rejects,
        max_cost=job.max_cost,
        max_tokens=job.max_tokens,
        stats=job.stats,
        verify=share(job.verify, "--verify"),
    )
    if actions.status:
        facts = dry_run.holdings(work.directory)
        show_facts(facts, status_words(facts))
        return
    if not work.paths:
        raise UsageError("there is no input", hint="name files of rows; - is stdin")
    if actions.dry_run:
        facts = dry_run.plan(work, reporter.event, reporter.hide)
        show_facts(facts, facts)
        return
    with Watch(reporter, display(job.progress, reporter)) as watch:
        done = run(work, watch, reporter.hide)
    is_clean = _report(done, work, reporter, common)
    if done.finished is not None:
        done.finished.remove_contents()
        reporter.finished = done.finished  # the directory itself goes when the process ends
    if not is_clean:
        raise typer.Exit(3)


def _check_actions(actions: JobActions, output: OutputOptions, job: JobOptions) -> None:
    """Raise UsageError where the job has no name, or two actions do not go together."""
    if output.output is None and job.job_dir is None:
        raise UsageError("the job has no output", hint="name it with -o OUTPUT")
    if actions.repair and (actions.status or actions.dry_run):
        raise UsageError(
            f"--repair changes the job, {'--status' if actions.status else '--dry-run'} does not",
            hint="leave one of them out",
        )


def _report(done: Report, work: Batch, reporter: Reporter, common: Common) -> bool:
    """Report what the job did; return whether all rows have a vector, and the same as before."""
    reporter.say("info" if common.quiet else "summary", _summary(done, work), **done.as_json())
    is_changed = done.verified is not None and not done.verified.is_good
    if is_changed:
        reporter.say("warning", _verified(done))
    if done.rejected:
        where = work.rejects_path
        rows = count_phrase(done.rejected, "row was", "rows were")
        hint = f"the vectors are kept in {work.directory}: fix the rows and run again"
        reporter.say("warning", f"{rows} rejected, see {where}; {hint}")
    return not (done.rejected or is_changed)


def _verified(done: Report) -> str:
    """Return what came of asking for some texts again."""
    assert done.verified is not None
    texts = count_phrase(done.verified.texts, "text")
    least = done.verified.least_cosine
    if done.verified.is_good:
        return f"{texts} requested again: least cosine {least:.6f}"
    found = "the endpoint refuses them now" if least is None else f"least cosine {least:.6f}"
    advice = "the endpoint's vectors change; `tovec config check --vectors` finds out how"
    return f"{texts} requested again: {found}; {advice}"


def _summary(done: Report, work: Batch) -> str:
    figures = done.as_json()
    parts = [f"{count_phrase(done.written, 'row')} written to {work.output}"]
    if done.reused:
        parts.append(f"{count_phrase(done.reused, 'vector')} reused")
    if figures["inputs_repeated"]:
        repeated = count_phrase(figures["inputs_repeated"], "repeated text")
        parts.append(f"{repeated} requested once")
    requests = count_phrase(done.traffic.answers, "request")
    tokens = count_phrase(done.tokens, "token")
    if done.traffic.estimated:
        tokens = f"at most {tokens} (the endpoint does not report them)"
    parts += [requests, tokens]
    if done.cost:
        parts.append(f"${done.cost:.4f}")
    if retried := +done.resent.causes:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in retried.most_common())
        parts.append(f"retried: {causes}")
    if twice := done.resent.maybe_paid:
        parts.append(f"{count_phrase(twice, 'request')} may have been billed twice")
    if done.verified is not None and done.verified.is_good:
        parts.append(_verified(done))
    if done.blank:
        parts.append(f"{count_phrase(done.blank, 'blank line')} skipped")
    parts.append(clock(figures["seconds"]))
    return ", ".join(parts)
