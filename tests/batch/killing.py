"""Real processes killed at random moments: `python -m tests.batch.killing 200`.

With signals that a run hears: `python -m tests.batch.killing 35 SEED INT TERM HUP`. Such a run must
end with the exit code of its signal, and nothing is paid for twice. With LAST each kill comes
within 50 ms after the output appears: `python -m tests.batch.killing 84 SEED LAST`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
from tests.servers.loopback import Loopback

CONCURRENCY = 4
ITEMS = 10  # inputs a request
ROWS = 400
LAST_SECONDS = 0.05
POLL_SECONDS = 0.0002
PARTS, REPLACED = "out.parts", "out.replaced"  # directories of parts, one over an old one
NAMES = (
    "out.jsonl", "out.parquet", "out.npy", "out.jsonl.gz", "out.jsonl.zst", PARTS, REPLACED,
)  # fmt: skip
OPTIONS = {
    PARTS: ("--format", "jsonl", "--rows-per-file", "150"),
    REPLACED: ("--format", "jsonl", "--rows-per-file", "150", "--force"),
}
OLD = b"what an earlier job wrote\n"


class Killing:
    """A place with an input, a server, and what undisturbed runs write."""

    def __init__(
        self,
        place: Path,
        server: Loopback,
        seed: int,
        signals: Sequence[int] = (signal.SIGKILL,),
        *,
        last: bool = False,
    ) -> None:
        self.place, self.server, self.random = place, server, random.Random(seed)
        self.signals, self.last = signals, last
        self.kills = 0
        self.too_late = 0  # kills after which nothing told the output from another's
        self.paid_twice = 0
        rows = [{"id": i, "text": f"text {self.random.randrange(ROWS)}"} for i in range(ROWS)]
        (place / "rows.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        limits = f"limits = {{ items = {ITEMS} }}"
        (place / "config.toml").write_text(
            f'[providers.mine]\nbase_url = "{server.base_url}"\n{limits}\n'
        )
        server.latency = 0.02
        self.expected: dict[str, bytes | None] = {}
        self.seconds = 0.0
        for name in NAMES:
            began = time.monotonic()
            self.plant(name)
            assert self.start(name).wait() == 0
            self.seconds = max(self.seconds, time.monotonic() - began)
            self.expected[name] = content(place / name)
            self.tidy()

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Begin a job."""
        command = [sys.executable, "-m", "tovec", "batch", "rows.jsonl", "-o", name, "-q",
                   "--config", "config.toml", "-p", "mine", "-m", "m",
                   "--concurrency", str(CONCURRENCY), *OPTIONS.get(name, ())]  # fmt: skip
        return subprocess.Popen(command, cwd=self.place)

    def plant(self, name: str) -> bytes | None:
        """Put an old output where one is to be replaced; return what is there."""
        if name == REPLACED:
            (self.place / name).mkdir()
            (self.place / name / "part-00000.jsonl").write_bytes(OLD)
        return content(self.place / name)

    def tidy(self) -> None:
        """Make the place as it was before a job."""
        for path in self.place.iterdir():
            if path.name.startswith("out") or path.name.startswith(".tovec"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def wait(self, child: subprocess.Popen[bytes], name: str) -> None:
        """Wait for the moment of a kill, or the end of the run."""
        if self.last:
            old = content(self.place / name)
            while content(self.place / name) == old and child.poll() is None:
                time.sleep(POLL_SECONDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(self.random.uniform(0, LAST_SECONDS if self.last else self.seconds))

    def is_too_late(self, name: str) -> bool:
        """Return whether a killed run had come to its last act, so that nothing says it is done."""
        job = self.place / f"{name}.tovec"
        if content(self.place / name) != self.expected[name]:
            return False
        if job.is_dir() and not os.listdir(job):
            job.rmdir()
        return not job.exists()

    def one_job(self, most: int = 4) -> int:
        """Kill a job up to `most` times, then let it end; return how often it was killed.

        Raises AssertionError for a broken promise.
        """
        name = self.random.choice(NAMES)
        self.server.latency = self.random.choice((0.0, 0.02, 0.05))
        kills = 0
        self.server.ledger.paid.clear()
        old = self.plant(name)
        for _ in range(self.random.randint(1, most)):
            child = self.start(name)
            self.wait(child, name)
            number = self.random.choice(self.signals)
            child.send_signal(number)
            code = child.wait()
            if code == 0:
                break
            # A run that is not yet started up is ended by the system.
            assert code in (-number, 128 + number), f"exit {code} after signal {number}"
            kills += 1
            assert content(self.place / name) in (old, self.expected[name]), f"half of {name}"
            if self.is_too_late(name):
                self.too_late += 1
                break
        else:
            asked = self.server.ledger.paid.total()
            is_written = content(self.place / name) == self.expected[name]
            assert self.start(name).wait() == 0
            assert not is_written or self.server.ledger.paid.total() == asked, "asked again"
        assert content(self.place / name) == self.expected[name], f"{name} is different"
        twice = self.server.ledger.paid_twice()
        most = kills * CONCURRENCY * ITEMS if signal.SIGKILL in self.signals else 0
        assert twice <= most, f"{twice} rows twice after {kills} kills"
        self.paid_twice += twice
        left = {
            path.name for path in self.place.iterdir() if path.name.endswith((".tovec", ".tmp"))
        }
        assert not left, f"left behind: {left}"
        self.tidy()
        self.kills += kills
        return kills


def content(path: Path) -> bytes | None:
    """Return what a file holds, or the files of a directory; None where there is neither."""
    try:
        if path.is_dir():
            return b"".join(one.name.encode() + one.read_bytes() for one in sorted(path.iterdir()))
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):  # it appears just now
        return None


def main() -> None:
    """Kill so many times, and say what was found."""
    wanted, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else os.getpid()
    last, names = "LAST" in sys.argv[3:], [one for one in sys.argv[3:] if one != "LAST"]
    signals = [signal.Signals[f"SIG{name}"] for name in names] or [signal.SIGKILL]
    with tempfile.TemporaryDirectory() as place, Loopback(dimensions=64) as server:
        killing = Killing(Path(place), server, seed, signals, last=last)
        jobs = 0
        while killing.kills < wanted:
            killing.one_job(most=1 if last else 4)
            jobs += 1
        said = ", ".join(one.name for one in signals)
        print(
            f"{killing.kills} times {said} over {jobs} jobs, seed {seed}: no broken promise, "
            f"{killing.paid_twice} rows paid twice, {killing.too_late} killed in their last act"
        )


if __name__ == "__main__":
    main()
