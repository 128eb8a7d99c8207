"""Kills, signals, poor surroundings (126 to 146): a job goes on, and nothing is harmed."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.faults.injection import (
    ITEMS,
    TEXTS,
    Done,
    Job,
    failed,
    failing,
    nobody,
    reachable,
    wait_for,
)
from tests.terminal.console import Console

# Kills -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "number"),
    [("fdatasync", 3), ("pwritev,pwritev2", 4), ("link,linkat", 1), ("fsync", 5), ("unlink", 4)],
)
def test_a_kill_at_a_call_that_makes_things_durable_costs_at_most_what_was_under_way(
    job: Job, call: str, number: int
) -> None:
    """#126: each call of all kinds is `python -m tests.faults.kills`."""
    before = failing(call, f"signal=SIGKILL:when={number}")
    killed = job.run("--concurrency", "2", before=before)
    assert killed.returncode == -signal.SIGKILL
    job.run("--concurrency", "2")  # where the output had appeared there is nothing left to do
    job.right()
    assert job.server.ledger.paid_twice() <= 2 * ITEMS
    left = set(os.listdir(job.place)) - {"rows.jsonl", "config.toml", "out.jsonl"}
    assert not left


# Memory ------------------------------------------------------------------------------------------


def peak(command: list[str], place: Path) -> int:
    """Give the most memory, in bytes, that a command took."""
    child = subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_maxrss * 1024


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """#129 #166: 32 bytes a row in the index (DESIGN 5), and nothing else."""
    took = []
    for rows in (5_000, 55_000):
        (tmp_path / "rows.txt").write_text("".join(f"{i}\n" for i in range(rows)))
        words = ["batch", "rows.txt", "-p", "local", "-d", "4", "-o", f"{rows}.npy"]
        took.append(peak([sys.executable, "-m", "tovec", *words], tmp_path))
    assert took[1] - took[0] < 50_000 * 32 + (24 << 20), took


def limited(
    job: Job,
    number: int,
    amount: int,
    words: list[str],
    before: Sequence[str] = (),
    first: str = "",
    **more: Any,
) -> Done:
    """Run tovec with a resource limit, set by the process itself; `first` is Python run before."""
    code = (
        f"{first}import resource; resource.setrlimit({number}, ({amount}, {amount}));"
        "from tovec.__main__ import main; main()"
    )
    return subprocess.run(
        [*before, sys.executable, "-c", code, *words],
        cwd=job.place, capture_output=True, timeout=60, check=False, **more,
    )  # fmt: skip


def test_no_memory_left_is_said_and_the_job_goes_on_when_there_is_more(job: Job) -> None:
    """#129: as after a kill, only answers that were under way may be asked for again."""
    job.write([*TEXTS, "x" * 95_000_000])
    # The bound of a line would keep this one out: what is left to run out of memory is chance.
    # With 400 MiB the line is read at times, and orjson 3.11 crashes where it finds no room for it.
    lifted = "import tovec.formats.cutting as cutting; cutting.MAX_RECORD_BYTES = 1 << 30;"
    done = limited(job, resource.RLIMIT_AS, 340 << 20, job.command()[3:], first=lifted)
    failed(done, 70, "a batch resumes")
    assert re.search(rb"no (memory|threads) left", done.stderr)  # a thread takes memory too
    job.nothing_half()
    job.write(TEXTS)
    stored = json.loads(job.run("--status").stdout)["vectors"]
    asked = len(job.server.ledger.entries)
    job.finished()
    # What was stored is not asked for again; requests hold ten inputs.
    assert len(job.server.ledger.entries) - asked == -(-(len(TEXTS) - stored) // 10)


def test_no_more_threads_is_said(job: Job) -> None:
    """#144"""
    user = nobody()
    reachable(job.place)
    job.place.chmod(0o777)
    environ = {"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"}
    alone = ["embed", "-p", "local", "hello"]
    done = limited(job, resource.RLIMIT_NPROC, 1, alone, before=user, env=environ)
    assert (done.returncode, done.stderr) == (0, b"")  # needs no thread
    done = limited(job, resource.RLIMIT_NPROC, 1, job.command()[3:], before=user, env=environ)
    failed(done, 70, "no threads left", "ulimit")
    assert not job.server.ledger.entries


# Signals -----------------------------------------------------------------------------------------


def test_a_job_under_nohup_outlives_its_terminal(job: Job) -> None:
    """#131"""
    job.server.latency = 0.05
    child = subprocess.Popen(
        ["nohup", *job.command("--concurrency", "1")],
        cwd=job.place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(lambda: job.answered >= 1)
    child.send_signal(signal.SIGHUP)
    child.communicate(timeout=30)
    assert child.returncode == 0
    job.right()


def test_a_job_whose_reader_goes_away_keeps_its_vectors(job: Job) -> None:
    """#132"""
    job.write([f"{text} {'x' * 20_000}" for text in TEXTS])
    words = job.command("--job-dir", "job", output="-")
    child = subprocess.Popen(words, cwd=job.place, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read(1)
    child.stdout.close()
    assert child.wait(30) == -signal.SIGPIPE
    assert child.stderr is not None and child.stderr.read() == b""
    child.stderr.close()
    asked = job.answered
    done = job.run("--job-dir", "job", output="-")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(TEXTS)
    assert job.answered == asked


def test_no_data_goes_into_a_file_that_took_the_number_of_stdout(job: Job) -> None:
    """#133: the log would be descriptor 1 if nothing held its place."""
    for closed in (">&-", "<&- >&- 2>&-"):
        words = job.command("--job-dir", "job", "--keep-job", output="-")
        subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], cwd=job.place, check=False)
        job.log = job.place / "job" / "00000001.log"
        assert job.log.read_bytes().startswith(b"TVLF")
        assert b'"embedding"' not in job.log.read_bytes()


def test_a_job_that_is_stopped_and_continued_loses_nothing(job: Job) -> None:
    """#135"""
    job.server.latency = 0.05
    child = job.start("--concurrency", "2")
    for wanted in (1, 3):
        wait_for(lambda wanted=wanted: job.answered >= wanted)
        child.send_signal(signal.SIGSTOP)
        wait_for(lambda: not job.server.ledger.under_way)
        child.send_signal(signal.SIGCONT)
    child.communicate(timeout=30)
    assert child.returncode == 0
    job.right()
    assert job.server.ledger.paid_twice() == 0


def test_signals_that_mean_nothing_have_no_effect(job: Job) -> None:
    """#136"""
    job.server.latency = 0.02
    child = job.start("--concurrency", "1")
    wait_for(lambda: job.answered >= 1)
    while child.poll() is None:
        for number in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT, signal.SIGURG):
            child.send_signal(number)
    child.communicate()
    assert child.returncode == 0
    job.right()


# Locks -------------------------------------------------------------------------------------------


def test_the_lock_of_a_killed_run_goes_with_it_whatever_its_words_say(job: Job) -> None:
    """#138"""
    job.server.latency = 600
    child = job.start()
    wait_for(lambda: job.server.ledger.under_way)
    child.kill()
    child.communicate()
    lock = job.log.parent / "lock"
    assert str(child.pid) in lock.read_text()
    lock.write_text(f"process {os.getpid()} on here")  # alive, but no holder
    job.server.latency = 0
    job.finished()


def test_a_child_of_key_command_that_lives_on_holds_nothing(job: Job) -> None:
    """#139"""
    config = job.place / "config.toml"
    command = "sleep 30 >/dev/null 2>&1 & echo $! > child; echo a-key-0123456789"
    config.write_text(config.read_text() + f'key_command = ["sh", "-c", {json.dumps(command)}]\n')
    job.server.latency = 600
    first = job.start()
    wait_for(lambda: job.server.ledger.under_way)
    lives = int((job.place / "child").read_text())
    try:
        held = os.listdir(f"/proc/{lives}/fd")
        assert set(held) == {"0", "1", "2"}
        first.kill()
        first.communicate()
        job.server.latency = 0
        job.finished()
    finally:
        os.kill(lives, signal.SIGKILL)


# Surroundings ------------------------------------------------------------------------------------


def test_a_user_without_name_or_home_and_umask_077_can_run_a_job(job: Job) -> None:
    """#140 #144: as in cron, and in containers with a number for a user."""
    user = nobody()
    reachable(job.place)
    job.place.chmod(0o777)
    words = ["env", "-i", "PATH=/usr/bin:/bin", *user, *job.command()]
    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$@"', "sh", *words],
        cwd=job.place, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    job.right()
    assert job.out.stat().st_mode & 0o777 == 0o600
    assert job.out.stat().st_uid == 54321
    assert not (job.place / "~").exists()


def test_nothing_is_ever_asked_of_a_terminal(job: Job) -> None:
    """#142: where a question would be possible, the run ends with an error instead."""
    job.out.write_text("precious")
    with Console(job.command(output=str(job.out)), {**os.environ, "TERM": "xterm"}) as console:
        assert console.end() == 7
    assert b"--force replaces it" in console.seen
    words = job.command("--force", output=str(job.out))
    words[words.index(str(job.rows))] = "-"
    with Console(words, {**os.environ, "TERM": "xterm"}) as console:
        assert console.end() == 2
    assert b"standard input is a terminal" in console.seen


@pytest.mark.parametrize("now", [0.0, 2_300_000_000.0])
def test_a_clock_that_is_wrong_changes_nothing(job: Job, now: float) -> None:
    """#143: 1970 and 2042."""
    code = (
        f"import time; time.time = lambda: {now}; time.time_ns = lambda: {int(now)} * 10**9;"
        "from tovec.__main__ import main; main()"
    )
    words = job.command("--stats", "stats.json")[3:]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=job.place, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    job.right()
    stats = json.loads((job.place / "stats.json").read_text())
    assert stats["seconds"] >= 0
    assert all(value >= 0 for value in stats["latency_seconds"].values())


def test_no_directory_for_temporary_files_and_a_read_only_home_are_no_matter(job: Job) -> None:
    """#144"""
    user = nobody()
    reachable(job.place)
    (job.place / "home").mkdir(mode=0o555)
    job.place.chmod(0o777)
    environ = {"PATH": "/usr/bin", "HOME": str(job.place / "home"), "TMPDIR": "/nonexistent"}
    done = job.run(before=user, env=environ)
    assert done.returncode == 0, done.stderr
    job.right()
    assert not os.listdir(job.place / "home")
