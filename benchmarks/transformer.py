"""A transformer in bulk beside a hand-written onnxruntime loop: the clock, CPU and peak memory.

    pip install 'tovec[onnx]'
    python benchmarks/transformer.py DIR [--texts 2000] [--runs 3] [--batch 32]

DIR is a folder that `-p onnx -m DIR` takes, whose graph gives token vectors that are averaged. The
loop sorts all texts by length, pads `--batch` of them at a time, and lets onnxruntime choose its
threads. The job: lines of 20 to 464 characters to a .npy file. Interleaved, each in a process of
its own; the two files must be equal to 1e-5.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from embedded import run, write_texts

LOOP = """
import sys
import numpy as np
import onnxruntime
from tokenizers import Tokenizer
folder, source, target, size = sys.argv[1:]
session = onnxruntime.InferenceSession(folder + "/model.onnx")
takes = {one.name for one in session.get_inputs()}
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
tokenizer.no_truncation()
tokenizer.no_padding()
with open(source, encoding="utf-8") as file:
    encoded = [one.ids for one in tokenizer.encode_batch_fast(file.read().splitlines())]
order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
vectors = None
for start in range(0, len(order), int(size)):
    places = order[start : start + int(size)]
    ids = np.zeros((len(places), len(encoded[places[0]])), np.int64)
    mask = np.zeros_like(ids)
    for row, place in enumerate(places):
        ids[row, : len(encoded[place])] = encoded[place]
        mask[row, : len(encoded[place])] = 1
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    tokens = session.run(None, {name: feed[name] for name in feed if name in takes})[0]
    means = (tokens * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
    if vectors is None:
        vectors = np.empty((len(order), means.shape[1]), np.float32)
    vectors[places] = means / np.linalg.norm(means, axis=1)[:, None]
np.save(target, vectors)
"""


def main() -> None:
    """Run the programs in turns and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        source, ours, theirs = place / "texts.txt", place / "ours.npy", place / "theirs.npy"
        write_texts(source, None, asked.texts)
        draw = random.Random(2)
        lines = [line[: draw.randint(20, 464)] for line in source.read_text("utf-8").splitlines()]
        source.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        script = place / "loop.py"
        script.write_text(LOOP, "utf-8")
        tovec = [sys.executable, "-m", "tovec", "-q", "embed", "-p", "onnx", "-m", asked.folder]
        loop = [sys.executable, str(script), asked.folder, str(source), str(theirs)]
        programs = {
            "tovec": [*tovec, "-f", str(source), "-o", str(ours), "--force"],
            "hand-written loop": [*loop, str(asked.batch)],
        }
        taken = {name: [] for name in programs}
        for _ in range(asked.runs):
            for name, command in programs.items():
                taken[name].append(run(command))
        if (apart := np.abs(np.load(ours) - np.load(theirs)).max()) > 1e-5:
            sys.exit(f"the vectors are {apart} apart")
    print("| | texts/s | wall s | CPU s | peak MiB |\n|---|---|---|---|---|")
    for name, several in taken.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*several, strict=True))
        print(f"| {name} | {asked.texts / wall:.0f} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
