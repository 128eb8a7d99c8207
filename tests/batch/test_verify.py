"""`--verify` asks for a sample of a job's texts again and compares with what is stored."""

import json

import numpy as np
import pytest
from tests.cli.inside import run
from tests.cli.test_vector_check import server_with
from tests.servers.loopback import Fault, Loopback

from tovec.batch.verify import Sample
from tovec.store.content_keys import keys_of

ROWS = 200


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("".join(f"row {i}\n" for i in range(ROWS)))
    return path


def batch(rows, url, *more):
    stats = rows.with_name("stats.json")
    out = rows.with_name("out.npy")
    done = run(
        *("batch", rows, "-o", out, "--base-url", url, "-m", "m", "--stats", stats, *more)
    )  # fmt: skip
    return done, json.loads(stats.read_text()) if stats.exists() else {}


def test_a_sample_is_asked_for_again_and_found_the_same(rows):
    with Loopback(dimensions=16) as server:
        done, stats = batch(rows, server.base_url, "--verify", "10%")
    assert done.code == 0, done.err
    assert b"requested again: least cosine 1.000000" in done.err
    assert 5 < stats["verified_texts"] < 50
    assert stats["verified_least_cosine"] == pytest.approx(1)


def test_vectors_that_have_changed_are_exit_3_and_the_output_stands(rows):
    """#287 The vectors of such a server cannot be compared, and nothing else would show it."""
    out = rows.with_name("out.npy")
    with server_with("none") as server:
        assert batch(rows, server.url, "--keep-job")[0].code == 0
        before = np.load(out)
        server.defect = "batch"
        done, stats = batch(rows, server.url, "--keep-job", "--force", "--verify", "0.5")
    assert done.code == 3
    assert b"config check --vectors" in done.err
    assert stats["verified_least_cosine"] < 0.999
    assert np.array_equal(np.load(out), before)


def test_one_text_at_least_is_asked_for_again(rows):
    """A small share of a small job would else verify nothing, in silence."""
    with Loopback(dimensions=16) as server:
        done, stats = batch(rows, server.base_url, "--verify", "0.0001%")
    assert (done.code, stats["verified_texts"]) == (0, 1)


def test_a_rejected_text_is_not_verified(rows):
    with Loopback(dimensions=16, faults=[Fault("status", status=400, text="row 7")]) as server:
        done, stats = batch(rows, server.base_url, "--verify", "100%")
    assert done.code == 3
    assert 0 < stats["verified_texts"] == stats["rows_written"] < ROWS


def test_a_sample_is_bounded_and_the_same_however_it_is_read():
    texts = [f"text {i}" for i in range(1000)]
    taken = []
    for size in (10, 1000):
        sample = Sample(0.5, max_texts=20)
        for start in range(0, 1000, size):
            part = texts[start : start + size]
            vectors = np.ones((len(part), 4), np.float32)
            sample.take(part, keys_of(part, b"x" * 32), vectors, ())
        taken.append(sample._keys())
    assert taken[0] == taken[1]
    assert len(taken[0]) == 20


@pytest.mark.parametrize("given", ["0", "101%", "nan", "some", "-1%", ""])
def test_a_share_that_cannot_be_meant_is_refused(rows, given):
    done = run("batch", rows, "-o", "out.npy", "-p", "local", "--verify", given)
    assert (done.code, b"--verify takes a share" in done.err) == (2, True)


def test_a_limit_on_tokens_is_not_passed_to_verify(rows):
    done = run("batch", rows, "-o", "x.npy", "-p", "local", "--verify", "1%", "--max-tokens", "9")
    assert (done.code, b"--max-tokens" in done.err) == (2, True)
