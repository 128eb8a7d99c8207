"""Rows a second, CPU and memory of the main job over loopback, beside a floor and a peer.

    python benchmarks/bulk.py [--rows 20000] [--runs 3] [--only floor,tovec,batch,openai]

The job: JSONL rows of about 500 characters to Parquet with 1536-dimensional vectors. `floor` is the
least that Python can do (http.client, orjson, pybase64, pyarrow, one request at a time, no checks);
`openai` is the official package, one request at a time; `tovec` is `tovec embed`, and `batch` is
`tovec batch` with all its safety. The programs run interleaved, each in a
process of its own; every output is opened and each row's vector compared with the one that its
text must have. Exits 1 when a row is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

HERE = Path(__file__).parent
DIMENSIONS = 1536

FLOOR = """
import http.client, sys, orjson, pybase64, numpy as np, pyarrow as pa, pyarrow.parquet as pq
from urllib.parse import urlsplit
source, target, url = sys.argv[1:]
connection = http.client.HTTPConnection(urlsplit(url).netloc)
writer = None
with open(source, "rb") as file:
    while rows := [orjson.loads(line) for line in file.readlines(1 << 18)]:
        body = {"model": "m", "input": [r["text"] for r in rows], "encoding_format": "base64"}
        connection.request("POST", "/v1/embeddings", orjson.dumps(body))
        data = orjson.loads(connection.getresponse().read())["data"]
        flat = np.frombuffer(b"".join(pybase64.b64decode(d["embedding"]) for d in data), "<f4")
        column = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(flat) // len(rows))
        table = pa.Table.from_pylist(rows).append_column("embedding", column)
        if writer is None:
            writer = pq.ParquetWriter(
                target, table.schema, compression="none", use_dictionary=False,
                write_statistics=False)
        writer.write_table(table)
writer.close()
"""

OPENAI = """
import sys, orjson, pyarrow as pa, pyarrow.parquet as pq, openai
source, target, url = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="none")
rows = [orjson.loads(line) for line in open(source, "rb")]
vectors = []
for start in range(0, len(rows), 512):
    texts = [row["text"] for row in rows[start : start + 512]]
    vectors += [d.embedding for d in client.embeddings.create(model="m", input=texts).data]
table = pa.Table.from_pylist(rows).append_column(
    "embedding", pa.array(vectors, pa.list_(pa.float32(), len(vectors[0]))))
pq.write_table(table, target)
"""


def command(name: str, source: Path, target: Path, url: str) -> list[str]:
    """Give the command line of one program."""
    if name == "tovec":
        options = ["--base-url", url, "-m", "m", "--force", "-o", str(target), "-f", str(source)]
        return [sys.executable, "-m", "tovec", "embed", *options]
    if name == "batch":
        options = ["--base-url", url, "-m", "m", "--force", "-q", "-o", str(target), str(source)]
        return [sys.executable, "-m", "tovec", "batch", *options]
    return [
        sys.executable,
        "-c",
        {"floor": FLOOR, "openai": OPENAI}[name],
        str(source),
        str(target),
        url,
    ]


def measure(arguments: list[str]) -> tuple[float, float, float]:
    """Run a program; give its wall seconds, CPU seconds and peak memory in MiB."""
    started = time.perf_counter()
    child = subprocess.Popen(arguments, env={**os.environ, "NO_PROXY": "127.0.0.1"})
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{arguments[:4]} failed with {child.returncode}")
    wall = time.perf_counter() - started
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def make_rows(path: Path, count: int) -> None:
    """Write rows of about 500 characters that differ from each other."""
    source = random.Random(1)
    words = ["".join(source.choices("etaoinshrdlu", k=source.randint(2, 9))) for _ in range(4000)]
    with path.open("wb") as file:
        for i in range(count):
            text = " ".join(source.choices(words, k=90))[:500]
            file.write(orjson.dumps({"id": i, "score": i / 7, "text": text}) + b"\n")


def wrong_rows(path: Path, count: int) -> int:
    """Count the rows of an output that are not what their text must give.

    In a process of its own: a child's peak memory counts from its parent's size when it starts.
    """
    import pyarrow.parquet as pq

    from loopback import vectors_of

    table = pq.read_table(path)
    found = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    texts = table["text"].to_pylist()
    wrong = abs(len(table) - count)
    for start in range(0, len(table), 2048):
        expected = vectors_of(texts[start : start + 2048], DIMENSIONS)
        wrong += int((found[start : start + 2048] != expected).any(axis=1).sum())
    return wrong + sum(a != b for a, b in zip(table["id"].to_pylist(), range(count), strict=False))


def main() -> int:
    """Measure all programs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--latency", default="0")
    parser.add_argument("--only", default="floor,tovec,batch,openai")
    parser.add_argument("--check", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.check:
        print(wrong_rows(given.check, given.rows))
        return 0
    server = subprocess.Popen(
        [sys.executable, str(HERE / "loopback.py"), "--latency", given.latency],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    figures: dict[str, list[tuple[float, float, float]]] = {n: [] for n in given.only.split(",")}
    wrong = 0
    try:
        with tempfile.TemporaryDirectory() as directory:
            source, target = Path(directory, "rows.jsonl"), Path(directory, "out.parquet")
            make_rows(source, given.rows)
            for _ in range(given.runs):
                for name, runs in figures.items():
                    runs.append(measure(command(name, source, target, url)))
                    check = [sys.executable, __file__, "--check", target, "--rows", str(given.rows)]
                    wrong += int(subprocess.check_output(check))
    finally:
        server.terminate()
        server.wait()
    print(f"{given.rows:,} rows, medians of {given.runs}; rows that are wrong: {wrong}")
    print(f"{'':8}{'wall s':>8}{'CPU s':>8}{'rows/s':>9}{'peak MiB':>10}")
    for name, runs in figures.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:8}{wall:>8.2f}{cpu:>8.2f}{given.rows / wall:>9,.0f}{peak:>10,.0f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
