"""Rows a second and memory of the readers alone, and of a file larger than the memory it may take.

    python benchmarks/readers.py [--rows 400000] [--runs 5] [--large 2]

Rows have a text of 500 characters, an id and a number. Each run reads one file in a process of its
own: every row is counted and every text's length added up, which the file's maker knows. `--large`
is the size in GB of a JSONL file that is made, read and removed. Exits 1 when a row is lost, and
when a target of the project is missed: 200,000 rows a second from JSONL and Parquet (by CPU time,
which a busy machine changes least), 300 MB for the large file.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

CHARACTERS = 500
ROWS_A_SECOND = 200_000
PEAK_MB = 300

READ = """
import re, sys, time
from tovec import formats
from tovec.formats.protocols import ReadOptions
wall, cpu = time.perf_counter(), time.process_time()
rows = characters = 0
for block in formats.read([sys.argv[1]], ReadOptions()):
    rows += len(block.inputs)
    characters += sum(map(len, block.inputs))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
# Not ru_maxrss, which begins with that of the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
print(rows, characters, wall, cpu, peak)
"""


def tables(rows: int) -> Iterator[pa.Table]:
    """Give the rows, some thousand at a time."""
    chance = random.Random(1)
    words = ["the", "of", "vectors", "and", "embedding", "that", "text", "model", "Überraschung"]
    for start in range(0, rows, 10_000):
        ids = range(start, min(start + 10_000, rows))
        texts = [" ".join(chance.choices(words, k=130))[:CHARACTERS] for _ in ids]
        yield pa.table({"id": ids, "text": texts, "score": [i / 3 for i in ids]})


def made(folder: Path, rows: int) -> list[Path]:
    """Write the rows in each format."""
    paths = [folder / f"rows.{suffix}" for suffix in ("jsonl", "parquet", "csv")]
    parquet = table = None
    with paths[0].open("wb") as jsonl, paths[2].open("wb") as csv:
        for table in tables(rows):
            jsonl.writelines(orjson.dumps(row) + b"\n" for row in table.to_pylist())
            parquet = parquet or pq.ParquetWriter(paths[1], table.schema)
            parquet.write_table(table)
            pc.write_csv(table, csv, pc.WriteOptions(include_header=csv.tell() == 0))
    assert parquet is not None
    parquet.close()
    return paths


def large(folder: Path, size: int) -> tuple[Path, int]:
    """Write a JSONL file of so many bytes; give it and its rows."""
    some = b"".join(orjson.dumps(row) + b"\n" for row in next(tables(10_000)).to_pylist())
    path, times = folder / "large.jsonl", -(-size // len(some))
    with path.open("wb") as file:
        for _ in range(times):
            file.write(some)
    return path, times * 10_000


def read(path: Path, rows: int) -> tuple[float, float, float]:
    """Read a file; give wall and CPU seconds, and the peak of memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    found, characters, wall, cpu, peak = map(float, done.stdout.split())
    if (found, characters) != (rows, rows * CHARACTERS):
        sys.exit(f"{path.name}: {found:,.0f} rows of {rows:,}, {characters:,.0f} characters")
    return wall, cpu, peak


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=400_000)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--large", type=float, default=2.0, metavar="GB")
    given = options.parse_args()
    missed = []
    print(f"{'':16}{'rows/s':>10}{'rows/CPU s':>12}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for path in made(Path(folder), given.rows):
            runs = [read(path, given.rows) for _ in range(given.runs)]
            wall, cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
            rate = given.rows / cpu
            print(f"{path.suffix:16}{given.rows / wall:10,.0f}{rate:12,.0f}{peak / 1e6:9,.0f}")
            if rate < ROWS_A_SECOND and path.suffix != ".csv":
                missed.append(f"{path.suffix}: {rate:,.0f} rows a second")
            path.unlink()
        path, rows = large(Path(folder), int(given.large * 1e9))
        wall, cpu, peak = read(path, rows)
        label = f".jsonl {given.large:g} GB"
        print(f"{label:16}{rows / wall:10,.0f}{rows / cpu:12,.0f}{peak / 1e6:9,.0f}")
        if peak > PEAK_MB * 1e6:
            missed.append(f"{peak / 1e6:,.0f} MB for {given.large:g} GB")
    if missed:
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
