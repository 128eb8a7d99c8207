"""Whether an endpoint gives a text the same vector whatever stands beside it, and however asked.

Some servers' vectors change with the batch, with padding or under load; a search over vectors that
were made in different company is then wrong in silence. Each trial asks for the same texts in
another way and compares with what they got alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.errors import PersonError, TovecError
from tovec.pipeline.connect import Connection
from tovec.records import Request
from tovec.wording import count_phrase

MIN_COSINE = 0.9999  # between two vectors of one text
MAX_DIFFERENCE = 1e-5  # between two encodings of one vector, of its length
COPIES = 8  # of each text in a large batch
PARALLEL_COPIES = 4  # of each text among requests that are under way at once
LONG_WORDS = 120
TEXTS = (
    "a cat sleeps on the sofa and does not wake before the evening",
    "bond yields",
    "How do I reset my password if I no longer have the phone that I used to register?",
    "x",
    "東京は日本の首都です。",
    "The train from Lyon to Turin is late again, because of snow on the pass.",
    "def add(a, b): return a + b",
    "Grüße aus Köln",
)
LONG = " ".join(["meanwhile", "the", "committee", "adjourned"] * (LONG_WORDS // 4))

Vectors = NDArray[np.float32]
Embed = Callable[[Connection, Sequence[str]], Vectors]


class Trial(NamedTuple):
    """One way of asking: what came of it, and whether the vectors are the same."""

    name: str
    detail: str
    same: bool | None  # None: it could not be tried


def trials(open_connection: Callable[[str | None], Connection]) -> Iterator[Trial]:
    """Yield the trials of an endpoint, one after the other.

    `open_connection` connects with an encoding of vectors, or None for the endpoint's own.
    """
    with open_connection(None) as connection:
        alone = _alone(connection)
        yield _compare("again", alone, _alone(connection))
        batch = _embed(connection, TEXTS)
        yield _compare("in a batch", alone, batch)
        yield _compare("in a large batch", np.tile(alone, (COPIES, 1)), _many(connection))
        beside = [text for short in TEXTS for text in (short, LONG)]
        yield _compare("beside long texts", alone, _embed(connection, beside)[::2])
        yield _compare("in parallel", *_parallel(connection, alone))
    for encoding in ("float", "base64"):
        yield _encoded(encoding, batch, open_connection)


def _encoded(
    encoding: str, batch: Vectors, open_connection: Callable[[str | None], Connection]
) -> Trial:
    """Compare with the same request answered in an encoding that is asked for by name."""
    name = f"as {encoding}"
    try:
        with open_connection(encoding) as connection:
            vectors = _embed(connection, TEXTS)
    except TovecError as error:
        return Trial(name, error.what, same=None)
    trial = _compare(name, batch, vectors)
    if not trial.same:
        return trial
    difference = np.linalg.norm(batch.astype(float) - vectors, axis=1)
    most = float((difference / np.linalg.norm(batch.astype(float), axis=1)).max())
    detail = f"at most {most:.1e} of a vector's length apart"
    return Trial(name, detail, most <= MAX_DIFFERENCE)


def _embed(connection: Connection, texts: Sequence[str]) -> Vectors:
    return connection.background.run(_answer(connection, texts))


async def _answer(connection: Connection, texts: Sequence[str]) -> Vectors:
    request = Request(list(texts), sum(len(text.encode()) for text in texts) // 4 + 1)
    answer = await connection.dispatcher.embed(request)
    if answer.refused:
        raise PersonError(f"the endpoint refuses a plain text: {answer.refused[0][1]}")
    return answer.vectors


def _alone(connection: Connection) -> Vectors:
    return np.vstack([_embed(connection, [text]) for text in TEXTS])


def _many(connection: Connection) -> Vectors:
    return _embed(connection, TEXTS * COPIES)


def _parallel(connection: Connection, alone: Vectors) -> tuple[Vectors, Vectors]:
    """Return the vectors that are expected, and those of requests under way at once."""

    async def ask() -> list[Vectors]:
        works = [_answer(connection, [text]) for _ in range(PARALLEL_COPIES) for text in TEXTS]
        return await asyncio.gather(*works)

    found = connection.background.run(ask())
    return np.tile(alone, (PARALLEL_COPIES, 1)), np.vstack(found)


def _compare(name: str, expected: Vectors, found: Vectors) -> Trial:
    if expected.shape != found.shape:
        was, now = expected.shape[1], found.shape[1]
        return Trial(name, f"{count_phrase(now, 'dimension')} instead of {was:,}", same=False)
    cosines = _cosines(expected, found)
    least = float(cosines.min())
    detail = f"least cosine {least:.6f}"
    if least >= MIN_COSINE:
        return Trial(name, detail, same=True)
    wrong = int((cosines < MIN_COSINE).sum())
    detail += f", different vectors: {wrong:,} of {len(cosines):,}"
    if _is_rearranged(expected, found):
        detail += ": they are those of other texts"
    return Trial(name, detail, same=False)


def _cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    left, right = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: NDArray[np.float64] = np.einsum("ij,ij->i", left, right) / lengths
    return cosines


def _is_rearranged(expected: Vectors, found: Vectors) -> bool:
    """Return whether each vector found is one that is expected, at another place."""
    known = expected[: len(TEXTS)]
    return all(_cosines(known, np.tile(one, (len(known), 1))).max() >= MIN_COSINE for one in found)
