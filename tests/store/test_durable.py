"""Outputs appear whole or not at all, never over what somebody else wrote."""

import contextlib
import os
import stat
import subprocess
import sys
from itertools import pairwise

import pytest

from tovec.errors import FileError, UsageError
from tovec.store import durable, filesystem
from tovec.store.durable import OutputFile, StandardOutput


def write(path, data=b"new", *, force=False, beside=()):
    output = OutputFile(str(path), force=force)
    output.file.write(data)
    for suffix in beside:
        output.beside(suffix).write(data)
    return output


def test_nothing_is_seen_before_commit_and_all_of_it_after(tmp_path):
    output = write(tmp_path / "out", beside=[".json"])
    assert all(name.startswith(".tovec-") for name in os.listdir(tmp_path))
    output.commit()
    assert sorted(os.listdir(tmp_path)) == ["out", "out.json"]
    assert (tmp_path / "out").read_bytes() == b"new"


def test_a_large_output_goes_to_the_disk_while_it_is_written(tmp_path, monkeypatch):
    begun = []
    advise = os.posix_fadvise

    def noted(number, start, length, advice):
        begun.append((start, length))
        advise(number, start, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    monkeypatch.setattr(filesystem, "BEGIN_BYTES", 1 << 20)
    output = OutputFile(str(tmp_path / "out"))
    parts = [os.urandom(size) for size in (10, 700_000, 2_500_000, 1 << 20, 3)]
    for part in parts:
        output.file.write(part)
    output.file.seek(0)
    output.file.write(parts[0])  # as a header is completed
    output.commit()
    assert (tmp_path / "out").read_bytes() == b"".join(parts)
    assert begun[0][0] == 0
    assert all(at + size == then for (at, size), (then, _) in pairwise(begun))
    assert sum(size for _, size in begun) > 4_000_000


def test_advice_that_is_refused_does_no_harm(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refused)
    monkeypatch.setattr(filesystem, "BEGIN_BYTES", 1)
    write(tmp_path / "out").commit()
    assert (tmp_path / "out").read_bytes() == b"new"


def test_a_discarded_output_leaves_nothing(tmp_path):
    write(tmp_path / "out", beside=[".json"]).discard()
    assert os.listdir(tmp_path) == []


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "out").commit()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_an_existing_file_is_refused_at_once_and_kept(tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(FileError, match="exists"):
        OutputFile(str(tmp_path / "out"), force=False)
    assert (tmp_path / "out").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_file_that_came_meanwhile_is_never_replaced(tmp_path):
    output = write(tmp_path / "out")
    (tmp_path / "out").write_bytes(b"somebody else's")
    with pytest.raises(FileError, match="exists"):
        output.commit()
    assert (tmp_path / "out").read_bytes() == b"somebody else's"
    assert os.listdir(tmp_path) == ["out"]


def test_with_force_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "out").write_bytes(b"old")
    output = write(tmp_path / "out", force=True)
    assert (tmp_path / "out").read_bytes() == b"old"
    output.commit()
    assert (tmp_path / "out").read_bytes() == b"new"


def test_a_symlink_stays_and_the_file_it_names_is_replaced(tmp_path):
    """#108"""
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", force=True).commit()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_regular_file_is_refused(tmp_path, kind):
    """#108"""
    path = tmp_path / "out"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(UsageError):
        OutputFile(str(path), force=True)


def test_a_directory_that_is_not_there_is_a_file_error(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        OutputFile(str(tmp_path / "no" / "out"), force=False)


def test_a_name_as_long_as_names_may_be_works(tmp_path):
    """#110"""
    path = tmp_path / ("x" * 255)
    write(path).commit()
    assert path.read_bytes() == b"new"


def test_what_a_killed_run_left_is_removed_and_a_living_runs_file_is_not(tmp_path):
    """#119"""
    code = (
        "import os, signal, sys; from tovec.store.durable import OutputFile;"
        "one = OutputFile(sys.argv[1], force=False); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "out"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (stray,) = tmp_path.iterdir()
    stray.write_bytes(b"half a row")
    living = write(path)
    assert b"half" not in stray.read_bytes()
    other = subprocess.run(
        [sys.executable, "-c", code.split("os.kill")[0], str(path)],
        check=False,
        capture_output=True,
    )
    assert b"another run is writing" in other.stderr
    assert other.returncode == 1  # LockedError
    living.commit()
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_a_file_error_and_leaves_nothing(tmp_path):
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "t", str(tmp_path)], check=False
        ).returncode
    ):
        pytest.skip("a small tmpfs can only be mounted by root")
    try:
        output = OutputFile(str(tmp_path / "out"), force=False)
        with pytest.raises((FileError, OSError)) as caught:
            output.file.write(b"x" * (4 << 20))
            output.commit()
        output.discard()
        assert "space" in str(caught.value)
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_reader_that_takes_nothing_is_not_waited_for(monkeypatch):
    """#215: what is left for a pipe whose reader has stopped must not keep a run from ending."""
    monkeypatch.setattr(durable, "FLUSH_SECONDS", 0.05)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(1 << 16))
    os.set_blocking(writer, True)
    output = StandardOutput(writer)
    output.file.write(b"left")
    output.discard()
    os.close(reader)  # the write fails now, and the thread ends
