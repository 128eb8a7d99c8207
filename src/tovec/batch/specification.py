"""What one `tovec batch` is to do, and whether it can be done at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from tovec import formats
from tovec.batch.inputs import STDIN
from tovec.batch.report import is_report
from tovec.errors import UsageError
from tovec.formats.protocols import ReadOptions
from tovec.pipeline.destination import Target
from tovec.pipeline.long_texts import LongTexts
from tovec.settings import Settings
from tovec.store.collisions import check_collisions
from tovec.store.durable import exists


class Batch(NamedTuple):
    """What one `tovec batch` is to do."""

    settings: Settings
    environ: Mapping[str, str]
    paths: tuple[str, ...]
    target: Target
    read: ReadOptions = ReadOptions()
    long: LongTexts = LongTexts()
    if_exists: str = "error"  # or "skip", "replace"
    job_dir: str | None = None
    keep_job: bool = False
    on_error: str = "reject"  # or "stop"
    rejects: str | None = None
    max_cost: float | None = None
    max_tokens: int | None = None
    stats: str | None = None
    verify: float | None = None  # the share of the texts that is asked for again at the end
    repair: bool = False

    @property
    def output(self) -> str:
        """Return the path of the output."""
        return self.target.path

    @property
    def force(self) -> bool:
        """Return whether files that exist are replaced."""
        return self.if_exists == "replace"

    @property
    def directory(self) -> str:
        """Return the path of the job's directory."""
        return self.job_dir or self.output.rstrip("/") + ".tovec"

    @property
    def rejects_path(self) -> str:
        """Return where rejected rows go."""
        return self.rejects or self.output.rstrip("/") + ".rejects.jsonl"

    @property
    def ours(self) -> tuple[str, ...]:
        """Return the paths that the job writes: no input where a directory is read."""
        written = (self.output.rstrip("/"), self.directory, self.rejects_path, self.stats)
        return tuple(path for path in written if path not in (None, STDIN))


def check(work: Batch) -> None:
    """Raise UsageError or FileError for what cannot be done, before anything is asked for."""
    formats.check_writable(work.target.format_name, seekable=work.output != STDIN)
    formats.output_compression(work.rejects)  # an ending of one that is not written is refused
    check_collisions(
        {
            "the output": work.output,
            "its side file": work.target.side_file,
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
    if work.verify is not None and (work.max_cost, work.max_tokens) != (None, None):
        raise UsageError(
            "--verify asks for texts beyond what --max-cost and --max-tokens allow",
            hint="leave one of them out",
        )
    if list(work.paths).count(STDIN) > 1:
        raise UsageError("standard input can be read once only")
    if work.output == STDIN and work.job_dir is None:
        raise UsageError(
            "a job needs a directory to store vectors in",
            hint="name the output with -o FILE, or a directory with --job-dir DIR",
        )
