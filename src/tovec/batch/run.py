"""`tovec batch`, put together: ask for what the store lacks, then write the output from it.

Resuming is not a special path: every run asks for what its store lacks, and a resumed run is a
run. DESIGN section 5 is the promise that this keeps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from io import RawIOBase

import orjson

from tovec.batch.ask import ask
from tovec.batch.budget import Metered
from tovec.batch.history import finished as finished_notes
from tovec.batch.history import note_end, note_start
from tovec.batch.inputs import InputChanged, Inputs
from tovec.batch.job_run import JobRun
from tovec.batch.report import Report, is_report
from tovec.batch.specification import Batch, check
from tovec.batch.verify import Sample
from tovec.batch.write import check_rejects, write_output
from tovec.endpoint.address import identity as endpoint_identity
from tovec.events import Note, Observer
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.destination import STDOUT, open_destination
from tovec.pipeline.number_types import check_number_types
from tovec.records import as_text
from tovec.store.durable import OutputFile, Published
from tovec.store.job import Job
from tovec.store.removal import FinishedJob, find_finished
from tovec.store.repair import Damage
from tovec.wording import count_phrase

Blot = Callable[[str], str]


def run(work: Batch, observer: Observer, hide: Hide, stdin: RawIOBase | None = None) -> Report:
    """Do the job, or what is left of it; return what was done.

    Where its directory is to go, `Report.finished` holds it, for the caller to remove when all is
    said. Raises whatever stops it: what was received is stored then, and running again goes on.
    """
    check(work)
    report = Report(observer)
    blots: list[Blot] = []

    def hide_here_too(blot: Blot) -> None:
        blots.append(blot)
        hide(blot)

    connection = connect(work.settings, work.environ, report, hide_here_too, Metered)
    check_number_types(work.target, connection, observer)
    report.price = connection.model.price
    if (finished := find_finished(work.directory)) is not None:
        if _has_written(finished, work):
            observer(Note("the job had finished; only clean-up was left", "warning"))
            if work.verify is not None:
                observer(Note("--verify did nothing: the stored vectors are gone", "warning"))
            report.finished = finished
            return report
        finished.remove_contents()
        finished.remove_directory()
        finished.close()
    job = Job(work.directory, identity(connection), repair=work.repair)
    try:
        if job.damage is not None:
            observer(_repaired(job.damage, len(job.log)))
        inputs = Inputs(work.paths, work.read._replace(ours=work.ours), job, stdin)
        sample = None if work.verify is None else Sample(work.verify)
        job_run = JobRun(work, connection, job, inputs, report, sample)
        stamp, published = _run_job(job_run)
        if sample is not None:
            # The first connection was closed when everything had been asked for.
            with connect(work.settings, work.environ, report, hide_here_too, Metered) as again:
                report.verified = sample.verify(again)
        _finish(job_run, published, stamp)
        return report
    except BaseException as error:
        if job.is_empty():
            job.abandon()
        else:
            _note_end(job, error, report, blots)
        raise
    finally:
        job.close()


def _has_written(finished: FinishedJob, work: Batch) -> bool:
    """Return whether the output of a finished job is there; what went to stdout is not."""
    same = finished.record.get("output") == as_text(work.output)
    return same and work.output != STDOUT and os.path.lexists(work.output)


def identity(connection: Connection) -> dict[str, object]:
    """Return what, beside a text, makes its vector: two that differ share no vector."""
    return endpoint_identity(connection.client.endpoint)


def _run_job(run: JobRun) -> tuple[list[list[int]] | None, Published]:
    """Ask, write and publish; return the stamp of the inputs, and the files that are visible."""
    stamp = run.inputs.stamp
    published = _written_again(run, stamp)
    if published is None:
        published = _written(run, asks=True)
    return stamp, published


def _written_again(run: JobRun, stamp: list[list[int]] | None) -> Published | None:
    """Write the output of a finished job whose files look as they did then; None if it is not.

    Nothing is trusted but the store: a row that it lacks shows that the files differ after all.
    """
    if stamp is None or stamp != run.job.done.get("inputs") or run.work.output == STDOUT:
        return None
    try:
        return _written(run, asks=False)
    except InputChanged:
        run.report.begin_again()
        if run.sample is not None:
            run.sample.clear()
        return None


def _written(run: JobRun, *, asks: bool) -> Published:
    """Ask for what the store lacks, unless it lacks nothing, and write the output."""
    check_rejects(run.work, run.job.published)
    destination = open_destination(run.work.target, force=run.work.force, ours=run.job.published)
    try:
        run.inputs.settle(run.note)
        run.report.total = run.inputs.about_rows()
        if asks:
            note_start(run.job, run.report.total)
            ask(run)
        return write_output(run, destination, asked=asks)
    except BaseException:
        destination.discard()
        raise


def _finish(run: JobRun, published: Published, stamp: list[list[int]] | None) -> None:
    """Write the report, and note that the job is done, or hand its directory to the caller."""
    work, report = run.work, run.report
    # Rows that are fixed are picked up by the next run, which then pays for them alone.
    keep = work.keep_job or report.rejected > 0
    record: dict[str, object] = {"output": as_text(work.output), "published": published}
    record |= finished_notes(report.rows, report.rejected)
    if not report.rejected:  # else some of them may be asked for again
        record["inputs"] = stamp
    if work.stats is not None:
        stats = OutputFile(work.stats, force=work.force or is_report(work.stats))
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        stats.file.write(orjson.dumps(report.as_json(), option=options))
        stats.commit()
    report.finished = run.job.finish(keep=keep, record=record)


def _note_end(job: Job, error: BaseException, report: Report, blots: Sequence[Blot]) -> None:
    def blot(text: str) -> str:
        for one in blots:
            text = one(text)
        return text

    note_end(
        job,
        error,
        rows=report.rows_done,
        total=report.total,
        is_exact=report.total_is_exact,
        blot=blot,
    )


def _repaired(damage: Damage, vectors: int) -> Note:
    """Return what there is to say of a repair."""
    if not damage.rewritten and not damage.missing:
        return Note("the job's log is not damaged, nothing to repair", "summary")
    found = []
    if damage.pieces:
        pieces = count_phrase(damage.pieces, "piece")
        size = count_phrase(damage.bytes, "byte")
        found.append(f"{pieces} ({size}) moved to {', '.join(damage.files)}")
    elif damage.rewritten:
        found.append("some answers were missing")
    if damage.missing:
        found.append(f"{count_phrase(damage.missing, 'segment was', 'segments were')} missing")
    left = count_phrase(vectors, "vector is", "vectors are")
    return Note(f"the job's log was repaired: {', '.join(found)}; {left} left", "warning")
