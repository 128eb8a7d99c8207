"""A directory of parts on a real disk: whole or not at all, and never at the cost of the old one.

What a power cut leaves is explored by the crash model (test_crashes).
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tovec.errors import FileError, LockedError, UsageError
from tovec.store.filesystem import RealFileSystem
from tovec.store.output_directory import OutputDirectory

OLD = {"part-00000": b"old 0", "part-00001": b"old 1", "part-00002": b"old 2"}
NEW = {"part-00000": b"new 0", "part-00001": b"new 1"}


class Killed(BaseException):
    """The process ends here."""


class Disk(RealFileSystem):
    """The real file system; it can lack an exchange, and end the process at an operation."""

    def __init__(self, *, can_exchange: bool = True, killed_at: int | None = None) -> None:
        self.can_exchange, self.killed_at, self.operations = can_exchange, killed_at, 0
        self.held: set[int] = set()  # descriptors that a kill closes, and their locks with them

    def _step(self) -> None:
        self.operations += 1
        if self.killed_at is not None and self.operations >= self.killed_at:
            while self.held:
                os.close(self.held.pop())
            raise Killed

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        number = super().open(path, flags, mode)
        if flags & os.O_DIRECTORY:
            self.held.add(number)
        return number

    def close(self, number: int) -> None:
        if number in self.held:  # else the process was killed before
            self.held.remove(number)
            super().close(number)

    def sync(self, number: int, *, data_only: bool = False) -> None:
        del number, data_only
        self._step()  # nothing is lost here but by a kill

    def mkdir(self, path: str, mode: int) -> None:
        self._step()
        super().mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        self._step()
        super().rmdir(path)

    def rename(self, old: str, new: str) -> None:
        self._step()
        super().rename(old, new)

    def exchange(self, first: str, second: str) -> None:
        self._step()
        if not self.can_exchange:
            raise OSError(errno.EINVAL, "cannot exchange", first)
        super().exchange(first, second)

    def unlink(self, path: str) -> None:
        self._step()
        super().unlink(path)


def fill(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def content(path: Path) -> dict[str, bytes] | None:
    return {one.name: one.read_bytes() for one in path.iterdir()} if path.exists() else None


def write(path: Path, fs: Any = None, *, force: bool = True) -> OutputDirectory:
    output = OutputDirectory(str(path), force=force, fs=fs or Disk())
    for name, data in NEW.items():
        output.part(name).file.write(data)
    output.prepare()
    return output


# A killed process closes nothing in order, so Python says that files are left open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_run_killed_at_any_operation_keeps_the_old_parts(
    tmp_path: Path, can_exchange: bool
) -> None:
    """#245: then the next run starts, is killed as well, and a third one ends."""
    for number in itertools.count(1):
        place = tmp_path / str(number)
        place.mkdir()
        path = fill(place / "out", OLD)
        disk = Disk(can_exchange=can_exchange, killed_at=number)
        try:
            write(path, disk).publish()
            break
        except Killed:
            seen = content(path)
        if seen is None:  # only the fallback has such a moment, and only until the next start
            assert not can_exchange
            again = OutputDirectory(str(path), force=True, fs=Disk())
            seen = content(path)
            again.discard()
        assert seen in (OLD, NEW)
        write(path, Disk(can_exchange=can_exchange)).publish()
        assert content(path) == NEW
        assert os.listdir(place) == ["out"]
    assert number > 10
    assert content(path) == NEW


def test_an_old_directory_is_exchanged_in_one_step(tmp_path: Path) -> None:
    """#245: at no moment is there nothing under the output's name."""
    path = fill(tmp_path / "out", OLD)
    disk = Disk()
    renames: list[str] = []
    disk.rename = lambda old, new: renames.append(old)  # type: ignore[method-assign]
    write(path, disk).publish()
    assert content(path) == NEW
    assert not renames


def test_a_rename_that_fails_gives_the_old_directory_its_name_back(tmp_path: Path) -> None:
    path = fill(tmp_path / "out", OLD)
    disk = Disk(can_exchange=False)
    output = write(path, disk)
    real = disk.rename

    def fail_for_the_new_one(old: str, new: str) -> None:
        if old.endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error", old)
        real(old, new)

    disk.rename = fail_for_the_new_one  # type: ignore[method-assign]
    with pytest.raises(FileError):
        output.publish()
    assert content(path) == OLD
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("suffix", [".old", ".tmp"])
def test_nothing_is_deleted_through_a_planted_link(tmp_path: Path, suffix: str) -> None:
    """#246"""
    victim = fill(tmp_path / "victim", {"precious": b"1"})
    path = tmp_path / "out"
    output = OutputDirectory(str(path), fs=Disk())
    planted = output._temporary.with_suffix(suffix)
    output.discard()
    planted.symlink_to(victim)
    with pytest.raises(FileError):
        OutputDirectory(str(path), fs=Disk())
    assert content(victim) == {"precious": b"1"}
    assert planted.is_symlink()


@pytest.mark.parametrize("suffix", [".old", ".tmp"])
def test_another_users_directory_in_the_way_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#246: what it holds is neither deleted nor made the output."""
    path = tmp_path / "out"
    output = OutputDirectory(str(path), fs=Disk())
    planted = fill(output._temporary.with_suffix(".other"), OLD)
    output.discard()
    planted.rename(planted.with_suffix(suffix))
    disk = Disk()
    real = disk.status
    monkeypatch.setattr(disk, "status", lambda file: real(file)._replace(owner=os.geteuid() + 1))
    with pytest.raises(FileError, match="belongs to another user"):
        OutputDirectory(str(path), fs=disk)
    assert content(planted.with_suffix(suffix)) == OLD
    assert content(path) is None


@pytest.mark.parametrize("force", [False, True])
def test_what_came_meanwhile_is_replaced_only_where_it_may_be(tmp_path: Path, force: bool) -> None:
    path = tmp_path / "out"
    output = write(path, force=force)
    fill(path, OLD)
    if force:
        (path / "notes.txt").write_bytes(b"mine")
    before = content(path)
    with pytest.raises(UsageError if force else FileError):
        output.publish()
    assert content(path) == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_directory_that_holds_more_than_part_files_is_refused(tmp_path: Path) -> None:
    path = fill(tmp_path / "out", OLD)
    (path / "part-00003").mkdir()
    with pytest.raises(UsageError, match="more than part files: part-00003"):
        OutputDirectory(str(path), force=True, fs=Disk())
    assert os.listdir(tmp_path) == ["out"]


def test_a_second_run_on_the_same_directory_ends_at_once(tmp_path: Path) -> None:
    path = fill(tmp_path / "out", OLD)
    first = write(path)
    with pytest.raises(LockedError):
        OutputDirectory(str(path), force=True, fs=Disk())
    first.publish()
    assert content(path) == NEW


def test_discarding_leaves_what_was_published_and_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "out"
    first = write(path)
    first.publish()
    second = write(path)
    first.discard()
    second.publish()
    assert content(path) == NEW
    assert os.listdir(tmp_path) == ["out"]


def test_parts_have_the_modes_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "out").publish()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "out").iterdir()]
    assert modes == [0o640, 0o640]
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
