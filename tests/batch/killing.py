"""Real processes killed at random moments: `python -m tests.batch.killing 200`.

With signals that a run hears: `python -m tests.batch.killing 35 SEED INT TERM HUP`. Such a run must
end with the exit code of its signal, and nothing is paid for twice.
"""

from __future__ import annotations

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
EXISTS = 7  # the exit code of a run that finds the output of one killed just after it was done
NAMES = ("out.jsonl", "out.parquet", "out.npy", "out.jsonl.gz", "out.jsonl.zst")


class Killing:
    """A place with an input, a server, and what undisturbed runs write."""

    def __init__(
        self, place: Path, server: Loopback, seed: int, signals: Sequence[int] = (signal.SIGKILL,)
    ) -> None:
        self.place, self.server, self.random = place, server, random.Random(seed)
        self.signals = signals
        self.kills = 0
        self.paid_twice = 0
        rows = [{"id": i, "text": f"text {self.random.randrange(ROWS)}"} for i in range(ROWS)]
        (place / "rows.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        limits = f"limits = {{ items = {ITEMS} }}"
        (place / "config.toml").write_text(
            f'[providers.mine]\nbase_url = "{server.base_url}"\n{limits}\n'
        )
        server.latency = 0.02
        self.expected: dict[str, bytes] = {}
        self.seconds = 0.0
        for name in NAMES:
            began = time.monotonic()
            assert self.start(name).wait() == 0
            self.seconds = max(self.seconds, time.monotonic() - began)
            self.expected[name] = (place / name).read_bytes()
            self.tidy()

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Begin a job."""
        command = [sys.executable, "-m", "tovec", "batch", "rows.jsonl", "-o", name, "-q",
                   "--config", "config.toml", "-p", "mine", "-m", "m",
                   "--concurrency", str(CONCURRENCY)]  # fmt: skip
        return subprocess.Popen(command, cwd=self.place)

    def tidy(self) -> None:
        """Make the place as it was before a job."""
        for path in self.place.iterdir():
            if path.name.startswith("out") or path.name.startswith(".tovec"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def one_job(self, most: int = 4) -> int:
        """Kill a job up to `most` times, then let it end; give how often it was killed.

        Raises AssertionError for a broken promise.
        """
        name = self.random.choice(NAMES)
        self.server.latency = self.random.choice((0.0, 0.02, 0.05))
        kills = 0
        self.server.ledger.paid.clear()
        for _ in range(self.random.randint(1, most)):
            child = self.start(name)
            try:
                child.wait(self.random.uniform(0, self.seconds))
            except subprocess.TimeoutExpired:
                number = self.random.choice(self.signals)
                child.send_signal(number)
                code = child.wait()
                # A run that is not yet started up is ended by the system; one that ends just then
                # has done the job, or finds that the run before it had.
                expected = (-number, 128 + number, 0, EXISTS)
                assert code in expected, f"exit {code} after signal {number}"
                kills += 1
                visible = self.place / name
                assert not visible.exists() or visible.read_bytes() == self.expected[name]
                continue
            break
        # The last that goes is the empty directory: a run killed just before that was done.
        job = self.place / f"{name}.tovec"
        if job.is_dir() and not os.listdir(job):
            job.rmdir()
        if not (self.place / name).exists() or job.exists():
            assert self.start(name).wait() == 0
        assert (self.place / name).read_bytes() == self.expected[name], f"{name} is different"
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


def main() -> None:
    """Kill so many times, and say what was found."""
    wanted, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else os.getpid()
    signals = [signal.Signals[f"SIG{name}"] for name in sys.argv[3:]] or [signal.SIGKILL]
    with tempfile.TemporaryDirectory() as place, Loopback(dimensions=64) as server:
        killing = Killing(Path(place), server, seed, signals)
        jobs = 0
        while killing.kills < wanted:
            killing.one_job()
            jobs += 1
        names = ", ".join(one.name for one in signals)
        print(
            f"{killing.kills} times {names} over {jobs} jobs, seed {seed}: "
            f"no broken promise, {killing.paid_twice} rows paid twice"
        )


if __name__ == "__main__":
    main()
