"""The log on a real disk: cut anywhere, a bit flipped anywhere, segments."""

import random

import pytest
from tests.store.filling import TEXTS, filled, opened, stored, vectors

from tovec.errors import FileError, JobError
from tovec.store import log as logs
from tovec.store.content_keys import keys_of
from tovec.store.job import Entry

pytestmark = pytest.mark.usefixtures("quick")


def test_a_log_cut_off_at_any_byte_keeps_every_whole_frame(tmp_path):
    """#113 #115: the last two frames at each byte; then zeros after the cut, as a power cut may."""
    filled(tmp_path / "job").close()
    log = tmp_path / "job" / "00000001.log"
    whole = log.read_bytes()
    frame = (len(whole) - 64) // 8
    for zeros, step in ((b"", 1), (bytes(200), 11)):
        for size in range(len(whole) - 2 * frame, len(whole), step):
            log.write_bytes(whole[:size] + zeros)
            job = opened(tmp_path / "job")
            assert stored(job) == (size - 64) // frame * 5
            job.keep([Entry(keys_of(["more"], job.digest), vectors(["more"]))])
            job.close()
            again = opened(tmp_path / "job")
            assert stored(again, [*TEXTS, "more"]) == (size - 64) // frame * 5 + 1
            again.close()


def test_a_flipped_bit_is_found_or_in_the_tail_or_beside_the_matter(tmp_path):
    """#114: never a wrong vector."""
    filled(tmp_path / "job").close()
    log = tmp_path / "job" / "00000001.log"
    whole = log.read_bytes()
    chance = random.Random(3)
    found = 0
    for _ in range(250):
        at, bit = chance.randrange(len(whole)), chance.randrange(8)
        log.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
        try:
            job = opened(tmp_path / "job")
            try:
                assert stored(job) >= 35  # only the last frame may be taken for a torn tail
            finally:
                job.close()
        except JobError as error:
            found += 1
            assert "damaged" in error.what
            assert "byte" in error.where or "job.json" in error.what
    assert found > 120


def test_a_missing_segment_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 300)
    filled(tmp_path / "job").close()
    segments = sorted((tmp_path / "job").glob("*.log"))
    assert len(segments) > 3
    job = opened(tmp_path / "job")
    assert stored(job) == 40
    job.close()
    segments[1].unlink()
    with pytest.raises(JobError, match="a part of the job's log is missing"):
        opened(tmp_path / "job")


def test_a_torn_end_of_a_segment_that_is_not_the_last_is_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 300)
    filled(tmp_path / "job").close()
    first = tmp_path / "job" / "00000001.log"
    first.write_bytes(first.read_bytes()[:-3])
    with pytest.raises(JobError, match="damaged"):
        opened(tmp_path / "job")


def test_a_log_deleted_under_a_running_job_is_noticed(tmp_path):
    """#116"""
    job = filled(tmp_path / "job")
    (tmp_path / "job" / "00000001.log").unlink()
    with pytest.raises(FileError, match="deleted"):
        job.keep([Entry(keys_of(["x"], job.digest), vectors(["x"]))])
    with pytest.raises(FileError, match="deleted"):  # and from then on nothing is written
        job.keep([Entry(keys_of(["y"], job.digest), vectors(["y"]))])
    job.close()
