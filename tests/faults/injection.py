"""Means to make real faults: small disks, failing system calls, jobs of small requests.

What a machine cannot do (mount, trace) skips the test by name, never in silence.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.servers.loopback import Loopback, vectors_for

TEXTS = [f"the text of row {i} says {i * i}" for i in range(60)]
ITEMS = 10  # inputs in a request, so that TEXTS are six
DIMENSIONS = 8
Done = subprocess.CompletedProcess[bytes]


@contextlib.contextmanager
def small_disk(path: Path, size: str = "64k") -> Iterator[Path]:
    """Mount a file system of so many bytes at `path`."""
    path.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let tmpfs be mounted")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@functools.cache
def _traces() -> bool:
    if shutil.which("strace") is None:
        return False
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync"]
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


def failing(call: str, fault: str, *, path: Path | None = None) -> list[str]:
    """Give the words that, before a command, make its system call fail.

    `fault` is as for strace: "error=EIO:when=2", "signal=SIGKILL:when=3", "delay_exit=200000".
    """
    if not _traces():
        pytest.skip("strace is not here, or may not trace")
    # Not --seccomp-bpf: with it strace 6.1 injects nothing once there are threads.
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:{fault}"]
    only = [] if path is None else ["-P", str(path)]
    return ["strace", "-f", "-qq", "-o", "/dev/null", *inject, *only]


class Job:
    """`tovec batch` over TEXTS with a server of ours; `place` is its directory."""

    def __init__(self, place: Path, server: Loopback) -> None:
        self.place, self.server = place, server
        self.rows = place / "rows.jsonl"
        self.write(TEXTS)
        self.out = place / "out.jsonl"
        self.log = place / "out.jsonl.tovec" / "00000001.log"
        (place / "config.toml").write_text(
            f'[providers.mine]\nbase_url = "{server.base_url}"\nlimits = {{ items = {ITEMS} }}\n'
        )

    def write(self, texts: Sequence[str]) -> None:
        """Make the input."""
        self.rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))

    def command(self, *options: object, output: str = "out.jsonl") -> list[str]:
        """Give the words of the job's command."""
        words = ["batch", str(self.rows), "-o", output, "--config", str(self.place / "config.toml")]
        words += ["-p", "mine", "-m", "m", *map(str, options)]
        return [sys.executable, "-m", "tovec", *words]

    def run(
        self, *options: object, before: Sequence[str] = (), output: str = "out.jsonl", **more: Any
    ) -> Done:
        """Run the job to its end."""
        return subprocess.run(
            [*before, *self.command(*options, output=output)],
            cwd=more.pop("cwd", self.place),
            capture_output=True,
            timeout=60,
            check=False,
            **more,
        )

    def start(self, *options: object, **more: Any) -> subprocess.Popen[bytes]:
        """Begin the job."""
        more.setdefault("stderr", subprocess.PIPE)
        more.setdefault("stdout", subprocess.PIPE)
        return subprocess.Popen(self.command(*options), cwd=self.place, **more)

    def finished(self, *options: object) -> Done:
        """Run what is left, and see that the output is right."""
        done = self.run(*options)
        assert done.returncode == 0, done.stderr
        self.right()
        return done

    def right(self, texts: Sequence[str] = TEXTS, path: Path | None = None) -> None:
        """See that each text stands in its place with its own vector, to the bit."""
        lines = (path or self.out).read_bytes().split(b"\n")
        assert lines.pop() == b""
        rows = [json.loads(line) for line in lines]
        assert [row["text"] for row in rows] == list(texts)
        vectors = np.array([row["embedding"] for row in rows], np.float32)
        assert np.array_equal(vectors, vectors_for(list(texts), DIMENSIONS))

    def nothing_half(self) -> None:
        """See that nothing but what belongs to a job that can go on is left."""
        expected = {"rows.jsonl", "config.toml", "out.jsonl.tovec"}
        assert set(os.listdir(self.place)) <= expected

    @property
    def answered(self) -> int:
        """How many requests the server has answered."""
        return self.server.ledger.statuses[200]


def failed(done: Done, code: int, *words: str) -> None:
    """See that a run ended so, in three lines at most, without a traceback."""
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert all(word in said for word in words), said
    errors = [line for line in said.splitlines() if ": warning:" not in line]
    assert 1 <= len(errors) <= 3, said


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Return when it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to hold"
        time.sleep(0.005)


def nobody() -> list[str]:
    """Give the words that run a command as a user without a name, a home or any right."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    words = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    probe = [*words, sys.executable, "-c", "import tovec"]
    if (
        shutil.which("setpriv") is None
        or subprocess.run(probe, capture_output=True, check=False, cwd="/").returncode
    ):
        pytest.skip("setpriv is not here, or the interpreter is in a place that is root's alone")
    return words


def reachable(place: Path) -> None:
    """Let everybody enter the directories above a test's own, as far as they are pytest's."""
    for one in (place, *place.parents):
        found = one.stat()
        if not found.st_mode & 0o001 and found.st_uid == os.geteuid() and "pytest-" in str(one):
            one.chmod(found.st_mode & 0o7777 | 0o055)
