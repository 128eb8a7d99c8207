"""model2vec's folders: the mean of the rows of a text's known tokens, normalised."""

import json

import numpy as np
import pytest
from tests.cli.inside import run
from tests.local.folders import WORDS, needs_tokenizers, safetensors, table

pytestmark = needs_tokenizers
VECTORS = np.random.default_rng(3).standard_normal((len(WORDS), 16)).astype(np.float32)
TEXTS = ["the cat sat", "a dog", "dog dog zebra cat", "cat"]


def expected(texts, rows):
    """Return the means of the rows of known words, as model2vec computes them."""
    known = [[WORDS.index(word) for word in text.split() if word in WORDS] for text in texts]
    means = np.array([np.mean([rows(i) for i in ids], axis=0) for ids in known], np.float32)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def embed(folder, *texts):
    done = run("embed", "-p", "model2vec", "-m", folder, "--format", "jsonl", *texts)
    assert done.code == 0, done.err
    return np.array([json.loads(line)["embedding"] for line in done.out.splitlines()], np.float32)


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8"])
def test_a_text_is_the_mean_of_its_known_tokens(tmp_path, dtype):
    vectors = VECTORS.astype(dtype)
    folder = table(tmp_path / "m", vectors)
    reference = expected(TEXTS, lambda i: vectors[i].astype(np.float32))
    assert np.abs(embed(folder, *TEXTS) - reference).max() < 1e-6


def test_a_quantised_vocabulary_shares_rows_and_weighs_them(tmp_path):
    """As model2vec stores them: `mapping` from tokens to rows, `weights` by token."""
    mapping, weights = np.array([0, 1, 1, 2, 2, 0]), np.linspace(0.5, 2, 6, dtype=np.float32)
    folder = table(tmp_path / "m", VECTORS[:3], mapping=mapping, weights=weights)
    reference = expected(TEXTS, lambda i: VECTORS[mapping[i]] * weights[i])
    assert np.abs(embed(folder, *TEXTS) - reference).max() < 1e-6


def test_a_text_without_a_known_token_is_a_row_of_its_own_error(tmp_path):
    """#285 A vector of zeros would be near nothing and everything; the others are embedded."""
    folder = table(tmp_path / "m", VECTORS)
    rows = tmp_path / "rows.txt"
    rows.write_text("the cat\nzebra\na dog\n")
    done = run("batch", rows, "-o", tmp_path / "out.jsonl", "-p", "model2vec", "-m", folder)
    assert done.code == 3, done.err
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    assert "knows none of its tokens" in (tmp_path / "out.jsonl.rejects.jsonl").read_text()


SPOILED = {
    "cut short": lambda good: good[:-8],
    "not safetensors": lambda good: b"\x00" * 64,
    "a header of 16 EiB": lambda good: b"\xff" * 16,
    "too few rows": lambda good: safetensors({"embeddings": VECTORS[:2]}),
    "no table": lambda good: safetensors({"weight": VECTORS}),
    "one dimension": lambda good: safetensors({"embeddings": VECTORS[0]}),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_damaged_table_is_named(tmp_path, case):
    """#282 As an interrupted download leaves it, or a file of another model."""
    folder = table(tmp_path / "m", VECTORS)
    file = folder / "model.safetensors"
    file.write_bytes(SPOILED[case](file.read_bytes()))
    done = run("embed", "-p", "model2vec", "-m", folder, "cat")
    assert done.code == 2
    assert b"model.safetensors" in done.err
    assert b"Traceback" not in done.err
