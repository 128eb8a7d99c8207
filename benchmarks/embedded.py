"""The embedded model in bulk beside model2vec: seconds of the clock, of CPU, and peak memory.

    pip install model2vec
    python benchmarks/embedded.py [--texts 100000] [--runs 3] [--from FILE]
                                  [--tokenizer tokenizer.json]

The job: lines of 464 characters, a fifth of them distinct, to a .npy file. The lines are cut from
FILE (one sentence per line; by default this repository's pages). model2vec runs with its defaults,
which use both cores: 256 random float32 dimensions over the WordPiece tokenizer of all-MiniLM-L6-v2
(its `tokenizer.json`). Interleaved, each in a process of its own; the vectors of tovec are compared
with those of each text alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHARACTERS = 464
HERE = Path(__file__).parent

MODEL2VEC = """
import sys
import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer
if __name__ == "__main__":
    source, target, name = sys.argv[1:]
    tokenizer = Tokenizer.from_file(name)
    shape = (tokenizer.get_vocab_size(), 256)
    table = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    model = StaticModel(table, tokenizer, normalize=True)
    with open(source, encoding="utf-8") as file:
        np.save(target, model.encode(file.read().splitlines()))
"""


def write_texts(path: Path, source: Path | None, count: int) -> None:
    """Write `count` lines, a fifth of them distinct."""
    pages = (
        [source] if source else [HERE.parent / "README.md", *(HERE.parent / "docs").glob("*.md")]
    )
    sentences = [line for page in sorted(pages) for line in page.read_text("utf-8").splitlines()]
    sentences = [line.strip() for line in sentences if len(line) > 20]
    draw = random.Random(1)
    distinct = []
    for _ in range(count // 5):
        text = ""
        while len(text) < CHARACTERS:
            text += " " * bool(text) + draw.choice(sentences)
        distinct.append(text[:CHARACTERS].strip())
    path.write_text("".join(distinct[i % len(distinct)] + "\n" for i in range(count)), "utf-8")


# In a process of its own, because a peak counts what its parent held when it was started.
MEASURE = """
import json, os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(child.pid, 0)
seconds = time.perf_counter() - started
print(json.dumps([status, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def run(command: list[str]) -> tuple[float, float, float]:
    """Return seconds of the clock and of CPU, and the peak MiB, of a command."""
    measure = [sys.executable, "-S", "-c", MEASURE, *command]
    done = subprocess.run(measure, check=True, stdout=subprocess.PIPE)
    status, seconds, cpu, peak = json.loads(done.stdout.splitlines()[-1])
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, cpu, peak


def check(source: Path, output: Path) -> None:
    """End with an error if a sample of the vectors is not what each text gets alone."""
    import numpy as np

    from tovec.local.model import StaticModel, normalise_text
    from tovec.text import tokens

    texts = source.read_text("utf-8").splitlines()
    vectors, model = np.load(output, mmap_mode="r"), StaticModel.load()
    for row in range(0, len(texts), 97):
        if not np.array_equal(
            model.embed([tokens.encode(normalise_text(texts[row]))])[0], vectors[row]
        ):
            sys.exit(f"row {row} has another vector than its text alone")


def main() -> None:
    """Run the programs in turns and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--tokenizer", help="a WordPiece tokenizer.json; without it tovec runs alone"
    )
    parser.add_argument("--from", dest="source", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        source, output = Path(directory) / "texts.txt", Path(directory) / "out.npy"
        write_texts(source, asked.source, asked.texts)
        tovec = [sys.executable, "-m", "tovec", "-q", "embed", "-p", "local", "--force"]
        programs = {"tovec": [*tovec, "-f", str(source), "-o", str(output)]}
        if asked.tokenizer:
            script = Path(directory) / "run_model2vec.py"
            script.write_text(MODEL2VEC, "utf-8")
            other = str(Path(directory) / "other.npy")
            programs["model2vec"] = [
                sys.executable,
                str(script),
                str(source),
                other,
                asked.tokenizer,
            ]
        taken = {name: [] for name in programs}
        for _ in range(asked.runs):
            for name, command in programs.items():
                taken[name].append(run(command))
        check(source, output)
    print("| | wall s | CPU s | peak MiB |\n|---|---|---|---|")
    for name, several in taken.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*several, strict=True))
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
