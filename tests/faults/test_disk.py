"""Disks and files that fail (100 to 125): nothing paid for is lost, nothing half is visible."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.faults.injection import (
    ITEMS,
    TEXTS,
    Job,
    failed,
    failing,
    nobody,
    reachable,
    small_disk,
    wait_for,
)
from tests.servers.loopback import Loopback

# The log fills, fails, ends ----------------------------------------------------------------------


@pytest.mark.parametrize(("size", "dimensions"), [("16k", 256), ("1040k", 8192)])
def test_a_disk_that_fills_keeps_the_answers_before_and_the_next_run_pays_for_the_rest(
    job: Job, server: Loopback, tmp_path: Path, size: str, dimensions: int
) -> None:
    """#100: with a reserve that fits on the disk, and without."""
    server.dimensions = dimensions
    with small_disk(tmp_path / "disk", size) as disk:
        directory = disk / "job"
        if size != "16k":  # leave room for little but the reserve
            (disk / "filler").write_bytes(bytes(1 << 14))
        options = ("--job-dir", directory, "--concurrency", "1")
        full = job.run(*options)
        failed(full, 7, "No space left on device", "free some space")
        kept = server.ledger.statuses[200]
        assert not job.out.exists()
        (disk / "filler").unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        done = job.run(*options)
        assert done.returncode == 0, done.stderr
    # The answer that did not fit is all that is asked for again.
    assert server.ledger.paid_twice() <= ITEMS
    assert 1 <= kept <= len(TEXTS) // ITEMS
    assert len(job.out.read_text().splitlines()) == len(TEXTS)


@pytest.mark.parametrize(("error", "when"), [("ENOSPC", 1), ("EDQUOT", 4), ("EIO", 5)])
def test_an_answer_that_cannot_be_written_ends_the_run(job: Job, error: str, when: int) -> None:
    """#100 #103"""
    done = job.run(
        "--concurrency", "1", before=failing("pwritev,pwritev2", f"error={error}:when={when}+")
    )
    failed(done, 7, "writing failed")
    job.nothing_half()
    job.finished("--concurrency", "1")
    assert job.server.ledger.paid_twice() <= ITEMS


def test_a_failed_sync_ends_the_run_at_once_and_is_not_tried_again(job: Job) -> None:
    """#104 #103: after a failed fsync the next one may say yes to pages that are gone."""
    done = job.run("--concurrency", "1", before=failing("fdatasync", "error=EIO:when=3"))
    failed(done, 7, "Input/output error", "the disk failed")
    job.nothing_half()
    asked = job.answered
    job.finished()
    assert job.server.ledger.paid_twice() <= ITEMS
    assert asked <= 3 + 1


@pytest.mark.parametrize(
    ("name", "call", "error"),
    [
        ("out.jsonl", "fsync", "EIO"),
        ("out.parquet", "link,linkat,rename", "EXDEV"),
        ("out.npy", "fsync", "ENOSPC"),
    ],
)
def test_an_output_that_cannot_be_made_durable_is_no_output(
    job: Job, name: str, call: str, error: str
) -> None:
    """#101 #103 #109"""
    whole = job.run("--keep-job")
    assert whole.returncode == 0, whole.stderr
    asked = job.answered
    # Only what happens to the output fails: the job's own files are synced before.
    target = job.place / name
    target.unlink(missing_ok=True)
    options = ("--keep-job", "--job-dir", "out.jsonl.tovec")
    fault = f"error={error}:when=1+"
    before = failing(call, fault, path=_temporary(target))
    done = job.run(*options, before=before, output=name)
    failed(done, 7, "writing failed")
    assert not target.exists()
    assert not [one for one in os.listdir(job.place) if one.endswith(".tmp")]
    again = job.run(*options, output=name)
    assert again.returncode == 0, again.stderr
    assert target.exists()
    assert job.answered == asked


def _temporary(path: Path) -> Path:
    from tovec.store.durable import temporary_name

    return temporary_name(path)


def test_a_disk_that_fills_while_the_output_is_written_costs_nothing(
    job: Job, tmp_path: Path
) -> None:
    """#101"""
    job.write([f"{text} {'x' * 2000}" for text in TEXTS])
    with small_disk(tmp_path / "disk") as disk:
        options = ("--job-dir", tmp_path / "job")
        done = job.run(*options, output=str(disk / "out.jsonl"))
        failed(done, 7, "No space left on device")
        assert os.listdir(disk) == []
        asked = job.answered
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        again = job.run(*options, output=str(disk / "out.jsonl"))
        assert again.returncode == 0, again.stderr
        assert len((disk / "out.jsonl").read_text().splitlines()) == len(TEXTS)
        assert job.answered == asked == len(TEXTS) // ITEMS


def test_a_log_that_cannot_be_read_is_left_as_it_is(job: Job) -> None:
    """#105"""
    assert job.run("--keep-job").returncode == 0
    before = job.log.read_bytes()
    done = job.run("--keep-job", before=failing("preadv,preadv2", "error=EIO:when=1+"))
    failed(done, 7, "Input/output error")
    assert job.log.read_bytes() == before
    job.finished("--keep-job")
    assert job.server.ledger.paid_twice() == 0


def test_a_disk_that_turns_read_only_ends_the_run(job: Job, tmp_path: Path) -> None:
    """#106"""
    job.server.latency = 0.05
    with small_disk(tmp_path / "disk", "8m") as disk:
        child = job.start("--job-dir", disk / "job", "--concurrency", "1")
        wait_for(lambda: job.answered >= 2)
        # Open files hold a remount off: what is read-only is the next file. EROFS itself:
        child.kill()
        child.communicate()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        failed(job.run("--job-dir", disk / "job"), 7, "read-only")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        job.finished("--job-dir", disk / "job")
    done = job.run("--force", before=failing("pwritev,pwritev2", "error=EROFS:when=3+"))
    failed(done, 7, "Read-only file system", "the file system is read-only")


@pytest.mark.parametrize("where", ["output", "job"])
def test_a_place_that_may_not_be_written_is_named_before_anything_is_asked(
    job: Job, where: str
) -> None:
    """#107"""
    user = nobody()
    reachable(job.place)
    (job.place / "closed").mkdir(mode=0o755)
    (job.place / "open").mkdir()
    (job.place / "open").chmod(0o777)
    output = "closed/out.jsonl" if where == "output" else "open/out.jsonl"
    directory = "open/job" if where == "output" else "closed/job"
    done = job.run("--job-dir", directory, before=user, output=output)
    failed(done, 7, "Permission denied", "choose a directory that you may write to")
    assert not job.server.ledger.entries
    assert not (job.place / "open" / "out.jsonl").exists()


def make(kind: str, path: Path) -> None:
    """Make something that is no place for an output."""
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            import socket

            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(path))
        case "device":
            path.symlink_to("/dev/null")
        case "loop":
            path.symlink_to(path)


@pytest.mark.parametrize("kind", ["directory", "fifo", "socket", "device", "loop"])
def test_what_no_output_can_replace_is_refused_before_anything_is_asked(
    job: Job, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#108"""
    monkeypatch.chdir(job.place)
    make(kind, Path("out.jsonl"))
    done = job.run("--force")
    failed(done, 7 if kind == "loop" else 2)
    assert not job.server.ledger.entries
    assert Path("/dev/null").is_char_device()


def test_the_file_that_a_dangling_link_names_is_made(job: Job) -> None:
    """#108"""
    job.out.symlink_to("there.jsonl")
    assert job.run().returncode == 0
    assert job.out.is_symlink()
    job.right(path=job.place / "there.jsonl")


def test_a_name_of_255_bytes_is_an_output_with_a_job_directory_of_its_own(job: Job) -> None:
    """#110"""
    name = "x" * 249 + ".jsonl"
    done = job.run(output=name)
    failed(done, 7, "File name too long", "--job-dir")
    assert not job.server.ledger.entries
    done = job.run("--job-dir", "job", output=name)
    assert done.returncode == 0, done.stderr
    job.right(path=job.place / name)


@pytest.mark.parametrize("limit", [8, 1])
def test_a_limit_on_the_size_of_files_ends_the_run(job: Job, limit: int) -> None:
    """#111: kibibytes; Python ignores SIGXFSZ."""
    job.server.dimensions = 128
    program = ["sh", "-c", f'ulimit -f {limit * 2}; exec "$@"', "sh"]
    done = job.run("--concurrency", "1", before=program)
    failed(done, 7, "File too large")
    job.nothing_half()
    assert job.run("--concurrency", "1").returncode == 0
    assert job.server.ledger.paid_twice() <= ITEMS


def test_slow_syncs_are_shared_by_the_answers_that_wait(job: Job) -> None:
    """#112: thirty answers at once, each sync 100 ms late; counted, not timed."""
    job.write([f"row {i}" for i in range(300)])
    job.server.latency = 0.02
    trace = job.place / "trace"
    before = failing("fdatasync", "delay_exit=100000")
    before[before.index("/dev/null")] = str(trace)
    done = job.run("--concurrency", "30", before=before)
    assert done.returncode == 0, done.stderr
    assert job.answered == 30
    assert trace.read_text().count("fdatasync(") <= 15


@pytest.fixture
def kept(job: Job) -> Job:
    """A finished job whose log is kept."""
    assert job.run("--keep-job").returncode == 0
    return job


def test_a_damaged_log_is_named_with_its_place_and_left_as_it_is(kept: Job) -> None:
    """#114"""
    damaged = bytearray(kept.log.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    kept.log.write_bytes(damaged)
    kept.out.unlink()
    done = kept.run("--keep-job")
    failed(done, 8, "the job's log is damaged", "byte ", "--repair")
    assert kept.log.read_bytes() == damaged


def test_zeros_behind_the_log_cost_nothing(kept: Job) -> None:
    """#115"""
    whole, asked = kept.log.read_bytes(), kept.answered
    kept.log.write_bytes(whole + bytes(10_000))
    kept.out.unlink()
    kept.finished("--keep-job")
    assert kept.answered == asked
    assert bytes(1000) not in kept.log.read_bytes()


def test_a_log_that_is_deleted_while_the_job_runs_is_noticed(job: Job) -> None:
    """#116"""
    job.server.latency = 0.1
    child = job.start("--concurrency", "1")
    wait_for(lambda: job.answered >= 2 and job.log.exists())
    job.log.unlink()
    _, said = child.communicate(timeout=30)
    assert child.returncode == 7, said
    assert b"the job's log was deleted" in said
    assert job.answered < len(TEXTS) // ITEMS
    job.server.latency = 0
    job.finished()


def test_an_output_that_is_gone_is_written_again_without_a_request(kept: Job) -> None:
    """#118"""
    before, asked = kept.out.read_bytes(), kept.answered
    kept.out.unlink()
    kept.finished("--keep-job")
    assert kept.out.read_bytes() == before
    assert kept.answered == asked


def test_a_run_killed_while_it_writes_leaves_nothing_that_the_next_takes_for_its_own(
    job: Job,
) -> None:
    """#119"""
    done = job.run(before=failing("fchmod", "signal=SIGKILL:when=1"))
    assert done.returncode == -signal.SIGKILL
    (stray,) = [one for one in os.listdir(job.place) if one.endswith(".tmp")]
    (job.place / stray).write_bytes(b"half")
    job.finished()
    assert not (job.place / stray).exists()
    assert job.server.ledger.paid_twice() == 0


def test_an_input_is_known_by_its_file_and_not_by_its_name(job: Job) -> None:
    """#121 #163"""
    (job.place / "link.jsonl").symlink_to("rows.jsonl")
    before = job.rows.read_bytes()
    for name in ("link.jsonl", "./rows.jsonl"):
        failed(job.run("--force", output=name), 2, "the output would replace the input")
    assert job.rows.read_bytes() == before
    assert not job.server.ledger.entries


def test_another_name_of_the_output_keeps_the_old_content(job: Job) -> None:
    """#180: and so does the input, where that is the other name."""
    before = job.rows.read_bytes()
    job.out.hardlink_to(job.rows)
    job.finished("--force")
    assert job.rows.read_bytes() == before


@pytest.mark.parametrize("error", ["EINVAL", "EOPNOTSUPP"])
def test_a_file_system_that_cannot_sync_directories_is_tolerated(job: Job, error: str) -> None:
    """#123"""
    done = job.run(before=failing("fsync", f"error={error}:when=1+", path=job.place))
    assert done.returncode == 0, done.stderr
    job.right()


def test_row_groups_are_bounded_and_vectors_have_no_offsets(job: Job) -> None:
    """#124"""
    job.server.dimensions = 4096
    job.server.items = None
    job.write([f"row {i}" for i in range(1500)])
    (job.place / "config.toml").write_text(
        (job.place / "config.toml").read_text().replace(f"items = {ITEMS}", "items = 500")
    )
    done = job.run(output="out.parquet")
    assert done.returncode == 0, done.stderr
    file = pq.ParquetFile(job.place / "out.parquet")
    assert pa.types.is_fixed_size_list(file.schema_arrow.field("embedding").type)
    assert file.metadata.num_row_groups > 1
    sizes = [file.metadata.row_group(i).total_byte_size for i in range(2)]
    assert max(sizes) < 32 << 20
