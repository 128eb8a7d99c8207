"""What a run writes is never what it reads, and nothing is written through another's link."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from tovec.errors import FileError, UsageError
from tovec.store.collisions import check_collisions
from tovec.store.durable import OutputFile
from tovec.store.job import Job
from tovec.store.output_directory import OutputDirectory

SPELLINGS = ("{}", "./{}", "sub/../{}", "linked/{}", "{}.link")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path)
    for name in ("there", "missing"):
        (tmp_path / f"{name}.link").symlink_to(name)
    (tmp_path / "there").write_text("precious")
    return tmp_path


@pytest.mark.parametrize("name", ["there", "missing"])
@pytest.mark.usefixtures("place")
def test_one_file_is_seen_under_all_its_spellings(name: str) -> None:
    """#239: links and dots must not hide that two paths are one file."""
    spelled = [form.format(name) for form in SPELLINGS]
    for one, other in itertools.product(spelled, spelled):
        with pytest.raises(UsageError, match="the output would replace the input"):
            check_collisions({"the output": one}, [other])
        with pytest.raises(UsageError, match="--stats would replace the output"):
            check_collisions({"the output": one, "--stats": other}, [])


@pytest.mark.usefixtures("place")
def test_different_files_are_no_collision() -> None:
    os.link("there", "second")  # another name of the same content keeps it
    check_collisions({"the output": "second", "--stats": "s.json", "none": None}, ["there", "-"])
    check_collisions({"the output": "/dev/null", "--stats": "/dev/null"}, ["/dev/null"])


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("path", ["job/x.jsonl", "linked/job/x", "job/../job/x"])
def test_nothing_else_may_be_in_a_job_directory(path: str) -> None:
    """The directory is removed when the job is done."""
    for writes, reads in (({"the output": path}, []), ({}, [path])):
        with pytest.raises(UsageError, match="tovec's own"):
            check_collisions(writes, reads, "job")


def planted(place: Path, name: str, target: str) -> Path:
    if os.geteuid() != 0:
        pytest.skip("only root can make a link that belongs to somebody else")
    link = place / name
    link.symlink_to(target)
    os.lchown(link, 54321, 54321)
    return link


@pytest.mark.parametrize("target", ["there", "nothing", "sub"])
@pytest.mark.parametrize("through", ["end", "middle"])
def test_a_link_of_somebody_else_is_not_written_through(
    place: Path, target: str, through: str
) -> None:
    """#240: the row of a reject is text that whoever planted the link may have written."""
    if through == "middle":
        planted(place, "planted", ".")
        path = f"planted/{target}"
    else:
        path = planted(place, "planted", target).name
    before = sorted(os.walk(place))
    for write in (
        lambda: OutputFile(path, force=True),
        lambda: OutputDirectory(path, force=True),
        lambda: Job(path, {}),
    ):
        with pytest.raises(FileError, match="belongs to another user"):
            write()
    assert sorted(os.walk(place)) == before
    assert (place / "there").read_text() == "precious"


def test_a_job_directory_may_be_a_link_of_ones_own(place: Path) -> None:
    """#240: a large disk elsewhere is a good reason for a link."""
    (place / "disk").mkdir(mode=0o700)
    (place / "job").symlink_to("disk")
    Job("job", {}).close()
    assert (place / "disk" / "job.json").exists()
