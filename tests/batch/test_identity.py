"""Whose vectors a job's directory holds: another endpoint gets none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.servers.loopback import Loopback

from tovec.cli.app import run
from tovec.cli.reporting import Reporter
from tovec.store.content_keys import keys_of
from tovec.store.job import Entry, Job

Batch = Callable[..., int]
LONG = "/" + "x" * 250  # messages show 200 characters of an address


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Run a job over two texts; its vectors are kept for the next one."""
    monkeypatch.chdir(tmp_path)
    Path("rows.txt").write_text("one\ntwo\n")

    def job(*words: str) -> int:
        fixed = ["rows.txt", "-o", "out.jsonl", "--keep-job", "--force", "-q"]
        return run(["batch", *fixed, *words], Reporter())

    return job


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (["--url", "{base}/embeddings?model=A"], ["--url", "{base}/embeddings?model=B"], "query"),
        (["--url", "{base}/embeddings"], ["--url", "{base}/embeddings?model=B"], "query"),
        (
            ["--url", "{base}" + LONG + "a/embeddings"],
            ["--url", "{base}" + LONG + "b/embeddings"],
            "another part",
        ),
        (["-p", "a"], ["-p", "b"], "query"),
        (["-p", "a", "-d", "4"], ["-p", "c", "-d", "4"], "its output_dimension is"),
        (["-p", "a"], ["-p", "a", "--encoding-format", "float"], "is not set, now it is 'float'"),
        (["-p", "a"], ["-p", "a", "--extra", "task=query"], "task"),
        (["-p", "a"], ["-p", "a", "-m", "other"], "other"),
    ],
)
def test_another_endpoint_gets_no_vector_of_a_job(
    one: list[str], two: list[str], said: str, batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    """#193: the second run reused the first one's vectors, and mixed two models in a file."""
    with Loopback(dimensions=4) as server:
        Path("c.toml").write_text(
            f'[providers.a]\nbase_url = "{server.base_url}"\nquery = {{ deployment = "A" }}\n'
            f'[providers.b]\nbase_url = "{server.base_url}"\nquery = {{ deployment = "B" }}\n'
            f'[providers.c]\nbase_url = "{server.base_url}"\nquery = {{ deployment = "A" }}\n'
            'dimensions_field = "output_dimension"\n'
        )

        def words(given: list[str]) -> list[str]:
            filled = [word.format(base=server.base_url) for word in given]
            return [*filled, *([] if "-m" in given else ["-m", "m"]), "--config", "c.toml"]

        assert batch(*words(one)) == 0
        before = len(server.ledger.entries)
        assert batch(*words(two)) == 8
        assert said in capsys.readouterr().err
        assert batch(*words(one), "--user", "somebody") == 0, "who asks makes no other vector"
        assert len(server.ledger.entries) == before


def earlier_job(endpoint: str, model: str) -> None:
    """Leave a directory as an earlier version made it, with a vector of ones for "one"."""
    identity = {"endpoint": endpoint, "model": model, "dimensions": None, "extra": {}}
    job = Job("out.jsonl.tovec", identity)
    vector = np.ones((1, 256), np.float32)
    job.keep([Entry(keys_of(["one"], job.digest), vector, about={"model": model})])
    job.close()


def test_a_job_that_lacks_the_whole_address_is_refused_and_kept(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    """#193: whether its address had a query, nobody can tell any more."""
    with Loopback(dimensions=4) as server:
        earlier_job(f"{server.base_url}/embeddings", "m")
        log = Path("out.jsonl.tovec/00000001.log").read_bytes()
        assert batch("--base-url", server.base_url, "-m", "m") == 8
        said = capsys.readouterr().err
        assert "begun by an earlier tovec, which did not store the whole address" in said
        assert Path("out.jsonl.tovec/00000001.log").read_bytes() == log
        assert batch("--base-url", server.base_url, "-m", "n") == 8
        assert "its model is 'm', now it is 'n'" in capsys.readouterr().err
        assert server.ledger.entries == []


def test_an_earlier_job_of_the_embedded_model_is_read(batch: Batch) -> None:
    """#193: there is one such model and no address, so its vectors are provably the same."""
    earlier_job("local", "static-minilm-256")
    assert batch("-p", "local", "-d", "4") == 8  # that asks for other vectors
    assert batch("-p", "local") == 0
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert rows[0]["embedding"] == [1.0] * 256, "the stored one, not a new one"
