"""One run of a job, as its two passes share it."""

from __future__ import annotations

from typing import NamedTuple

from tovec.batch.inputs import Inputs
from tovec.batch.report import Report
from tovec.batch.specification import Batch
from tovec.batch.verify import Sample
from tovec.events import Level, Note
from tovec.pipeline.connect import Connection
from tovec.pipeline.prepare import OnReject, Preparation
from tovec.records import Problem
from tovec.store.job import Job


def _leave_it(_problem: Problem) -> None:
    """Do nothing about a rejected row: the pass that writes collects them."""


class JobRun(NamedTuple):
    """What a run is to do, and what it does it with."""

    work: Batch
    connection: Connection
    job: Job
    inputs: Inputs
    report: Report
    sample: Sample | None = None  # to be asked for again at the end

    def preparation(self, on_reject: OnReject = _leave_it) -> Preparation:
        """Return what judges and counts the rows of a pass."""
        return Preparation(
            self.connection.client.limits.item_tokens,
            self.connection.count_text,
            strict=self.work.on_error == "stop",
            on_reject=on_reject,
            long=self.work.long,
            id_field=self.work.read.id_field,
        )

    def remark(self, prepare: Preparation) -> None:
        """Say what there is to say of the rows, once all have been read."""
        self.report.total, self.report.total_is_exact = prepare.rows, True
        for remark in prepare.remarks():
            self.note(remark, "warning")

    def note(self, text: str, level: Level = "info") -> None:
        """Tell the user something."""
        self.report(Note(text, level))
