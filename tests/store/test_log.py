"""The log on a real disk: cut anywhere, a bit flipped anywhere, segments, a format to be kept."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from tovec.errors import FileError, JobError, LockedError
from tovec.store import job as jobs
from tovec.store import log as logs
from tovec.store.content_keys import keys_of
from tovec.store.filesystem import RealFileSystem
from tovec.store.job import Entry, Job

IDENTITY = {"model": "m", "dimensions": None}
TEXTS = [f"text {i}" for i in range(40)]
FIXTURE = Path(__file__).parent / "fixtures" / "format-1"


def vectors(texts, dimensions=4):
    return np.array([[hash_of(text, i) for i in range(dimensions)] for text in texts], np.float32)


def hash_of(text, i):
    return random.Random(f"{text} {i}").random()


def opened(path, identity=IDENTITY):
    return Job(str(path), identity)


def filled(path, texts=TEXTS, step=5):
    job = opened(path)
    for start in range(0, len(texts), step):
        part = texts[start : start + step]
        job.keep([Entry(keys_of(part, job.digest), vectors(part), (), 3, {"model": "m-1"})])
    return job


def stored(job, texts=TEXTS):
    """Give how many texts have a vector, having checked that it is theirs."""
    ordinals = job.index.find(keys_of(texts, job.digest))
    known = np.flatnonzero(ordinals >= 0)
    if not len(known):
        return 0
    found, refused, unknown = job.vectors(ordinals[known])
    good = np.setdiff1d(np.arange(len(known)), unknown)
    expected = vectors([texts[known[i]] for i in good])
    assert not refused
    assert np.array_equal(found[good], expected.reshape(found[good].shape))
    return len(good)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Take what takes the time away; what a power cut leaves is the crash model's subject."""
    monkeypatch.setattr(logs, "RESERVE_BYTES", 64)
    monkeypatch.setattr(RealFileSystem, "sync", lambda *_args, **_more: None)


def test_what_was_stored_is_there_when_the_job_is_opened_again(tmp_path):
    filled(tmp_path / "job").close()
    job = opened(tmp_path / "job")
    assert (stored(job), job.tokens, job.about, job.log.dimensions) == (40, 24, {"model": "m-1"}, 4)
    job.close()


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


def test_vectors_come_in_any_order_and_as_often_as_asked(tmp_path):
    job = filled(tmp_path / "job")
    chance = random.Random(5)
    for _ in range(30):
        texts = chance.choices(TEXTS, k=chance.randint(1, 60))
        found, _, _ = job.vectors(job.index.find(keys_of(texts, job.digest)))
        assert np.array_equal(found, vectors(texts))
    job.close()


@pytest.mark.parametrize("together", [1, 3, 128])
def test_of_a_key_that_was_stored_twice_the_first_vector_counts(tmp_path, monkeypatch, together):
    monkeypatch.setattr(jobs, "TOGETHER", together)
    job = opened(tmp_path / "job")
    chance = np.random.default_rng(1)
    first: dict[str, np.ndarray] = {}
    for _ in range(10):
        texts = chance.choice(TEXTS, 8, replace=False).tolist()
        numbers = chance.random((8, 4), np.float32)
        job.keep([Entry(keys_of(texts, job.digest), numbers)])
        for text, row in zip(texts, numbers, strict=True):
            first.setdefault(text, row)
    for _ in range(2):
        found, _, _ = job.vectors(job.index.find(keys_of(list(first), job.digest)))
        assert np.array_equal(found, np.array(list(first.values())))
        job.close()
        job = opened(tmp_path / "job")
    job.close()


def test_a_log_deleted_under_a_running_job_is_noticed(tmp_path):
    """#116"""
    job = filled(tmp_path / "job")
    (tmp_path / "job" / "00000001.log").unlink()
    with pytest.raises(FileError, match="deleted"):
        job.keep([Entry(keys_of(["x"], job.digest), vectors(["x"]))])
    with pytest.raises(FileError, match="deleted"):  # and from then on nothing is written
        job.keep([Entry(keys_of(["y"], job.digest), vectors(["y"]))])
    job.close()


def test_the_second_holder_is_told_of_the_first(tmp_path):
    job = filled(tmp_path / "job")
    with pytest.raises(LockedError, match="process"):
        opened(tmp_path / "job")
    looked = Job.look(str(tmp_path / "job"))
    assert looked.is_held()
    assert stored(looked) == 40
    looked.close()
    job.close()
    opened(tmp_path / "job").close()


def test_a_newer_format_is_left_alone(tmp_path):
    """#145"""
    filled(tmp_path / "job").close()
    described = tmp_path / "job" / "job.json"
    described.write_text(described.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(JobError, match="another version of tovec"):
        opened(tmp_path / "job")


def test_refused_inputs_stay_refused_until_the_run_is_done(tmp_path):
    job = filled(tmp_path / "job")
    bad = keys_of(["bad"], job.digest)
    job.keep([Entry(bad, None, ("too rude",))])
    job.close()
    job = opened(tmp_path / "job")
    assert job.vectors(job.index.find(bad))[1] == {0: "too rude"}
    assert len(job.look_up(bad).wanted) == 0
    job.finish(keep=True, finished={"published": []})
    job.close()
    job = opened(tmp_path / "job")
    assert len(job.look_up(bad).wanted) == 1
    job.close()


def test_a_job_of_format_1_can_be_read_for_ever(tmp_path):
    """#145: the fixture was written by the first version that had the format."""
    shutil.copytree(FIXTURE, tmp_path / "job")
    (tmp_path / "job").chmod(0o700)
    job = opened(tmp_path / "job")
    assert stored(job) == 40
    assert job.notes == {"limits": [32, 8192, None, None]}
    assert job.refused == {40: "'$.input' is invalid"}
    job.close()


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, mode):
    """#179"""
    (tmp_path / "job").mkdir()
    (tmp_path / "job").chmod(mode)
    with pytest.raises(FileError, match="other users could write"):
        opened(tmp_path / "job")


def test_an_index_takes_at_most_32_bytes_a_row():
    index = jobs.Index()
    chance = np.random.default_rng(0)
    for _ in range(40):
        keys = chance.integers(0, 2**64, size=(20_000, 2), dtype=np.uint64)
        index.add(keys)
        assert np.array_equal(index.find(keys), np.arange(len(index) - 20_000, len(index)))
        whole = -(-len(index) // 65_536) * 65_536  # the last chunk is allocated whole
        assert index.nbytes <= 32 * max(whole, 65_536)
