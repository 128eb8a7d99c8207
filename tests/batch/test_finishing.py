"""A run killed after its output is complete: the same command says so, and asks for nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.cli.inside import Done, run
from tests.servers.loopback import Loopback

from tovec.cli import batch_command
from tovec.store import removal
from tovec.store.filesystem import RealFileSystem
from tovec.store.job import Job

TEXTS = [f"text {i}" for i in range(8)]


class Killed(BaseException):
    """The process ends here."""


class Place:
    """A directory with an input, an endpoint, and a count of what was asked for."""

    def __init__(self, directory: Path, server: Loopback) -> None:
        self.server = server
        self.output, self.job = directory / "o.jsonl", directory / "o.jsonl.tovec"
        self.rows = directory / "rows.txt"
        self.rows.write_text("".join(f"{text}\n" for text in TEXTS))

    def batch(self, *options: object, output: object = None) -> Done:
        endpoint = ("--base-url", self.server.base_url, "-m", "m")
        return run("batch", self.rows, "-o", output or self.output, *endpoint, *options)

    @property
    def asked(self) -> int:
        return len(self.server.ledger.entries)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Loopback(dimensions=8) as server:
        yield Place(tmp_path, server)


@contextmanager
def killed_at(operation: int) -> Iterator[None]:
    """Kill the run at an operation after all is said: no operation is done, every lock is free."""
    held: list[removal.FinishedJob] = []
    count = 0

    def stepping(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            nonlocal count
            if held:
                count += 1
                if count == operation:
                    held[0].close()
                    raise Killed
            return real(*given, **named)

        return step

    real_report = batch_command._report

    def report(done: Any, *more: Any) -> bool:
        is_clean: bool = real_report(done, *more)
        held.append(done.finished)
        return is_clean

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_command, "_report", report)
        for name in ("sync", "rename", "unlink", "rmdir"):
            patch.setattr(RealFileSystem, name, stepping(getattr(RealFileSystem, name)))
        yield


def test_a_job_killed_at_any_step_of_its_end_is_known_to_be_done(place: Place) -> None:
    """#270: until the mark is gone, in the step before the last; then the process ends at once."""
    assert place.batch().code == 0
    expected = place.output.read_bytes()
    for operation in range(1, 99):
        place.output.unlink()
        try:
            with killed_at(operation):
                assert place.batch().code == 0
            break
        except Killed:
            pass
        if not os.listdir(place.job):
            break
        before = place.asked
        done = place.batch()
        assert (done.code, place.asked) == (0, before), (operation, done.err)
        assert place.output.read_bytes() == expected
        assert not place.job.exists()
    assert operation == 11  # 4 for the mark, 3 files and a sync, the lock, the mark: all but rmdir
    assert list(place.job.iterdir()) == []


def finish_by_half(place: Place) -> None:
    """Leave the directory of a finished job as a kill does that comes while it is removed."""
    with pytest.raises(Killed), killed_at(7):
        place.batch()
    assert (place.job / removal.MARK).exists()


def test_a_finished_job_whose_output_is_gone_is_done_again(place: Place) -> None:
    """#271: exit 0 without an output would be a lie."""
    finish_by_half(place)
    expected = place.output.read_bytes()
    place.output.unlink()
    assert place.batch().code == 0
    assert place.output.read_bytes() == expected
    assert not place.job.exists()


def test_what_went_to_stdout_is_written_again(place: Place) -> None:
    """#271: its reader got it from a run that was killed, and may have kept nothing."""
    to_stdout = ("--job-dir", place.job, "--format", "jsonl")
    whole = place.batch(*to_stdout, output="-").out
    assert len(whole.splitlines()) == len(TEXTS)
    for operation, asks in ((1, False), (7, True)):  # before and after its vectors are removed
        with pytest.raises(Killed), killed_at(operation):
            place.batch(*to_stdout, output="-")
        before = place.asked
        done = place.batch(*to_stdout, output="-")
        assert (done.code, done.out, place.asked > before) == (0, whole, asks)
        assert not place.job.exists()


def test_a_job_that_began_meanwhile_loses_nothing(place: Place, monkeypatch: Any) -> None:
    """#272: the directory may be another job's when its lock is free."""
    finish_by_half(place)
    real = removal.lock_directory

    def lock_late(path: str, fs: Any) -> int:
        monkeypatch.undo()
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        other = Job(path, {"model": "other"})
        other.note("limits", [1, 2, 3, 4])
        other.close()
        return real(path, fs)

    monkeypatch.setattr(removal, "lock_directory", lock_late)
    assert removal.find_finished(str(place.job)) is None
    kept = Job(str(place.job), {"model": "other"})
    assert kept.notes == {"limits": [1, 2, 3, 4]}
    kept.close()


def test_the_report_is_written_before_the_job_goes(place: Place, tmp_path: Path) -> None:
    """#270: a run killed in between writes it again."""
    stats = tmp_path / "stats.json"
    with pytest.raises(Killed), killed_at(1):
        place.batch("--stats", stats)
    assert orjson.loads(stats.read_bytes())["rows_written"] == len(TEXTS)
    assert place.job.exists()
    assert place.batch("--stats", stats).code == 0
    assert orjson.loads(stats.read_bytes())["inputs_reused"] == len(TEXTS)
