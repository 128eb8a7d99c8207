"""Content keys: what a vector is stored under.

A key is the blake2b-128 of the exact text, or tokens, keyed with everything else that makes the
vector: endpoint, model, dimensions, further request fields (DESIGN section 5). Resuming, asking
for equal texts once and incremental runs are then one thing: a lookup.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.records import Inputs

KEY_BYTES = 16

Keys = NDArray[np.uint64]
"""Keys of n inputs: uint64 (n, 2), row i the 16 bytes of input i's key."""


def identity_digest(identity: Mapping[str, object]) -> bytes:
    """Return the 32 bytes that stand for everything but the text."""
    return blake2b(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS), digest_size=32).digest()


def keys_of(inputs: Inputs, identity: bytes) -> Keys:
    """Return the key of each input; a text and a token array never share one."""
    if inputs and not isinstance(inputs[0], str):
        parts = [np.asarray(tokens, "<u4").tobytes() for tokens in inputs]
        person = b"tokens"
    else:
        parts = [text.encode("utf-8", "surrogatepass") for text in inputs]  # type: ignore[union-attr]
        person = b"text"
    begun = blake2b(digest_size=KEY_BYTES, key=identity, person=person)
    digests = []
    for part in parts:
        digest = begun.copy()  # half the time of beginning anew, which hashes the identity again
        digest.update(part)
        digests.append(digest.digest())
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
