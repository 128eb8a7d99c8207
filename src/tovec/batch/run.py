"""`tovec batch`, put together: ask for what the store lacks, then write the output from it.

Resuming is not a special path: every run asks for what its store lacks, and a resumed run is a
run. DESIGN section 5 is the promise that this keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from io import RawIOBase
from typing import Any, BinaryIO, NamedTuple

from tovec import formats
from tovec.batch.ask import Gather
from tovec.batch.budget import Budget, Metered
from tovec.batch.commit import GroupCommit
from tovec.batch.history import finished as finished_notes
from tovec.batch.history import note_end, note_start
from tovec.batch.inputs import STDIN, InputChanged, Inputs
from tovec.batch.report import Report, is_report
from tovec.batch.write import PartOutput, Rejects, SingleOutput, deliver
from tovec.endpoint.address import identity as endpoint_identity
from tovec.errors import Stopped, TovecError, UsageError
from tovec.events import Level, Note, Observer
from tovec.formats.protocols import ReadOptions, Sink, WriteOptions
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.packing import Packer
from tovec.pipeline.prepare import OnReject, Preparation
from tovec.pipeline.reorder import Prepared
from tovec.records import Block, Limits, as_text
from tovec.settings import Settings
from tovec.store.collisions import check_collisions
from tovec.store.durable import (
    OutputFile,
    Published,
    StandardOutput,
    exists,
    is_ours,
    resolve,
    writing,
)
from tovec.store.job import Job, finish_removal
from tovec.store.output_directory import OutputDirectory
from tovec.store.repair import Damage
from tovec.wording import count_phrase

Blot = Callable[[str], str]


class Batch(NamedTuple):
    """What one `tovec batch` is to do."""

    settings: Settings
    environ: Mapping[str, str]
    paths: tuple[str, ...]
    output: str
    read: ReadOptions = ReadOptions()
    long: LongTexts = LongTexts()
    format: str | None = None
    dtype: str = "float32"
    write: WriteOptions = WriteOptions()
    if_exists: str = "error"  # or "skip", "replace"
    job_dir: str | None = None
    keep_job: bool = False
    on_error: str = "reject"  # or "stop"
    rejects: str | None = None
    rows_per_file: int | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    stats: str | None = None
    repair: bool = False

    @property
    def force(self) -> bool:
        """Whether files that exist are replaced."""
        return self.if_exists == "replace"

    @property
    def directory(self) -> str:
        """Give the job's directory."""
        return self.job_dir or self.output.rstrip("/") + ".tovec"

    @property
    def rejects_path(self) -> str:
        """Give where rejected rows go."""
        return self.rejects or self.output.rstrip("/") + ".rejects.jsonl"

    @property
    def ours(self) -> tuple[str, ...]:
        """Give the paths that the job writes to; they are no input where a directory is read."""
        written = (self.output.rstrip("/"), self.directory, self.rejects_path, self.stats)
        return tuple(path for path in written if path not in (None, STDIN))


def run(work: Batch, observer: Observer, hide: Hide, stdin: RawIOBase | None = None) -> Report:
    """Do the job, or what is left of it; give what was done.

    Raises whatever stops it: what was received is stored then, and running again goes on.
    """
    _check(work)
    report = Report(observer)
    blots: list[Blot] = []

    def hide_here_too(blot: Blot) -> None:
        blots.append(blot)
        hide(blot)

    connection = connect(work.settings, work.environ, report, hide_here_too, Metered)
    report.price = connection.model.price
    finished = finish_removal(work.directory)
    if finished is not None and finished.get("output") == as_text(work.output):
        observer(Note("the job was done already, but for tidying up", "warning"))
        return report
    job = Job(work.directory, identity(connection), repair=work.repair)
    try:
        if job.damage is not None:
            observer(_repaired(job.damage, len(job.log)))
        return _Run(work, connection, job, report, stdin).whole()
    except BaseException as error:
        if job.is_empty():
            job.abandon()
        else:
            _note_end(job, error, report, blots)
        raise
    finally:
        job.close()


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
        found.append(f"{pieces} ({damage.bytes:,} bytes) moved to {', '.join(damage.files)}")
    elif damage.rewritten:
        found.append("some answers were missing")
    if damage.missing:
        found.append(f"{count_phrase(damage.missing, 'segment was', 'segments were')} missing")
    left = count_phrase(vectors, "vector is", "vectors are")
    return Note(f"the job's log was repaired: {', '.join(found)}; {left} left", "warning")


def identity(connection: Connection) -> dict[str, Any]:
    """Return what, beside a text, makes its vector: two that differ share no vector."""
    return endpoint_identity(connection.client.endpoint)


def _check(work: Batch) -> None:
    name = formats.output_format(work.output, work.format)
    formats.check_writable(name, seekable=work.output != STDIN)
    formats.output_compression(work.rejects)  # an ending of one that is not written is refused
    check_collisions(
        {
            "the output": work.output,
            "its side file": f"{work.output}.json" if name == "npy" else None,
            "--rejects": work.rejects_path,
            "--stats": work.stats,
            "the job directory": work.directory,
        },
        work.paths,
        work.directory,
    )
    stats = work.stats
    if stats is not None and not work.force and os.path.lexists(stats) and not is_report(stats):
        raise exists(stats)
    if list(work.paths).count(STDIN) > 1:
        raise UsageError("standard input can be read once only")
    if work.output == STDIN and work.job_dir is None:
        raise UsageError(
            "a job needs a place to store what it receives",
            hint="name the output with -o FILE, or a directory with --job-dir DIR",
        )


class _Run:
    """One run of a job."""

    def __init__(
        self,
        work: Batch,
        connection: Connection,
        job: Job,
        report: Report,
        stdin: RawIOBase | None,
    ) -> None:
        self._work, self._connection, self._job, self._report = work, connection, job, report
        self._inputs = Inputs(work.paths, work.read._replace(ours=work.ours), job, stdin)
        self._stamp = self._inputs.stamp
        client = connection.client
        # What earlier answers said is what later ones are held to.
        client.dialect.model = job.about.get("model")
        client.dialect.dimensions = job.log.dimensions
        if learned := job.notes.get("limits"):
            client.limits = Limits(*learned)
        self._limits = client.limits

    def whole(self) -> Report:
        """Ask, write, publish, tidy up."""
        published = self._written_again()
        if published is None:
            published = self._written(ask=True)
        self._finish(published)
        return self._report

    def _written_again(self) -> Published | None:
        """Write the output of a finished job whose files look as they did then; None if it is not.

        Nothing is trusted but the store: a row that it lacks shows that the files differ after all.
        """
        changed = self._stamp is None or self._stamp != self._job.done.get("inputs")
        if changed or self._work.output == STDIN:
            return None
        try:
            return self._written(ask=False)
        except InputChanged:
            self._report.begin_again()
            return None

    def _written(self, *, ask: bool) -> Published:
        """Ask for what the store lacks, unless it lacks nothing, and write the output."""
        output = self._output()
        try:
            self._inputs.settle(self._note)
            self._report.total = self._inputs.about_rows()
            if ask:
                note_start(self._job, self._report.total)
                self._ask()
            return self._write(output, asked=ask)
        except BaseException:
            output.discard()
            raise

    # Asking ---------------------------------------------------------------------------------------

    def _prepare(self, on_reject: OnReject = lambda _problem: None) -> Preparation:
        return Preparation(
            self._connection.client.limits.item_tokens,
            self._connection.count_text,
            strict=self._work.on_error == "stop",
            on_reject=on_reject,
            long=self._work.long,
            id_field=self._work.read.id_field,
        )

    def _ask(self) -> None:
        prepare = self._prepare()
        report, client = self._report, self._connection.client

        def on_block(inputs: int, asked: int, reused: int) -> None:
            report.inputs += inputs
            report.asked += asked
            report.reused += reused
            report.rows = prepare.rows
            report.progress("asking")

        async def store_exposure(tokens: int) -> None:
            await commit.note("unanswered", tokens)

        budget = self._budget(store_exposure)
        commit = GroupCommit(self._job, budget, lambda: report.rows_done, report.estimate)

        async def asking() -> None:
            gather = Gather(
                self._job,
                self._connection.dispatcher,
                Packer(lambda: client.limits),
                commit,
                concurrency=self._connection.concurrency,
                budget=budget,
                on_block=on_block,
            )
            try:
                await gather.run(self._inputs.blocks(), prepare)
                self._connection.dispatcher.check_accepted()
            finally:
                await commit.close()
                await client.close()

        try:
            asyncio.run(asking())
        except (Stopped, TovecError):
            if len(self._job.log):
                done = f"{len(self._job.log):,} vectors are stored in {self._work.directory}"
                self._note(f"stopped; {done}; run the same command to go on", "warning")
            raise
        finally:
            report.rows, report.blank = prepare.rows, prepare.blank
            self._keep_limits()
            self._keep_unanswered(budget)
        self._remark(prepare)

    def _remark(self, prepare: Preparation) -> None:
        """Say what there is to say of the rows, once all have been read."""
        self._report.total, self._report.total_is_exact = prepare.rows, True
        for remark in prepare.remarks():
            self._note(remark, "warning")

    def _keep_limits(self) -> None:
        limits = self._connection.client.limits
        if limits != self._limits and len(self._job.log):
            with contextlib.suppress(Exception):  # a disk that failed has been told of
                self._job.note("limits", list(limits))

    def _keep_unanswered(self, budget: Budget) -> None:
        if budget.unanswered != self._job.tokens_unanswered:
            with contextlib.suppress(Exception):  # as above
                self._job.note("unanswered", budget.unanswered)

    def _budget(self, store_exposure: Callable[[int], Awaitable[None]]) -> Budget:
        work, model = self._work, self._connection.model
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
        job, count = self._job, self._connection.count_texts
        limit, because = min(limits) if limits else (None, "")
        return Budget(
            limit, job.tokens, job.tokens_unanswered, because, count, store_exposure=store_exposure
        )

    # Writing --------------------------------------------------------------------------------------

    def _rejects_file(self) -> OutputFile:
        work = self._work
        return OutputFile(work.rejects_path, force=work.force, ours=self._job.published)

    def _output(self) -> OutputFile | OutputDirectory | StandardOutput:
        work, ours = self._work, self._job.published
        rejects = resolve(work.rejects_path)  # before anything is paid for
        if os.path.lexists(rejects) and not work.force and not is_ours(rejects, ours):
            raise exists(work.rejects_path)
        if work.output == STDIN:
            return StandardOutput()
        if work.rows_per_file is not None:
            return OutputDirectory(work.output, force=work.force, ours=ours)
        return OutputFile(work.output, force=work.force, ours=ours)

    def _write(
        self, stored: OutputFile | OutputDirectory | StandardOutput, *, asked: bool
    ) -> Published:
        work, report = self._work, self._report
        beside: list[OutputFile] = []

        def rejects_file() -> BinaryIO:
            # Made by tovec and for tovec's rows alone: one of an earlier run is replaced.
            beside.append(self._rejects_file())
            return beside[0].file

        rejects = Rejects(rejects_file, formats.output_compression(work.rejects))
        prepare = self._prepare(rejects.problem)
        output = self._opened(stored)

        def prepared(block: Block) -> Prepared:
            ready = prepare(block)
            if not asked:  # else they were counted then
                report.inputs += len(ready.inputs)
                report.reused += len(ready.inputs)
            return ready

        def on_rows(count: int) -> None:
            report.written += count
            report.progress("writing")

        try:
            with writing(work.output, f"the vectors are stored in {work.directory}"):
                deliver(
                    self._inputs.blocks(), prepared, self._job, output, rejects, on_rows,
                    self._connection.dimensions, prepare.no_extra,
                )  # fmt: skip
                output.finish()
                rejects.finish()
            if not asked:
                report.rows, report.blank = prepare.rows, prepare.blank
                self._remark(prepare)
            self._inputs.check_unchanged()
            report.rejected = rejects.count
            return self._publish(stored, beside)
        except BaseException:
            for one in beside:
                one.discard()
            raise

    def _opened(
        self, stored: OutputFile | OutputDirectory | StandardOutput
    ) -> SingleOutput | PartOutput:
        work = self._work
        name = formats.output_format(work.output, work.format)
        compression = formats.output_compression(work.output)
        ending = {"gzip": ".gz", "zstd": ".zst", None: ""}[compression]
        meta = self._connection.meta(work.dtype)
        if isinstance(stored, OutputDirectory):
            directory = stored
            return PartOutput(
                work.rows_per_file or 0,
                lambda n: formats.writer(
                    name,
                    directory.part(f"part-{n:05d}.{name}{ending}"),
                    meta,
                    work.write,
                    compression,
                ),
            )
        sink: Sink = stored
        return SingleOutput(formats.writer(name, sink, meta, work.write, compression))

    def _publish(
        self, stored: OutputFile | OutputDirectory | StandardOutput, beside: list[OutputFile]
    ) -> Published:
        if isinstance(stored, StandardOutput):
            stored.commit()
            return ()
        published = [one for output in (*beside, stored) for one in output.prepare()]
        rejects = resolve(self._work.rejects_path)
        stale = not beside and is_ours(rejects, self._job.published)
        # Before the names appear: a run killed just after them then knows its own files.
        self._job.note("published", published)
        for output in (*beside, stored):
            output.publish()
        if stale:
            with contextlib.suppress(OSError):
                rejects.unlink()
        return published

    def _finish(self, published: Published) -> None:
        work, report = self._work, self._report
        # Rows that are mended are picked up by the next run, which then pays for them alone.
        keep = work.keep_job or report.rejected > 0
        finished: dict[str, Any] = {"output": as_text(work.output), "published": published}
        finished |= finished_notes(report.rows, report.rejected)
        if not report.rejected:  # else some of them may be asked for again
            finished["inputs"] = self._stamp
        self._job.finish(keep=keep, finished=finished)
        if work.stats is not None:
            import orjson

            stats = OutputFile(work.stats, force=work.force or is_report(work.stats))
            options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
            stats.file.write(orjson.dumps(report.as_json(), option=options))
            stats.commit()

    def _note(self, text: str, level: Level = "info") -> None:
        self._report(Note(text, level))
