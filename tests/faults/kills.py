"""A job killed at every call that makes things durable: `python -m tests.faults.kills`.

A job is killed at its first call of a kind, run again, then one is killed at its second, and so on
until a run has no such call (fault 126).
"""

from __future__ import annotations

import itertools
import signal
import tempfile
import time
from pathlib import Path

from tests.faults.injection import DIMENSIONS, ITEMS, Job, failing
from tests.servers.loopback import Loopback

CALLS = ("pwritev2", "fdatasync", "fsync", "link", "rename", "unlink", "fchmod")
SLOTS = 2
OUTPUTS = ("out.jsonl", "out.parquet", "out.npy")


def killed(place: Path, server: Loopback, output: str, call: str, number: int) -> int | None:
    """Kill a job at a call and run it again; give the inputs paid for twice.

    None where the first run made no such call and ended by itself.
    """
    job = Job(place, server)
    server.ledger.paid.clear()
    before = failing(call, f"signal=SIGKILL:when={number}")
    first = job.run("--concurrency", SLOTS, before=before, output=output)
    if first.returncode == 0:
        return None
    assert first.returncode == -signal.SIGKILL, first.stderr
    if not (place / output).exists() or (place / f"{output}.tovec").exists():
        done = job.run("--concurrency", SLOTS, output=output)
        assert done.returncode == 0, done.stderr
    left = {one.name for one in place.iterdir()} - {"rows.jsonl", "config.toml", output}
    assert left <= {f"{output}.json"}, left
    return server.ledger.paid_twice()


def main() -> None:
    """Kill at each call, and say what was found."""
    began, points, worst = time.monotonic(), 0, 0
    with Loopback(dimensions=DIMENSIONS) as server:
        for output in OUTPUTS:
            with tempfile.TemporaryDirectory() as place:
                assert Job(Path(place), server).run(output=output).returncode == 0
                expected = (Path(place) / output).read_bytes()
            for call in CALLS:
                for number in itertools.count(1):  # strace counts by thread
                    with tempfile.TemporaryDirectory() as place:
                        twice = killed(Path(place), server, output, call, number)
                        if twice is None:
                            break
                        found = (Path(place) / output).read_bytes()
                    assert found == expected, f"{output}: {call} {number}"
                    assert twice <= SLOTS * ITEMS, f"{output}: {call} {number}: {twice}"
                    points, worst = points + 1, max(worst, twice)
    print(f"{points} kills in {time.monotonic() - began:.0f} s, every output equal to the byte, "
          f"at most {-(-worst // ITEMS)} requests paid twice after a kill")  # fmt: skip


if __name__ == "__main__":
    main()
