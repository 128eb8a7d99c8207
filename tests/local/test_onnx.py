"""A real transformer in this process: its vectors are onnxruntime's own."""

import json

import numpy as np
import pytest
from tests.cli.inside import run
from tests.local.folders import change, minilm, needs_minilm

pytestmark = needs_minilm
TEXTS = [
    "a cat",
    "a kitten naps on the couch " * 8,
    "東京",
    "x",
    "A tax form.",
    "emoji 🙂 and ümlauts",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return minilm(tmp_path_factory.mktemp("models") / "minilm")


def by_hand(folder, texts, pooling="mean"):
    """Return the vectors that onnxruntime gives, one text at a time."""
    import onnxruntime
    from tokenizers import Tokenizer

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        names = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        (tokens,) = session.run(None, {**names, "token_type_ids": np.zeros_like(ids)})[0]
        pools = {"mean": tokens.mean(axis=0), "cls": tokens[0], "max": tokens.max(axis=0)}
        rows.append({**pools, "lasttoken": tokens[-1]}[pooling])
    vectors = np.array(rows)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embed(folder, *arguments):
    done = run("embed", "-p", "onnx", "-m", folder, "--format", "jsonl", *arguments)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    return np.array([row["embedding"] for row in rows], np.float32)


def test_vectors_are_those_of_onnxruntime_called_by_hand(folder):
    assert np.abs(embed(folder, *TEXTS) - by_hand(folder, TEXTS)).max() < 1e-5


@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken"])
def test_tokens_are_pooled_as_the_folder_says(tmp_path, pooling):
    folder = minilm(tmp_path / "m")
    name = {"cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}[pooling]
    change(folder / "1_Pooling/config.json", pooling_mode_mean_tokens=False,
           **{f"pooling_mode_{name}": True})  # fmt: skip
    assert np.abs(embed(folder, *TEXTS) - by_hand(folder, TEXTS, pooling)).max() < 1e-5


def test_a_vector_does_not_depend_on_the_texts_beside_it(folder):
    """#283 Padding is masked, and texts are computed beside others of like length."""
    many = [f"{'word ' * (i % 50)}{i}" for i in range(120)]
    together = embed(folder, *many)
    assert np.array_equal(together[::-1], embed(folder, *many[::-1]))
    assert np.array_equal(together[:3], np.vstack([embed(folder, text) for text in many[:3]]))


def test_fewer_dimensions_are_the_first_ones_normalised_again(folder):
    first = embed(folder, *TEXTS)[:, :64]
    expected = first / np.linalg.norm(first, axis=1, keepdims=True)
    assert np.abs(embed(folder, "-d", "64", *TEXTS) - expected).max() < 1e-6


def test_a_prompt_stands_before_each_text(folder, tmp_path):
    prompted = embed(folder, "--prompt", "query: ", *TEXTS)
    assert np.array_equal(prompted, embed(folder, *(f"query: {text}" for text in TEXTS)))
    named = minilm(tmp_path / "m")
    change(named / "config_sentence_transformers.json", prompts={"query": "query: "})
    assert np.array_equal(prompted, embed(named, "--prompt", "query", *TEXTS))


def test_a_text_over_the_models_limit_is_named_or_cut_by_its_tokenizer(folder):
    """#284 sentence-transformers truncates at 256 tokens in silence."""
    long = " ".join(["cat", "dog"] * 300)
    done = run("embed", "-p", "onnx", "-m", folder, long)
    assert done.code == 6
    assert b"the model takes 254" in done.err
    split = run("embed", "-p", "onnx", "-m", folder, "--format", "jsonl", "--long", "split", long)
    chunks = [json.loads(line) for line in split.out.splitlines()]
    assert [chunk["start"] for chunk in chunks[1:]] == [chunk["end"] for chunk in chunks[:-1]]
    assert chunks[-1]["end"] == len(long)
    assert len(chunks) == 3  # 254 tokens each, 600 in all: full chunks, not cautious ones
    cut = embed(folder, "--long", "truncate", long)
    assert np.array_equal(cut, embed(folder, " ".join(["cat", "dog"] * 127)))


def test_a_job_never_mixes_two_versions_of_a_model(tmp_path):
    """#281 The job is bound to the digest of the model's files, and to the prompt."""
    folder, rows = minilm(tmp_path / "m"), tmp_path / "rows.txt"
    rows.write_text("".join(f"row {i}\n" for i in range(40)))
    batch = ["batch", rows, "-o", tmp_path / "out.npy", "-p", "onnx", "-m", folder, "--keep-job"]
    assert run(*batch).code == 0
    expected = by_hand(folder, rows.read_text().splitlines())
    assert np.abs(np.load(tmp_path / "out.npy") - expected).max() < 1e-5
    again = run(*batch, "--force", "--stats", tmp_path / "stats.json")
    assert again.code == 0, again.err
    assert json.loads((tmp_path / "stats.json").read_text())["requests"] == 0
    assert run(*batch, "--force", "--prompt", "query: ").code == 8
    change(folder / "sentence_bert_config.json", max_seq_length=128)
    other = run(*batch, "--force")
    assert other.code == 8
    assert b"m@" in other.err


def test_stored_vectors_are_searched_with_the_model_that_made_them(folder, tmp_path):
    stored = tmp_path / "stored.parquet"
    written = run("embed", "-p", "onnx", "-m", folder, "-d", "64", *TEXTS, "-o", stored)
    assert written.code == 0, written.err
    search = [
        "similarity",
        "a young cat sleeps on a sofa",
        "--in",
        stored,
        "--format",
        "jsonl",
        "-k",
        "1",
    ]
    unnamed = run(*search)
    assert unnamed.code == 2
    assert b"-p onnx -m DIR" in unnamed.err
    found = run(*search, "-m", folder)
    assert found.code == 0, found.err
    assert json.loads(found.out)["text"].startswith("a kitten")
    other = minilm(tmp_path / "other")
    refused = run(*search, "-m", other)
    assert refused.code == 2
    assert b"the vectors were made by minilm@" in refused.err


def test_files_of_two_models_are_no_bug_of_ours(tmp_path):
    """#282 A token that the graph does not know makes onnxruntime fail at the first text."""
    folder = minilm(tmp_path / "m")
    change(folder / "config.json", pad_token_id=1_000_000)
    done = run("embed", "-p", "onnx", "-m", folder, "a", "two more words")
    assert done.code == 2
    assert b"are the files of the folder of one model?" in done.err
    assert b"Traceback" not in done.err


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_named(tmp_path, file):
    """#282 As an interrupted download leaves it."""
    folder = minilm(tmp_path / "m")
    content = (folder / file).read_bytes()[:5000]
    (folder / file).unlink()
    (folder / file).write_bytes(content)
    done = run("embed", "-p", "onnx", "-m", folder, "hello")
    assert done.code == 2
    assert file.encode() in done.err
    assert b"cannot be loaded" in done.err
    assert b"Traceback" not in done.err
