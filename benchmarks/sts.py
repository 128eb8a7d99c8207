"""The embedded model measured: quality on human similarity scores, speed, loading.

    python benchmarks/sts.py [DIRECTORY of the SemEval STS files]

Quality is Spearman's correlation (x100) between cosine similarity and score over all pairs of a
year, averaged over the years; the pairs are only ever measured with, never trained on. Exits 1
when the shipped table misses the promise (68.2 at 256 dimensions, 11.5 MB).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path
from time import perf_counter

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from tovec.local import model
from tovec.text import tokens

ROOT = Path(__file__).resolve().parents[1]
PROMISED, MAX_BYTES = 68.2, 11_500_000


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give ranks, ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_rank: NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return mean_rank


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Give Spearman's rank correlation."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def pairs_by_year(directory: Path) -> dict[str, list[tuple[float, str, str]]]:
    """Read the files of each year."""
    years = defaultdict(list)
    for path in sorted(directory.glob("*.tsv")):
        for line in path.read_text(encoding="utf-8").splitlines():
            score, one, other = line.split("\t")
            years[path.name[:4]].append((float(score), one, other))
    return dict(years)


def embed(table: model.StaticModel, texts: list[str], dimensions: int) -> NDArray[np.float32]:
    """Embed as `-p local` does."""
    ids = tokens.encode_batch([model.normalise_text(text) for text in texts])
    return table.embed(ids, dimensions)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT.parent / "shared" / "sts")
    years = pairs_by_year(parser.parse_args().directory)
    started = perf_counter()
    table = model.StaticModel.load()
    loading = perf_counter() - started
    size = model.TABLE.stat().st_size + model.ROWS.stat().st_size
    tokens.load()

    means = {}
    for dimensions in (256, 128, 64):
        scores = []
        for pairs in years.values():
            gold = np.array([score for score, _, _ in pairs])
            one = embed(table, [a for _, a, _ in pairs], dimensions)
            other = embed(table, [b for _, _, b in pairs], dimensions)
            scores.append(100 * spearman(np.einsum("ij,ij->i", one, other).astype("f8"), gold))
        means[dimensions] = float(np.mean(scores))
        by_year = "  ".join(f"{y} {s:.2f}" for y, s in zip(years, scores, strict=True))
        print(f"{dimensions:>4} dimensions: mean {means[dimensions]:.2f}   ({by_year})")

    texts = [text for pairs in years.values() for _, *both in pairs for text in both]
    texts = (texts * (50_000 // len(texts) + 1))[:50_000]
    started = perf_counter()
    ids = tokens.encode_batch([model.normalise_text(text) for text in texts])
    between = perf_counter()
    table.embed(ids)
    ended = perf_counter()
    print(f"files {size:,} bytes; loading {1000 * loading:.1f} ms (without the tokenizer)")
    print(
        f"{len(texts):,} texts of {np.mean([len(t) for t in texts]):.0f} characters, one thread: "
        f"{len(texts) / (ended - started):,.0f} a second "
        f"(model alone {len(texts) / (ended - between):,.0f})"
    )
    return 0 if means[256] >= PROMISED and size <= MAX_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
