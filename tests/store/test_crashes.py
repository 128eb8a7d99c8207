"""What a kill or a power cut at any operation leaves, and that the model would notice mistakes.

The long version: `python -m tests.store.test_crashes 100000`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.store import crashing

from tovec.store import directory, durable, frames, job, log, output_directory, removal, segment
from tovec.store.frames import Kind

STATES = 1500
MUTANT_STATES = 3000


def test_every_operation_crashed_once_ends_in_the_right_output() -> None:
    """#245: of one file, of a directory of parts, over an old one or not."""
    assert crashing.first_broken(crashing.every_operation()) == ""


def test_random_crashes_one_after_another_end_in_the_right_output() -> None:
    """#126 #127 #128 #245: kills, power cuts, and kills followed by power cuts."""
    assert crashing.first_broken(crashing.random_cases(STATES)) == ""


def no_sync_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    real = log.Log._write

    def write(self: log.Log, group: Any) -> Any:
        fs = self._fs
        with monkeypatch.context() as patch:
            patch.setattr(fs, "sync", lambda *_args, **_more: None)
            return real(self, group)

    monkeypatch.setattr(log.Log, "_write", write)


def no_sync_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    real = durable._Temporary.sync

    def sync(self: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(self._fs, "sync", lambda *_args, **_more: None)
            return real(self)

    monkeypatch.setattr(durable._Temporary, "sync", sync)


def no_checksum_of_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_head_crc", lambda *_: 0)


def no_checksum_of_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment.Segment, "has_sound_vectors", lambda *_: True)
    monkeypatch.setattr(log.zlib, "crc32", lambda *_: 0)


def the_torn_tail_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    real = log.Log._scan

    def scan(self: log.Log, *args: Any, **more: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(self._fs, "truncate", lambda *_: None)
            real(self, *args, **more)

    monkeypatch.setattr(log.Log, "_scan", scan)


def no_sync_of_the_directory_of_a_new_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "sync_directory", lambda *_: None)


def no_sync_of_what_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    real = log.Log._open

    def opened(self: log.Log, on_frame: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(self._fs, "sync", lambda *_args, **_more: None)
            real(self, on_frame)

    monkeypatch.setattr(log.Log, "_open", opened)
    for module in (directory, removal):
        monkeypatch.setattr(module, "sync_directory", lambda *_: None)


def no_sync_of_small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def replace_file(path: str, data: bytes, fs: Any) -> None:
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(path)
        number = fs.open(path, 0o101)
        fs.write(number, [data], 0)
        fs.close(number)

    for module in (directory, removal):
        monkeypatch.setattr(module, "replace_file", replace_file)


def the_output_is_not_noted_before_it_appears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job.Job, "note", lambda *_: None)


def the_log_goes_before_the_job_is_known_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove_contents(self: Any) -> None:
        for name in sorted(self._fs.names(self._path), reverse=True):
            self._fs.unlink(f"{self._path}/{name}")

    monkeypatch.setattr(removal.FinishedJob, "remove_contents", remove_contents)


def the_output_is_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "temporary_name", lambda path: path)


def a_slot_is_free_before_its_answer_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Any] = []
    real = job.Job.keep

    def keep(self: job.Job, entries: Sequence[Any]) -> None:
        waiting.extend(entries)
        if len(waiting) >= 5:
            real(self, list(waiting))
            waiting.clear()

    monkeypatch.setattr(job.Job, "keep", keep)


def the_old_parts_are_renamed_away_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def take_name(self: Any) -> Any:
        if self._is_there(self._path):
            self._fs.rename(str(self._path), str(self._old))
        self._fs.rename(str(self._temporary), str(self._path))
        return self._old if self._is_there(self._old) else None

    monkeypatch.setattr(output_directory.OutputDirectory, "_take_name", take_name)


def old_parts_are_not_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(self: Any) -> None:
        if self._is_there(self._old):
            self._remove(self._old)

    monkeypatch.setattr(output_directory.OutputDirectory, "_settle_old", settle)


def parts_go_before_their_new_name_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_directory.OutputDirectory, "_sync_names", lambda _: None)


def no_sync_of_a_job_directory_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    real = directory._make

    def make(path: str, fs: Any) -> None:
        if "job" not in fs.names("/d"):
            real(path, fs)

    monkeypatch.setattr(directory, "_make", make)


def no_sync_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_directory._Part, "sync", output_directory._Part.close)


def no_sync_of_the_names_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = output_directory.sync_directory

    def sync(path: Any, fs: Any) -> None:
        if not str(path).endswith(".tmp"):
            real(path, fs)

    monkeypatch.setattr(output_directory, "sync_directory", sync)


MUTANTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    no_sync_of_the_log,
    no_sync_of_the_output,
    no_checksum_of_heads,
    no_checksum_of_vectors,
    the_torn_tail_stays,
    no_sync_of_the_directory_of_a_new_segment,
    no_sync_of_what_is_inherited,
    no_sync_of_small_files,
    the_output_is_not_noted_before_it_appears,
    the_log_goes_before_the_job_is_known_to_be_done,
    the_output_is_written_in_place,
    a_slot_is_free_before_its_answer_is_stored,
    the_old_parts_are_renamed_away_first,
    old_parts_are_not_brought_back,
    parts_go_before_their_new_name_is_durable,
    no_sync_of_a_part,
    no_sync_of_the_names_of_parts,
    no_sync_of_a_job_directory_that_is_there,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_protocol_with_a_mistake_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = list(crashing.every_operation())  # counted before there is a mistake
    mutant(monkeypatch)
    found = crashing.first_broken(cases) or crashing.first_broken(
        crashing.random_cases(MUTANT_STATES)
    )
    assert found != ""


def test_what_a_segments_first_frame_says_is_its_kind() -> None:
    assert Kind.SEGMENT == 1  # the number is in files


if __name__ == "__main__":
    states = int(sys.argv[1])
    found = crashing.first_broken(crashing.random_cases(states, first=1_000_000))
    print(found or f"{states:,} crash states, no broken promise")
