"""A search of stored vectors beside the least that reading them takes.

    python benchmarks/similarity.py [--rows 1000000] [--dimensions 256] [--runs 9] [--metric cosine]

The top 10 of float32 vectors, warm: from .npy beside numpy's product of the mapped file with the
query, from Parquet beside pyarrow reading the column; interleaved in one process, and the command
itself in a process of its own, for its peak memory. Exits 1 when a search takes more than 1.5
times what it stands beside, the command more than 500 MB, or a hit is not the one that sorting
all scores gives. plain.npy is without the side file that tovec writes, as numpy writes it: its
rows are measured as well. The search of their bits, rescored with four times as
many candidates (`--rescore 4`), may take a third of the search of v.npy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tovec.search.hamming import search_bits
from tovec.search.ranking import search
from tovec.search.vector_files.open_vectors import open_stored
from tovec.search.vector_files.stored import Stored

ALLOWED, MEMORY = 1.5, 500
BITS_ALLOWED = 1 / 3
NAMES = ("v.npy", "plain.npy", "v.parquet")
QUERY = "a question"


def make(directory: Path, rows: int, dimensions: int) -> None:
    """Write random unit vectors as .npy and as Parquet, as `tovec embed` would.

    `plain.npy` is the same matrix, of which nothing is known.
    """
    random = np.random.default_rng(1)
    matrix = np.lib.format.open_memmap(directory / "v.npy", "w+", np.float32, (rows, dimensions))
    facts = {"tovec.model": "static-minilm-256", "tovec.provider": "local"}
    schema = pa.schema([("embedding", pa.list_(pa.float32(), dimensions))], facts)
    group = min(65_536, (16 << 20) // (4 * dimensions))
    least, most = np.inf, 0.0
    with pq.ParquetWriter(
        directory / "v.parquet", schema, compression="none", use_dictionary=False,
        write_statistics=False,
    ) as writer:  # fmt: skip
        for start in range(0, rows, group):
            block = random.standard_normal((min(group, rows - start), dimensions), np.float32)
            block /= np.linalg.norm(block, axis=1, keepdims=True)
            matrix[start : start + len(block)] = block
            lengths = np.linalg.norm(block, axis=1)
            least, most = min(least, float(lengths.min())), max(most, float(lengths.max()))
            column = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), dimensions)
            writer.write_table(pa.table([column], schema=schema))
    matrix.flush()
    os.link(directory / "v.npy", directory / "plain.npy")
    about = {"model": "static-minilm-256", "provider": "local", "dimensions": dimensions}
    about |= {"dtype": "float32", "rows": rows, "lengths": [least, most], "ids": None}
    (directory / "v.npy.json").write_text(json.dumps(about))


def timed(jobs: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Run the jobs in turns; give their milliseconds."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(runs + 1):
        for name, job in jobs.items():
            time.sleep(0.1)  # BLAS's threads go on looking for work after a product
            started = time.perf_counter()
            job()
            if number:  # the first run warms up
                found[name].append(1000 * (time.perf_counter() - started))
    return found


def peak(path: Path, runs: int) -> tuple[float, float]:
    """Give the command's wall milliseconds (median) and peak MB."""
    walls, sizes = [], []
    for _ in range(runs):
        started = time.perf_counter()
        command = [sys.executable, "-m", "tovec", "similarity", QUERY, "--in", str(path)]
        child = subprocess.Popen([*command, "-p", "local"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"the command failed with {child.returncode}")
        walls.append(1000 * (time.perf_counter() - started))
        sizes.append(used.ru_maxrss * 1024 / 1e6)
    return statistics.median(walls), max(sizes)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--metric", default="cosine", choices=["cosine", "dot"])
    given = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        # In a process of its own: a child's peak memory counts from its parent's size.
        source = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
        source += "; import similarity; from pathlib import Path; similarity.make("
        source += f"Path({place!r}), {given.rows}, {given.dimensions})"
        subprocess.run([sys.executable, "-c", source], check=True)
        print(f"{given.rows:,} x {given.dimensions} float32, top 10, {given.metric}")
        figures = {}
        if given.dimensions == 256:
            figures = {name: peak(directory / name, 3) for name in NAMES}
        query = np.random.default_rng(2).standard_normal((1, given.dimensions), np.float32)

        def bare() -> object:
            return np.load(directory / "v.npy", mmap_mode="r") @ query[0]

        def column() -> object:
            return pq.read_table(directory / "v.parquet", columns=["embedding"])

        for name, least in zip(NAMES, (bare, bare, column), strict=True):
            path = directory / name

            def ours(path: Path = path) -> object:
                return search(stored_vectors(path), query, given.metric, k=10)

            times = timed({"least": least, "search": ours}, given.runs)
            low = {key: statistics.median(values) for key, values in times.items()}
            best = {key: min(values) for key, values in times.items()}
            ratio = low["search"] / low["least"]
            failed |= ratio > ALLOWED
            print(
                f"{name:10} median {low['search']:6.0f} ms beside {low['least']:6.0f} ms: "
                f"{ratio:.2f} times (best {best['search']:.0f} beside {best['least']:.0f})"
            )
            if name in figures:
                wall, size = figures[name]
                failed |= size > MEMORY
                print(f"{'':10} the command: {wall:.0f} ms, {size:.0f} MB at most")
        failed |= _bits(directory, query, given.metric, given.runs)
        failed |= not _right(directory / "v.npy", query, given.metric)
    return 1 if failed else 0


def _bits(directory: Path, query: NDArray[np.float32], metric: str, runs: int) -> bool:
    """Measure a search of bits with rescoring beside the search of v.npy; return if it is slow."""
    stored = np.load(directory / "v.npy", mmap_mode="r")
    np.save(directory / "both.npy.ubinary.npy", np.packbits(stored > 0, axis=1))
    os.link(directory / "v.npy", directory / "both.npy")
    about = json.loads((directory / "v.npy.json").read_text())
    about |= {"also": "ubinary", "bits": "both.npy.ubinary.npy"}
    (directory / "both.npy.json").write_text(json.dumps(about))

    def wide() -> object:
        return search(stored_vectors(directory / "v.npy"), query, metric, k=10)

    def bits() -> object:
        return search_bits(stored_vectors(directory / "both.npy"), query, metric, 10, multiple=4)

    low = {
        key: statistics.median(values)
        for key, values in timed({"wide": wide, "bits": bits}, runs).items()
    }
    ratio = low["bits"] / low["wide"]
    print(
        f"bits       median {low['bits']:6.0f} ms beside {low['wide']:6.0f} ms: {ratio:.2f} times"
    )
    return ratio > BITS_ALLOWED


def _right(path: Path, query: NDArray[np.float32], metric: str) -> bool:
    """Compare with sorting all scores in float64; the rows have length 1."""
    matrix = np.load(path, mmap_mode="r")
    steps = range(0, len(matrix), 50_000)
    scores = np.concatenate([matrix[i : i + 50_000].astype(np.float64) @ query[0] for i in steps])
    expected = np.argsort(-scores, kind="stable")[:10].tolist()
    hits = search(stored_vectors(path), query, metric, k=10)[0]
    if hits.rows.tolist() != expected:
        print(f"wrong hits: {hits.rows.tolist()}, expected {expected}")
        return False
    return True


def stored_vectors(path: Path) -> Stored:
    """Open a file of vectors."""
    found = open_stored(str(path))
    assert found is not None
    return found


if __name__ == "__main__":
    sys.exit(main())
