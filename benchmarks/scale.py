"""Does the cost of a row grow with the job? And does a finished job cost more than its files?

    python benchmarks/scale.py [--rows 10000,100000,1000000] [--runs 1] [--only embed,batch]

CPU seconds of the client (user and system) for each size, less what the same command takes for one
row, by the row. Then, for the largest size, a kept job that is done is run again: it must ask
nothing, and is compared with the least that this can take: tovec's own reader and writer, synced,
on vectors that are at hand, copied once as all that comes from somewhere is; and without the copy,
so that the same 3 MB in the processor's cache are written again and again.
Needs 6 KB of disk a row for each output and for the job: 20 GB for a million rows. Exits 1 when
the cost of a row grows by more than a tenth, or the finished job asks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from bulk import DIMENSIONS, Figures, endpoint, make_rows, measure
from programs import command

GROWTH = 1.1

READ_AND_WRITE = """
import sys
from tovec.startup import prepare_interpreter
prepare_interpreter()
import numpy as np
from tovec import formats
from tovec.formats.protocols import ReadOptions, VectorMeta, WriteOptions
from tovec.store.durable import OutputFile
source, target, dimensions = sys.argv[1], sys.argv[2], int(sys.argv[3])
output = OutputFile(target, force=True)
meta = VectorMeta(model="m", provider="p", dimensions=dimensions, dtype="float32", tool="t")
writer = formats.writer("parquet", output, meta, WriteOptions())
vectors = np.random.default_rng(0).standard_normal((8192, dimensions), np.float32)
for block in formats.read([source], ReadOptions()):
    at_hand = vectors[: len(block.inputs)]
    writer.write(block.rows, {}, at_hand.copy() if sys.argv[4] == "copied" else at_hand)
writer.finish()
output.commit()
"""


def runs(name: str, source: Path, url: str, times: int) -> list[Figures]:
    """Run a command on a file so many times, from nothing."""
    target = source.with_name("out.parquet")
    line = command(name, source, target, url, None)
    taken = []
    for _ in range(times):
        taken.append(measure(line, url, source.parent))
        target.unlink()
    return taken


def cost(taken: list[Figures]) -> float:
    """Give the CPU seconds of the middle run."""
    return statistics.median(one.cpu for one in taken)


def resumed(source: Path, url: str, times: int) -> dict[str, list[Figures]]:
    """Run a kept job that is done again, and its files alone, in turns."""
    target = source.with_name("out.parquet")
    line = command("batch", source, target, url, None, "--keep-job")
    measure(line, url, source.parent)
    least = [sys.executable, "-c", READ_AND_WRITE, str(source), str(target), str(DIMENSIONS)]
    lines = {
        "a finished job": line,
        "its files alone": [*least, "copied"],
        "... from the cache": [*least, "cached"],
    }
    taken: dict[str, list[Figures]] = {name: [] for name in lines}
    for _ in range(times):
        for name, one in lines.items():
            target.unlink()
            taken[name].append(measure(one, url, source.parent))
    target.unlink()
    return taken


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="10000,100000,1000000")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", default="embed,batch")
    given = parser.parse_args()
    sizes, grows = [int(rows) for rows in given.rows.split(",")], False
    with endpoint(0.0) as url, tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        source = Path(folder, "rows.jsonl")
        make_rows(source, 1)
        fixed = {name: cost(runs(name, source, url, 5)) for name in given.only.split(",")}
        first: dict[str, float] = {}
        print(
            f"{'':8}{'rows':>10}{'wall s':>9}{'CPU s':>9}{'us a row':>10}{'x first':>9}{'MiB':>7}"
        )
        for rows in sizes:
            make_rows(source, rows)
            for name, start in fixed.items():
                taken = runs(name, source, url, given.runs)
                each = (cost(taken) - start) / rows
                growth = each / first.setdefault(name, each)
                grows |= growth > GROWTH
                one = taken[len(taken) // 2]
                print(
                    f"{name:8}{rows:>10,}{one.wall:>9.1f}{cost(taken):>9.1f}{1e6 * each:>10.1f}"
                    f"{growth:>8.2f}{one.peak:>7,.0f}",
                    flush=True,
                )
        asked = 0.0
        for label, some in resumed(source, url, max(given.runs, 3)).items():
            one = Figures(*map(statistics.median, zip(*some, strict=True)))
            print(f"{label:18}{one.wall:>9.1f}{one.cpu:>9.1f} CPU s{one.requests:>8.0f} requests")
            asked += one.requests
    return 1 if grows or asked else 0


if __name__ == "__main__":
    sys.exit(main())
