"""The command `tovec batch`."""

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tovec.cli.options import (
    JOB,
    Common,
    EndpointOptions,
    InputOptions,
    JobOptions,
    OutputOptions,
    chosen,
    if_exists,
    long_texts,
    names,
    one_of,
    output_path,
    read_options,
    skips,
)
from tovec.cli.progress import KINDS, Watch, clock, display
from tovec.cli.reporting import Reporter
from tovec.errors import UsageError
from tovec.startup import load_numpy
from tovec.wording import count_phrase


def batch(
    reporter: Reporter,
    common: Common,
    endpoint: EndpointOptions,
    input_options: InputOptions,
    output: OutputOptions,
    job: JobOptions,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Files of rows; - is stdin.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Count rows, tokens, requests and cost; ask for nothing.",
            rich_help_panel=JOB,
        ),
    ] = False,
    status: Annotated[
        bool,
        typer.Option(
            "--status",
            help="Say how far the job is, since when, and why it stopped.",
            rich_help_panel=JOB,
        ),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Set damaged parts of the job's log aside and ask for their rows again.",
            rich_help_panel=JOB,
        ),
    ] = False,
) -> None:
    """Embed files as a job: kill it, run it again, pay for nothing twice.

    tovec batch rows.jsonl -o vectors.parquet -p openai

    tovec batch rows.jsonl -o vectors.parquet --dry-run    # what will it cost?

    tovec batch rows.jsonl -o vectors.parquet --keep-job   # pay for changes only
    """
    if output.output is None and job.job_dir is None:
        raise UsageError("the job has no output", hint="name it with -o OUTPUT")
    target, replaced = output_path(output), if_exists(output)
    if not (status or dry_run) and skips(target, replaced, reporter):
        return
    load_numpy()
    from tovec.batch import run as jobs
    from tovec.formats.protocols import WriteOptions

    work = jobs.Batch(
        settings=chosen(common, endpoint),
        environ=os.environ,
        paths=tuple(inputs or ()),
        output=target or "-",
        read=read_options(input_options, output.columns),
        long=long_texts(input_options),
        format=output.format,
        dtype=one_of("--dtype", output.dtype, ("float32", "float16")),
        write=WriteOptions(names(output.columns), input_options.id_field),
        if_exists=replaced,
        job_dir=job.job_dir,
        keep_job=job.keep_job,
        on_error=one_of("--on-error", job.on_error, ("reject", "stop")),
        rejects=job.rejects,
        rows_per_file=job.rows_per_file,
        max_cost=job.max_cost,
        max_tokens=job.max_tokens,
        stats=job.stats,
        repair=repair,
    )
    if repair and (status or dry_run):
        raise UsageError(
            f"--repair changes the job, {'--status' if status else '--dry-run'} does not",
            hint="leave one of them out",
        )
    if status:
        from tovec.batch.dry_run import holdings

        facts = holdings(work.directory)
        _table(facts, _status_words(facts))
        return
    if not work.paths:
        raise UsageError("there is no input", hint="name files of rows; - is stdin")
    if dry_run:
        from tovec.batch.dry_run import plan

        facts = plan(work, reporter.event, reporter.hide)
        _table(facts, facts)
        return
    with Watch(reporter, display(one_of("--progress", job.progress, KINDS), reporter)) as watch:
        done = jobs.run(work, watch, reporter.hide)
    reporter.say("info" if common.quiet else "summary", _summary(done, work), **done.as_json())
    if done.rejected:
        where = work.rejects_path
        hint = f"the vectors are kept in {work.directory}: mend the rows and run again"
        reporter.say("warning", f"{done.rejected:,} rows were rejected, see {where}; {hint}")
        raise typer.Exit(3)


def _summary(done: Any, work: Any) -> str:
    figures = done.as_json()
    parts = [f"{done.written:,} rows written to {work.output}"]
    if done.reused:
        parts.append(f"{done.reused:,} vectors reused")
    if figures["inputs_repeated"]:
        parts.append(f"{figures['inputs_repeated']:,} equal texts asked for once")
    requests = count_phrase(done.answers, "request")
    tokens = f"{done.tokens + done.estimated:,} tokens"
    if done.estimated:
        tokens = f"at most {tokens} (the endpoint does not report them)"
    parts += [requests, tokens]
    if done.cost:
        parts.append(f"${done.cost:.4f}")
    if retried := +done.resent.causes:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in retried.most_common())
        parts.append(f"retried: {causes}")
    if twice := done.resent.maybe_paid:
        parts.append(f"{twice:,} requests may have been billed twice")
    if done.blank:
        parts.append(f"{done.blank:,} blank lines skipped")
    parts.append(clock(figures["seconds"]))
    return ", ".join(parts)


def _table(facts: Mapping[str, object], words: Mapping[str, object]) -> None:
    """Write `words` to a terminal as aligned lines, or `facts` to a pipe as one JSON object."""
    from tovec.cli.terminal import encodable, is_terminal, safe

    if is_terminal():
        width = max(map(len, words))
        for name, value in words.items():
            line = f"{name:<{width}}  {safe(_in_words(value))}\n"
            sys.stdout.write(encodable(line, sys.stdout))
        return
    import json

    sys.stdout.write(json.dumps(facts) + "\n")


def _in_words(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _status_words(facts: Mapping[str, Any]) -> dict[str, object]:
    """Return a job's facts as a reader wants them: what matters first, and nothing unknown."""
    state = facts["state"]
    if facts["exit_code"] is not None:
        state += f", exit {facts['exit_code']}: {facts['exit_means']}"
    rows, total = facts["rows"], facts["rows_total"]
    if rows is not None and total is not None and facts["state"] != "finished":
        about = "about " if facts["rows_total_is"] == "about" else ""
        rows = f"{rows:,} of {about}{total:,}"
    told = {"directory", "rows_total", "rows_total_is", "exit_code", "exit_means", "running"}
    words = {name: value for name, value in facts.items() if name not in (*told, "identity")}
    words = {"directory": facts["directory"], **words, "state": state, "rows": rows}
    for name, value in _flattened(facts["identity"]).items():
        words.setdefault(name, value)
    return {name: value for name, value in words.items() if value not in (None, 0, "")}


def _flattened(facts: Mapping[str, Any]) -> dict[str, object]:
    """Return facts and the facts within them; a list is shown as JSON."""
    flat: dict[str, object] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value)
        elif isinstance(value, list):
            import json

            flat[name] = json.dumps(value, ensure_ascii=False)
        else:
            flat[name] = value
    return flat
