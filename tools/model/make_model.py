"""Make the embedded model's table; see README.md for the commands.

Stages keep their results in --work, so that a changed setting repeats only what follows it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

import teacher  # noqa: E402 - beside this script
import texts  # noqa: E402
import train  # noqa: E402

from tovec.local import model  # noqa: E402
from tovec.text import tokens  # noqa: E402


def cached(path: Path, strings: list[str]) -> NDArray[np.float32]:
    """Give the teacher's vectors for the strings, from `path` if it holds them."""
    if not path.exists():
        np.save(path, teacher.encode(strings))
    vectors: NDArray[np.float32] = np.load(path)
    assert len(vectors) == len(strings), f"{path} is of other texts: remove it"
    return vectors


def rotated(table: NDArray[np.float32], sentences: list[list[int]]) -> NDArray[np.float32]:
    """Turn the table so that its first dimensions carry most of what sentences differ in."""
    means = np.stack([table[rows].mean(axis=0) for rows in sentences[::8] if rows])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    _, axes = np.linalg.eigh(means.T @ means)
    turned: NDArray[np.float32] = (table @ axes[:, ::-1]).astype("f4")
    return turned


def quantised(table: NDArray[np.float32]) -> NDArray[np.int8]:
    """Give the table as int8 with one scale; what lies beyond it is clipped."""
    scale = 127 / np.quantile(np.abs(table), 0.9999)
    return np.clip(np.rint(table * scale), -127, 127).astype(np.int8)


def main() -> None:
    """Make the table and write it beside tovec.local.model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where intermediate results go")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--output", type=Path, default=model.TABLE.parent)
    parser.add_argument("--epochs", type=int, default=train.Settings.epochs)
    parser.add_argument("--neighbours", type=int, default=train.Settings.neighbours)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)

    strings, row_of = texts.token_strings(tokens.VOCABULARY)
    sentences = texts.wordnet_texts(arguments.wordnet)
    of_strings = cached(arguments.work / "strings.npy", strings)
    of_sentences = cached(arguments.work / "sentences.npy", sentences)

    rows = np.full(tokens.VOCABULARY_SIZE, model.NO_ROW, np.uint16)
    rows[list(row_of)] = list(row_of.values())
    settings = replace(train.Settings(), epochs=arguments.epochs, neighbours=arguments.neighbours)
    table = train.start(of_strings, settings.dimensions)
    fixed = model.missing_rows(np.arange(64), settings.dimensions).astype("f4")
    norm = train.MISSING_NORM * np.median(np.linalg.norm(table, axis=1))
    fixed *= norm / np.linalg.norm(fixed, axis=1, keepdims=True)
    encoded = tokens.encode_batch([model.normalise_text(text) for text in sentences])
    bags = [
        [int(rows[t]) if rows[t] != model.NO_ROW else len(strings) + t % 64 for t in one]
        for one in encoded
    ]
    table = train.train(table, fixed, bags, of_sentences, settings)
    table = rotated(table, [[r for r in one if r < len(strings)] for one in bags])
    arguments.output.mkdir(parents=True, exist_ok=True)
    np.save(arguments.output / model.TABLE.name, quantised(table))
    np.save(arguments.output / model.ROWS.name, rows)


if __name__ == "__main__":
    main()
