"""A job filled with vectors that are made from their texts, so that each can be checked."""

import random

import numpy as np

from tovec.store.content_keys import keys_of
from tovec.store.job import Entry, Job

IDENTITY = {"model": "m", "dimensions": None}
TEXTS = [f"text {i}" for i in range(40)]


def vectors(texts, dimensions=4):
    return np.array([[hash_of(text, i) for i in range(dimensions)] for text in texts], np.float32)


def hash_of(text, i):
    return random.Random(f"{text} {i}").random()


def opened(path, identity=IDENTITY):
    return Job(str(path), identity)


def filled(path, texts=TEXTS, step=5):
    job = opened(path)
    for start in range(0, len(texts), step):
        part = texts[start : start + step]
        job.keep([Entry(keys_of(part, job.digest), vectors(part), (), 3, {"model": "m-1"})])
    return job


def stored(job, texts=TEXTS):
    """Give how many texts have a vector, having checked that it is theirs."""
    ordinals = job.index.find(keys_of(texts, job.digest))
    known = np.flatnonzero(ordinals >= 0)
    if not len(known):
        return 0
    found, refused, unknown = job.vectors(ordinals[known])
    good = np.setdiff1d(np.arange(len(known)), unknown)
    expected = vectors([texts[known[i]] for i in good])
    assert not refused
    assert np.array_equal(found[good], expected.reshape(found[good].shape))
    return len(good)
