"""The second pass of a batch: read the input again and write the output, in input order.

The output is a pure function of input and store: every row's key must be there. A key that is not
shows that the input changed between the passes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tovec.batch.inputs import changed
from tovec.batch.job_run import JobRun
from tovec.batch.rejects import Rejects
from tovec.batch.specification import Batch
from tovec.batch.write_behind import WriteBehind
from tovec.formats.protocols import VectorMeta
from tovec.formats.quantised import Ranges, shorten
from tovec.pipeline.destination import STDOUT, Destination
from tovec.pipeline.prepare import Preparation
from tovec.pipeline.reorder import Finished, Prepared, finish, no_rows
from tovec.store.content_keys import keys_of
from tovec.store.durable import OutputFile, Published, exists, is_ours, resolve, writing


def check_rejects(work: Batch, ours: Published) -> None:
    """Raise FileError for a file of rejected rows that is not ours, before anything is paid for."""
    path = resolve(work.rejects_path)
    if os.path.lexists(path) and not work.force and not is_ours(path, ours):
        raise exists(work.rejects_path)


def write_output(run: JobRun, destination: Destination, *, asked: bool) -> Published:
    """Write every row and publish the output; return the files that became visible.

    `asked` says that the first pass has counted the rows. Raises InputChanged where the input is
    not what it was then.
    """
    work, report = run.work, run.report
    rejects = Rejects(work, run.job.published)
    prepare = run.preparation(rejects.problem)
    try:
        with writing(work.output, f"the vectors are stored in {work.directory}"):
            destination.begin(_meta(run))
            with WriteBehind(destination) as behind:
                for finished in stored_blocks(run, prepare, asked=asked):
                    rejects.refused(finished)
                    report.wrote(behind.write(finished))
                report.wrote(behind.finish())
            rejects.finish()
        if not asked:
            report.rows, report.blank = prepare.rows, prepare.blank
            run.remark(prepare)
        run.inputs.check_unchanged()
        report.rejected = rejects.count
        return _publish(run, destination, rejects)
    except BaseException:
        rejects.discard()
        raise


def _meta(run: JobRun) -> VectorMeta:
    """Return what the output says of its vectors, with the ranges of their dimensions if asked."""
    target = run.work.target
    meta = run.connection.meta(target.dtype)
    if target.int8_scale != "dimension":
        return meta
    run.note("finding the range of each dimension, in a pass over the stored vectors")
    ranges = Ranges()
    for finished in stored_blocks(run, run.preparation(), asked=True):
        size = target.write.truncate_dim
        ranges.add(finished.vectors if size is None else shorten(finished.vectors, size))
    return meta._replace(scale=ranges.scale(target.dtype))


def stored_blocks(run: JobRun, prepare: Preparation, *, asked: bool) -> Iterator[Finished]:
    """Yield the input's rows with the vectors that are stored for them.

    An input without a row that has one yields one block of no rows, which says what its fields are.
    """
    fields, is_empty = None, True
    for block in run.inputs.blocks():
        prepared = prepare(block)
        if not asked:  # else they were counted then
            run.report.inputs += len(prepared.inputs)
            run.report.reused += len(prepared.inputs)
        fields = prepared.rows if fields is None else fields
        if len(prepared.inputs):
            is_empty = False
            yield _found(prepared, run)
    if is_empty and fields is not None:
        yield no_rows(fields, prepare.no_extra, run.connection.dimensions)


def _found(prepared: Prepared, run: JobRun) -> Finished:
    """Return a block's rows with the vectors that are stored for them."""
    job = run.job
    keys = keys_of(prepared.inputs, job.digest)
    ordinals = job.index.find(keys)
    if (ordinals < 0).any():
        raise changed(prepared.source)
    vectors, refused, unknown = job.vectors(ordinals)
    if len(unknown):
        raise changed(prepared.source)
    if run.sample is not None:
        run.sample.take(prepared.inputs, keys, vectors, refused)
    return finish(prepared, vectors, refused)


def _publish(run: JobRun, destination: Destination, rejects: Rejects) -> Published:
    """Make the output visible, and the rejected rows, or remove those of an earlier run."""
    if run.work.output == STDOUT:
        destination.prepare()
        destination.publish()
        return ()
    outputs: list[OutputFile | Destination] = [*rejects.outputs, destination]
    published = [one for output in outputs for one in output.prepare()]
    stale = resolve(run.work.rejects_path)
    is_stale = not rejects.outputs and is_ours(stale, run.job.published)
    # Before the names appear: a run killed just after them then knows its own files.
    run.job.note("published", published)
    for output in outputs:
        output.publish()
    if is_stale:
        with contextlib.suppress(OSError):
            stale.unlink()
    return published
