"""A job killed at every call that makes things durable: `python -m tests.faults.kills`.

A job is killed at its first call of a kind, run again, then one is killed at its second, and so on
until a run has no such call (faults 126 and 245). Names of outputs may follow the command.
"""

from __future__ import annotations

import itertools
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.injection import DIMENSIONS, ITEMS, Job, failing
from tests.servers.loopback import Loopback

CALLS = (
    "pwritev2", "fdatasync", "fsync", "link", "rename", "renameat2", "unlink", "fchmod", "mkdir",
    "rmdir",
)  # fmt: skip
SLOTS = 2
PARTS = ("--rows-per-file", 25, "--force", "--format", "jsonl")
OUTPUTS: dict[str, tuple[object, ...]] = {
    "out.jsonl": (), "out.parquet": (), "out.npy": (), "parts": PARTS,
}  # fmt: skip
OLD = b"what an earlier run wrote"


def content(path: Path) -> bytes | None:
    """Return an output's bytes; of a directory, those of its files."""
    if path.is_dir():
        return b"".join(one.read_bytes() for one in sorted(path.iterdir()))
    return path.read_bytes() if path.exists() else None


def prepare(place: Path, output: str) -> None:
    """Put an old directory where one is replaced."""
    if OUTPUTS[output]:
        (place / output).mkdir()
        (place / output / "part-00000.jsonl").write_bytes(OLD)


def killed(
    place: Path, server: Loopback, output: str, call: str, number: int, expected: bytes
) -> int | None:
    """Kill a job at a call and run it again; return the inputs paid for twice.

    None where the first run made no such call and ended as it should.
    """
    job = Job(place, server)
    prepare(place, output)
    old = content(place / output)
    server.ledger.paid.clear()
    options = ("--concurrency", SLOTS, *OUTPUTS[output])
    before = failing(call, f"signal=SIGKILL:when={number}")
    first = job.run(*options, before=before, output=output)
    if first.returncode == 0:
        return None
    assert first.returncode == -signal.SIGKILL, first.stderr
    seen = content(place / output)
    assert seen in (old, expected), "half an output is visible, or an old one is lost"
    # The last that goes is the empty directory of the job, which was done before that.
    directory = place / f"{output}.tovec"
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
    if seen != expected or directory.exists():
        done = job.run(*options, output=output)
        assert done.returncode == 0, done.stderr
    left = {one.name for one in place.iterdir()} - {"rows.jsonl", "config.toml", output}
    assert left <= {f"{output}.json"}, left
    return server.ledger.paid_twice()


def main() -> None:
    """Kill at each call, and say what was found."""
    began, points, worst = time.monotonic(), 0, 0
    with Loopback(dimensions=DIMENSIONS) as server:
        for output in sys.argv[1:] or OUTPUTS:
            with tempfile.TemporaryDirectory() as place:
                done = Job(Path(place), server).run(*OUTPUTS[output], output=output)
                assert done.returncode == 0, done.stderr
                expected = content(Path(place) / output)
                assert expected is not None
            for call in CALLS:
                for number in itertools.count(1):  # strace counts by thread
                    with tempfile.TemporaryDirectory() as place:
                        where = f"{output}: {call} {number}"
                        twice = killed(Path(place), server, output, call, number, expected)
                        if twice is None:
                            break
                        assert content(Path(place) / output) == expected, where
                    assert twice <= SLOTS * ITEMS, f"{where}: {twice}"
                    points, worst = points + 1, max(worst, twice)
    print(f"{points} kills in {time.monotonic() - began:.0f} s, every output equal to the byte, "
          f"at most {-(-worst // ITEMS)} requests paid twice after a kill")  # fmt: skip


if __name__ == "__main__":
    main()
