"""A job killed at every call that makes things durable: `python -m tests.faults.kills`.

Each call of each kind is counted in an undisturbed run; then a job is killed at the first, the
second, and so on, and run again (fault 126).
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.injection import DIMENSIONS, ITEMS, Job, failing
from tests.servers.loopback import Loopback

CALLS = ("pwritev2", "fdatasync", "fsync", "ftruncate", "link", "rename", "unlink", "fchmod")
SLOTS = 2
OUTPUTS = ("out.jsonl", "out.parquet", "out.npy")


def counted(job: Job, output: str) -> Counter[str]:
    """Give how often an undisturbed run makes each call, from its start of the job on."""
    trace = job.place / "trace"
    words = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
    assert job.run("--concurrency", SLOTS, before=words, output=output).returncode == 0
    lines = trace.read_text().splitlines()
    return Counter(call for line in lines for call in CALLS if f" {call}(" in line)


def killed(place: Path, server: Loopback, output: str, call: str, number: int) -> tuple[int, bytes]:
    """Kill a job at a call, run it again; give the inputs paid for twice, and the output."""
    job = Job(place, server)
    server.ledger.paid.clear()
    before = failing(call, f"signal=SIGKILL:when={number}")
    first = job.run("--concurrency", SLOTS, before=before, output=output)
    assert first.returncode in (-signal.SIGKILL, 0), first.stderr
    whole = (place / output).exists() and not (place / f"{output}.tovec").exists()
    if not whole:
        done = job.run("--concurrency", SLOTS, output=output)
        assert done.returncode == 0, done.stderr
    left = {one.name for one in place.iterdir()} - {"rows.jsonl", "config.toml", output}
    assert left <= {f"{output}.json"}, left
    return server.ledger.paid_twice(), (place / output).read_bytes()


def main() -> None:
    """Kill at each call, and say what was found."""
    began, points, worst = time.monotonic(), 0, 0
    with Loopback(dimensions=DIMENSIONS) as server:
        for output in OUTPUTS:
            with tempfile.TemporaryDirectory() as place:
                job = Job(Path(place), server)
                calls = counted(job, output)
                expected = (job.place / output).read_bytes()
            for call, count in calls.items():
                for number in range(1, count + 1):
                    with tempfile.TemporaryDirectory() as place:
                        twice, found = killed(Path(place), server, output, call, number)
                    assert found == expected, f"{output}: {call} {number}"
                    assert twice <= SLOTS * ITEMS, f"{output}: {call} {number}: {twice}"
                    points, worst = points + 1, max(worst, twice)
    print(f"{points} kills in {time.monotonic() - began:.0f} s, every output equal to the byte, "
          f"at most {worst // ITEMS} requests paid twice after a kill")  # fmt: skip


if __name__ == "__main__":
    subprocess.run(["strace", "-V"], capture_output=True, check=True)
    main()
