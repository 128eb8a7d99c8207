"""Rate limits, retries and concurrency of `tovec embed` over loopback, against what is possible.

    python benchmarks/limits.py [--runs 3] [--only tokens,faults,...]

The server (tests/servers/loopback.py, a process of its own) enforces limits as OpenAI does: a
bucket a minute that refills steadily and starts full, with the x-ratelimit headers. "least" is the
time in which no client can be faster: what exceeds the full bucket, at the rate at which it
refills. Times are whole processes, start included; every output's rows are compared with the
vectors that their texts must have. Exits 1 when a row is wrong or a target is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers.loopback import Process, running, vectors_for

ROWS = 20_000
CHARACTERS = 488  # 122 tokens as the server counts: 20,000 rows are twice 1.22 M
DIMENSIONS = 256
KEY = "sk-one-key-for-all-0123456789"
FIXED = """
import sys
from tovec.endpoint import concurrency
concurrency.START_CONCURRENCY = int(sys.argv.pop(1))
concurrency.Concurrency.answered = lambda *_: None
from tovec.__main__ import main
main()
"""


class Outcome(NamedTuple):
    """What one run came to, and whether that is good enough."""

    said: str
    good: bool


def make_rows(path: Path, start: int, stop: int, characters: int = CHARACTERS) -> list[str]:
    """Write rows of so many characters, each different; give their texts."""
    texts = [f"{i:08d} ".ljust(characters, "abcdefgh ijkl"[i % 13]) for i in range(start, stop)]
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in texts))
    return texts


class Job:
    """One `tovec embed` as a process of its own."""

    def __init__(self, folder: Path, texts: list[str], name: str = "rows") -> None:
        self.source, self.target = folder / f"{name}.jsonl", folder / f"{name}.npy"
        self.config = folder / "config.toml"
        self.texts = texts

    def start(
        self, server: Process, *options: str, items: int = 0, code: str = "", key: str = ""
    ) -> subprocess.Popen[bytes]:
        """Begin; `items` is the endpoint's limit of inputs in a request, as the config says it.

        Processes with the same key share what they learn of the limits.
        """
        limits = f"limits = {{ items = {items} }}\n" if items else ""
        self.config.write_text(
            f'[providers.loopback]\nbase_url = "{server.base_url}"\nkey_env = "LOOPBACK_KEY"\n'
            f"key_required = false\n{limits}",
            encoding="utf-8",
        )
        lead = ["-c", code, *options[:1]] if code else ["-m", "tovec"]
        command = [
            *(sys.executable, *lead, "embed", "-v", "--config", str(self.config)),
            *("-p", "loopback", "-m", "m", "--force", "-o", str(self.target)),
            *("-f", str(self.source), *options[1 if code else 0 :]),
        ]
        clean = {name: value for name, value in os.environ.items() if not name.endswith("_KEY")}
        known = {"LOOPBACK_KEY": key} if key else {}
        return subprocess.Popen(command, stderr=subprocess.PIPE, env=clean | known)

    def wrong(self) -> int:
        """Count the rows that are missing or not what their text must give."""
        found = np.load(self.target, mmap_mode="r")
        if len(found) != len(self.texts):
            return len(self.texts)
        wrong = 0
        for i in range(0, len(found), 2048):
            true = vectors_for(self.texts[i : i + 2048], found.shape[1])
            wrong += int((found[i : i + 2048] != true).any(axis=1).sum())
        return wrong


def ended(*works: subprocess.Popen[bytes]) -> str:
    """Wait for processes; give what they said, or stop where one failed."""
    said = [work.communicate()[1].decode() for work in works]
    for work, words in zip(works, said, strict=True):
        if work.returncode:
            raise SystemExit(f"tovec failed with {work.returncode}:\n{words}")
    return "\n".join(said)


@contextmanager
def job(count: int = ROWS, characters: int = CHARACTERS) -> Iterator[Job]:
    """Make the rows of a job, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        rows = make_rows(Path(folder, "rows.jsonl"), 0, count, characters)
        yield Job(Path(folder), rows)


def judged(
    server: Process, seconds: float, least: float, most: float, wrong: int, share: float = 0.01
) -> Outcome:
    """Judge a run against a rate limit: its time, its refusals, its rows."""
    report = server.report()
    requests, refused = report["requests"], report["statuses"].get("429", 0)
    times = report["times"]
    said = (
        f"{seconds:.2f} s, least {least:.2f} s: x{seconds / least:.3f}, +{seconds - least:.2f} s; "
        f"first request to last {times[-1] - times[0]:.2f} s; {requests} requests, "
        f"{refused} x 429; wrong rows {wrong}, paid twice {report['paid_twice']}"
    )
    good = seconds <= most and refused <= share * requests and not wrong
    return Outcome(said, good and not report["paid_twice"])


def tokens() -> Outcome:
    """20,000 rows against 120 requests and 1.22 M tokens a minute: at most 0.6 s over 60 s."""
    with (
        job() as one,
        running("--rpm=120", "--tpm=1220000", f"--dimensions={DIMENSIONS}") as server,
    ):
        began = time.perf_counter()
        ended(one.start(server))
        return judged(server, time.perf_counter() - began, 60.0, 60.6, one.wrong())


def requests() -> Outcome:
    """1,250 requests against 600 a minute: at most 1.03 times the least."""
    with job() as one, running("--rpm=600", f"--dimensions={DIMENSIONS}") as server:
        began = time.perf_counter()
        ended(one.start(server, items=16))
        least = (1250 / 600 - 1) * 60
        return judged(server, time.perf_counter() - began, least, 1.03 * least, one.wrong())


def halved() -> Outcome:
    """2,000 requests against 1,500 a minute, halved after 10 s: at most 1.03 times the least."""
    with job() as one, running("--rpm=1500", f"--dimensions={DIMENSIONS}") as server:
        began = time.perf_counter()
        work = one.start(server, items=10)
        time.sleep(10)
        server.set(rpm=750)
        into = time.perf_counter() - began
        ended(work)
        # What fits in is the halved bucket, and what both rates let flow.
        least = into + (2000 - 750 - into * 1500 / 60) / (750 / 60)
        return judged(server, time.perf_counter() - began, least, 1.03 * least, one.wrong())


def shared() -> Outcome:
    """Two processes without a key, 625 requests each, against 600 a minute: at most 1.10."""
    least = (1250 / 600 - 1) * 60
    return together(2, least, 1.10 * least, 0.01, "--rpm=600", items=16)


def large() -> Outcome:
    """Two without a key, 20 requests each, of which 20 are a minute's tokens: at most 1.10."""
    # A program cannot know what another sends in the first moment: its own 8 are under way.
    return together(2, 60.0, 66.0, 0.25, "--rpm=120", "--tpm=1220000")


def eight() -> Outcome:
    """Eight processes with one key against 600 requests and 1.22 M tokens: at most 1.05."""
    return together(8, 60.0, 63.0, 0.01, "--rpm=600", "--tpm=1220000", key=KEY)


def small() -> Outcome:
    """Eight processes with one key, 1,250 requests in all, against 600 a minute: at most 1.05."""
    least = (1250 / 600 - 1) * 60
    return together(8, least, 1.05 * least, 0.01, "--rpm=600", items=16, key=KEY)


def together(
    count: int,
    least: float,
    most: float,
    share: float,
    *limits: str,
    items: int = 0,
    key: str = "",
) -> Outcome:
    """Run processes at once, each with its part of the rows."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(f"--dimensions={DIMENSIONS}", *limits) as server,
    ):
        jobs = list[Job]()
        for number in range(count):
            place = Path(folder, str(number))
            place.mkdir()
            bounds = (ROWS * number // count, ROWS * (number + 1) // count)
            jobs.append(Job(place, make_rows(place / "rows.jsonl", *bounds)))
        began = time.perf_counter()
        ended(*[job.start(server, items=items, key=key) for job in jobs])
        seconds = time.perf_counter() - began
        wrong = sum(job.wrong() for job in jobs)
        return judged(server, seconds, least, most, wrong, share)


def latency(runs: int) -> Outcome:
    """20,000 rows of 500 characters at 200 ms: at most 1.15 times the best fixed concurrency."""
    known: dict[str, list[float]] = {name: [] for name in ("found", "8", "16", "32", "64")}
    wrong = 0
    with job(characters=500) as one, running("--latency=0.2", "--dimensions=1536") as server:
        for _ in range(runs):
            for name, seconds in known.items():
                began = time.perf_counter()
                fixed = ("--concurrency", name)
                code, options = ("", ()) if name == "found" else (FIXED, (name, *fixed))
                ended(one.start(server, *options, code=code))
                seconds.append(time.perf_counter() - began)
                wrong += one.wrong()
    took = {name: statistics.median(seconds) for name, seconds in known.items()}
    best = min(seconds for name, seconds in took.items() if name != "found")
    said = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())
    ratio = took["found"] / best
    return Outcome(f"{said}: x{ratio:.3f}; wrong rows {wrong}", ratio <= 1.15 and not wrong)


def faults(runs: int) -> Outcome:
    """5,000 requests, 5 % answered 500 and 1 % reset: at most 1.07 times as many requests.

    As dice fall: 1 / (0.95 x 0.99) = 1.063 is what is needed on average.
    """
    chance = (
        '--fault={"kind": "status", "status": 500, "rate": 0.05}',
        '--fault={"kind": "reset", "rate": 0.01}',
    )
    ratios, took, wrong, words = list[float](), list[float](), 0, ""
    with job() as one:
        for seed in range(runs):
            arguments = (f"--seed={seed}", "--latency=0.02", f"--dimensions={DIMENSIONS}", *chance)
            with running(*arguments) as server:
                began = time.perf_counter()
                words = ended(one.start(server, items=4)).strip().splitlines()[-1]
                took.append(time.perf_counter() - began)
                ratios.append(server.report()["requests"] / 5000)
                wrong += one.wrong()
    ratio = statistics.median(ratios)
    return Outcome(
        f"{statistics.median(took):.2f} s; x{ratio:.3f} requests, of {min(ratios):.3f} to "
        f"{max(ratios):.3f}; wrong rows {wrong}; the last says: {words}",
        ratio <= 1.07 and not wrong,
    )


def dead() -> Outcome:
    """The endpoint is gone for 60 s in mid-job: the job goes on, and does not flood it."""
    arguments = ("--latency=0.2", f"--dimensions={DIMENSIONS}")
    with job() as one:
        with running(*arguments) as server:
            work = one.start(server, items=16)
            time.sleep(5)
            before = server.report()
        time.sleep(60)
        began = time.perf_counter()
        with running(*arguments, f"--port={server.port}") as again:
            listening = time.perf_counter() - began
            said = ended(work)
            after, wrong = again.report(), one.wrong()
    first = after["times"][0]
    in_first = sum(at < first + 1 for at in after["times"])
    answered = before["statuses"].get("200", 0) + after["statuses"].get("200", 0)
    words = said.strip().splitlines()[-1]
    return Outcome(
        f"first request {first + listening:.1f} s after the return, {in_first} in the second "
        f"after it ({before['busiest_second']} before); {answered} answers to 1250 requests; "
        f"wrong rows {wrong}; it says: {words}",
        first < 66 and in_first <= before["busiest_second"] and not wrong,
    )


def main() -> int:
    """Run the scenarios and print a line for each."""
    known: dict[str, Callable[[], Outcome]] = {
        one.__name__: one for one in (tokens, requests, halved, shared, large, eight, small, dead)
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of those that take seconds")
    parser.add_argument("--only", default=",".join([*known, "latency", "faults"]))
    given = parser.parse_args()
    known["latency"] = lambda: latency(given.runs)
    known["faults"] = lambda: faults(given.runs)
    missed = 0
    for name in given.only.split(","):
        outcome = known[name]()
        missed += not outcome.good
        print(f"{name:9}{'met   ' if outcome.good else 'MISSED'}  {outcome.said}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
