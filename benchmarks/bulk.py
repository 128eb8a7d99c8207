"""Rows a second, CPU and memory of the main job over loopback, beside a floor and other tools.

    pip install -r benchmarks/requirements.txt
    python benchmarks/bulk.py [--rows 20000] [--runs 3] [--latency 0.2 --concurrency 8]
                              [--only floor,embed,batch] [--json FILE] [--plot FILE.svg]

The job: JSONL rows of about 500 characters to Parquet with 1536-dimensional vectors (llm writes its
own SQLite). What runs is in `programs.py`. The programs run interleaved, each in a process of its
own; every output is opened and each row's vector compared with the one that its text must have.
CPU is the client's alone, user and system. A package that is not installed is named as missing.
Exits 1 when a row is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from programs import PROGRAMS, command, missing

HERE = Path(__file__).parent
DIMENSIONS = 1536


class Figures(NamedTuple):
    """What one run took: seconds of the clock and of CPU, peak MiB, requests that were sent."""

    wall: float
    cpu: float
    peak: float
    requests: float


@contextlib.contextmanager
def endpoint(latency: float) -> Iterator[str]:
    """Run the loopback endpoint; give its address."""
    server = subprocess.Popen(
        [sys.executable, str(HERE / "loopback.py"), "--latency", str(latency)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def asked(url: str) -> int:
    """Give how many requests the endpoint has had."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return int(opener.open(f"{url}/requests").read())


def measure(arguments: Sequence[str], url: str, folder: Path) -> Figures:
    """Run a program; give what it took."""
    ours = {"NO_PROXY": "127.0.0.1", "LLM_USER_PATH": str(folder / "llm")}
    theirs = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"}  # llm knows no other way
    before, started = asked(url), time.perf_counter()
    child = subprocess.Popen(
        arguments, env={**os.environ, **ours, **theirs}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{arguments[:4]} failed with {child.returncode}")
    wall = time.perf_counter() - started
    cpu = used.ru_utime + used.ru_stime
    return Figures(wall, cpu, used.ru_maxrss / 1024, asked(url) - before)


def make_rows(path: Path, count: int) -> None:
    """Write rows of about 500 characters that differ from each other, and `narrow` for llm."""
    source = random.Random(1)
    words = ["".join(source.choices("etaoinshrdlu", k=source.randint(2, 9))) for _ in range(4000)]
    with path.open("wb") as file, path.with_name("narrow.jsonl").open("wb") as narrow:
        for i in range(count):
            text = " ".join(source.choices(words, k=90))[:500]
            file.write(orjson.dumps({"id": i, "score": i / 7, "text": text}) + b"\n")
            narrow.write(orjson.dumps({"id": i, "text": text}) + b"\n")


def wrong_rows(path: Path, count: int) -> int:
    """Count the rows of an output that are not what their text must give.

    In a process of its own: a child's peak memory counts from its parent's size when it starts.
    """
    import numpy as np

    from loopback import vectors_of

    wrong = seen = 0
    for ids, texts, found in _llm_rows(path) if path.suffix == ".db" else _rows(path):
        expected = vectors_of(texts, DIMENSIONS)
        wrong += int((found != expected).any(axis=1).sum())
        wrong += int((np.array(ids) != np.arange(seen, seen + len(ids))).sum())
        seen += len(ids)
    return wrong + abs(seen - count)


def _rows(path: Path) -> Iterator[tuple[list[int], list[str], Any]]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(2048, columns=["id", "text", "embedding"]):
        found = batch["embedding"].flatten().to_numpy().reshape(len(batch), -1)
        yield batch["id"].to_pylist(), batch["text"].to_pylist(), found


def _llm_rows(path: Path) -> Iterator[tuple[list[int], list[str], Any]]:
    import sqlite3

    import numpy as np

    rows = sqlite3.connect(path).execute(
        "select id, content, embedding from embeddings order by cast(id as integer)"
    )
    while some := rows.fetchmany(2048):
        ids, texts, blobs = zip(*some, strict=True)
        vectors = np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), -1)
        yield list(map(int, ids)), list(texts), vectors


def plot(medians: dict[str, Figures], rows: int, path: Path) -> None:
    """Draw CPU seconds and peak memory of each program."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    titles = [PROGRAMS[name].title for name in medians][::-1]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 0.5 * len(titles) + 1.4), sharey=True)
    for axis, what, values in (
        (axes[0], "CPU seconds", [one.cpu for one in medians.values()][::-1]),
        (axes[1], "peak memory, MiB", [one.peak for one in medians.values()][::-1]),
    ):
        ours = ["#2563eb" if title.startswith("tovec") else "#9ca3af" for title in titles]
        bars = axis.barh(titles, values, color=ours)
        axis.bar_label(bars, fmt="%.3g", padding=3)
        axis.margins(x=0.12)
        axis.set_xlabel(what)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{rows:,} rows of 500 characters, 1536 dimensions")
    figure.tight_layout()
    figure.savefig(path)


def show(medians: dict[str, Figures], rows: int) -> None:
    """Print a table; ratios are those of CPU seconds."""
    floor = medians.get("floor")
    print(f"{'':32}{'wall s':>8}{'CPU s':>8}{'x floor':>8}{'rows/s':>9}{'MiB':>7}{'requests':>10}")
    for name, one in medians.items():
        ratio = f"{one.cpu / floor.cpu:8.2f}" if floor else " " * 8
        print(
            f"{PROGRAMS[name].title:32}{one.wall:>8.2f}{one.cpu:>8.2f}{ratio}"
            f"{rows / one.wall:>9,.0f}{one.peak:>7,.0f}{one.requests:>10,.0f}"
        )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--concurrency", type=int, help="of the floor, embed and batch")
    parser.add_argument("--only", default=",".join(PROGRAMS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--check", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def runs(given: argparse.Namespace, names: list[str]) -> tuple[dict[str, list[Figures]], int]:
    """Run everything, interleaved; give the figures of each run, and the rows that are wrong."""
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    wrong = 0
    with endpoint(given.latency) as url, tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        source = folder / "rows.jsonl"
        make_rows(source, given.rows)
        for _ in range(given.runs):
            for name, taken in figures.items():
                target = folder / ("out.db" if name == "llm" else "out.parquet")
                target.unlink(missing_ok=True)
                line = command(name, source, target, url, given.concurrency)
                taken.append(measure(line, url, folder))
                check = [sys.executable, __file__, "--check", target, "--rows", str(given.rows)]
                wrong += int(subprocess.check_output(check))
    return figures, wrong


def main() -> int:
    """Measure all programs, print a table, and write what was asked for."""
    given = arguments()
    if given.check:
        print(wrong_rows(given.check, given.rows))
        return 0
    names = given.only.split(",")
    absent = {name: missing(name) for name in names if missing(name)}
    for name, package in absent.items():
        print(f"missing: {PROGRAMS[name].title} ({package} is not installed)")
    figures, wrong = runs(given, [name for name in names if name not in absent])
    medians = {
        name: Figures(*map(statistics.median, zip(*taken, strict=True)))
        for name, taken in figures.items()
    }
    print(
        f"{given.rows:,} rows, latency {given.latency:g} s, medians of {given.runs}; "
        f"rows that are wrong: {wrong}"
    )
    show(medians, given.rows)
    if given.json:
        report = {
            "rows": given.rows, "runs": given.runs, "latency": given.latency, "wrong": wrong,
            "python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg(),
            "missing": list(absent),
            "figures": {name: [one._asdict() for one in taken] for name, taken in figures.items()},
            "medians": {name: one._asdict() for name, one in medians.items()},
        }  # fmt: skip
        given.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    if given.plot:
        plot(medians, given.rows, given.plot)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
