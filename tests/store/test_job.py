"""A job on a real disk: what it knows when it is opened again, and after its end."""

import errno
import shutil
from pathlib import Path

import pytest
from tests.store.filling import TEXTS, filled, opened, stored, vectors

from tovec.errors import FileError
from tovec.store.content_keys import keys_of
from tovec.store.filesystem import RealFileSystem
from tovec.store.job import Entry, Job

FIXTURE = Path(__file__).parent / "fixtures" / "format-1"
pytestmark = pytest.mark.usefixtures("quick")


def test_what_was_stored_is_there_when_the_job_is_opened_again(tmp_path):
    filled(tmp_path / "job").close()
    job = opened(tmp_path / "job")
    assert (stored(job), job.tokens, job.about, job.log.dimensions) == (40, 24, {"model": "m-1"}, 4)
    job.close()


def test_refused_inputs_stay_refused_until_the_run_is_done(tmp_path):
    job = filled(tmp_path / "job")
    bad = keys_of(["bad"], job.digest)
    job.keep([Entry(bad, None, ("too rude",))])
    job.close()
    job = opened(tmp_path / "job")
    assert job.vectors(job.index.find(bad))[1] == {0: "too rude"}
    assert len(job.look_up(bad).wanted) == 0
    job.finish(keep=True, record={"published": []})
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


class Full(RealFileSystem):
    """A disk that takes files up to a size, beyond which it has no space left."""

    max_bytes = 1 << 30

    def write(self, number, buffers, offset):
        data = b"".join(bytes(one) for one in buffers)[: max(0, self.max_bytes - offset)]
        if not data:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().write(number, [data], offset)


def test_what_is_whole_of_a_group_that_the_disk_refused_is_not_abandoned(tmp_path):
    """#101: a run whose only group did not fit ended with an empty directory, all of it paid."""
    fs = Full()
    job = Job(str(tmp_path / "job"), {"model": "m"}, fs)
    group = [Entry(keys_of([text], job.digest), vectors([text])) for text in TEXTS]
    fs.max_bytes = 1000
    with pytest.raises(FileError):
        job.append(group)
    assert not job.is_empty()
    job.close()
    again = Job(str(tmp_path / "job"), {"model": "m"})
    assert 0 < len(again.log) < len(TEXTS)
    again.close()
