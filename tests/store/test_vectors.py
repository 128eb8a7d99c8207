"""Vectors by key: in any order, the first of a key, and little memory for each."""

import random

import numpy as np
import pytest
from tests.store.filling import TEXTS, filled, opened, vectors

from tovec.store import vectors as stored_vectors
from tovec.store.content_keys import keys_of
from tovec.store.index import Index
from tovec.store.job import Entry

pytestmark = pytest.mark.usefixtures("quick")


def test_vectors_come_in_any_order_and_as_often_as_asked(tmp_path):
    job = filled(tmp_path / "job")
    chance = random.Random(5)
    for _ in range(30):
        texts = chance.choices(TEXTS, k=chance.randint(1, 60))
        found, _, _ = job.vectors(job.index.find(keys_of(texts, job.digest)))
        assert np.array_equal(found, vectors(texts))
    job.close()


@pytest.mark.parametrize("together", [1, 3, 128])
def test_of_a_key_that_was_stored_twice_the_first_vector_counts(tmp_path, monkeypatch, together):
    monkeypatch.setattr(stored_vectors, "MAX_WAITING_ANSWERS", together)
    job = opened(tmp_path / "job")
    chance = np.random.default_rng(1)
    first: dict[str, np.ndarray] = {}
    for _ in range(10):
        texts = chance.choice(TEXTS, 8, replace=False).tolist()
        numbers = chance.random((8, 4), np.float32)
        job.keep([Entry(keys_of(texts, job.digest), numbers)])
        for text, row in zip(texts, numbers, strict=True):
            first.setdefault(text, row)
    for _ in range(2):
        found, _, _ = job.vectors(job.index.find(keys_of(list(first), job.digest)))
        assert np.array_equal(found, np.array(list(first.values())))
        job.close()
        job = opened(tmp_path / "job")
    job.close()


def test_an_index_takes_at_most_32_bytes_a_row():
    index = Index()
    chance = np.random.default_rng(0)
    for _ in range(40):
        keys = chance.integers(0, 2**64, size=(20_000, 2), dtype=np.uint64)
        index.add(keys)
        assert np.array_equal(index.find(keys), np.arange(len(index) - 20_000, len(index)))
        whole = -(-len(index) // 65_536) * 65_536  # the last chunk is allocated whole
        assert index.nbytes <= 32 * max(whole, 65_536)
