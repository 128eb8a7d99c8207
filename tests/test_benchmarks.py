"""The benchmarks run and find every row right; what they measure is not judged here."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_every_tool_that_is_installed_gives_each_row_its_vector(tmp_path):
    """600 rows: two requests, and more for tools that choose smaller ones."""
    report, picture = tmp_path / "report.json", tmp_path / "picture.svg"
    drawn = importlib.util.find_spec("matplotlib") is not None
    command = [sys.executable, str(BENCHMARKS / "bulk.py"), "--rows", "600", "--runs", "1"]
    command += ["--only", "floor,embed,batch,openai-base64,llm"]  # the others are as these
    command += ["--json", str(report), *(["--plot", str(picture)] if drawn else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["wrong"] == 0
    assert {"floor", "embed", "batch", "openai-base64"} <= set(found["figures"])
    assert ("llm" in found["figures"]) == (importlib.util.find_spec("llm") is not None)
    assert ("missing: llm" in done.stdout) == ("llm" in found["missing"])
    assert found["medians"]["batch"]["requests"] == 2
    assert picture.exists() == drawn


@pytest.mark.parametrize("kind", ["a vector", "an id"])
def test_the_check_of_the_benchmark_sees_a_row_that_is_wrong(kind, tmp_path, monkeypatch):
    """A benchmark that could not fail would praise a tool that loses rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bulk
    from loopback import vectors_of

    texts = ["one", "two", "three"]
    vectors = vectors_of(texts, bulk.DIMENSIONS).copy()
    if kind == "a vector":
        vectors[1, 7] += 1
    ids = [0, 1, 2] if kind == "a vector" else [0, 2, 2]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), bulk.DIMENSIONS)
    path = tmp_path / "out.parquet"
    pq.write_table(pa.table({"id": ids, "text": texts, "embedding": flat}), path)
    assert bulk.wrong_rows(path, 3) == 1
    assert bulk.wrong_rows(path, 4) == 2


def test_the_embedded_models_benchmark_checks_its_vectors():
    """What is quick must still be what each text gets alone."""
    command = [sys.executable, str(BENCHMARKS / "embedded.py"), "--texts", "200", "--runs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "| tovec |" in done.stdout
