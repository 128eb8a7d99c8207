"""A job's directory on a real disk: who holds it, whose it is, and which format it has."""

import pytest
from tests.store.filling import filled, opened, stored

from tovec.errors import FileError, JobError, LockedError
from tovec.store.job import Job

pytestmark = pytest.mark.usefixtures("quick")


def test_the_second_holder_is_told_of_the_first(tmp_path):
    job = filled(tmp_path / "job")
    with pytest.raises(LockedError, match="process"):
        opened(tmp_path / "job")
    looked = Job.look(str(tmp_path / "job"))
    assert looked.directory.is_locked()
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


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, mode):
    """#179"""
    (tmp_path / "job").mkdir()
    (tmp_path / "job").chmod(mode)
    with pytest.raises(FileError, match="other users could write"):
        opened(tmp_path / "job")
