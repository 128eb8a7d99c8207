"""Reading in bulk gives what reading each text alone gives: sums bit for bit, and counts."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from tovec.local import responder
from tovec.local.embedded import MIN_BULK_CHARACTERS
from tovec.local.model import MODEL_ID, StaticModel, normalise_text
from tovec.local.word_cache import WordCache
from tovec.text import tokens

MODEL = StaticModel.load()
WORDS = ["the", "The", "don't", "ΟΔΟΣ", "Σ", "İ", "1234", "(a", "a.", "日本語", "\n", "b\nc",
         "\x1c", "", " ", "\t", "x" * 33, "'S", "...", "\xa0", "e\u0301"]  # fmt: skip
texts = st.lists(
    st.lists(st.sampled_from(WORDS) | st.text(max_size=4), min_size=1, max_size=12).map(" ".join),
    min_size=1,
    max_size=8,
).filter(all)


def check(cache, several):
    read = cache.read(several)
    expected = MODEL.sums(tokens.encode_batch([normalise_text(text) for text in several]))
    assert np.array_equal(read.sums, expected)
    assert read.counts.tolist() == tokens.count_batch(several)


@given(texts, st.integers(2, 64))
@example(["a  b", "a   b", "  a", "a  ", " a b", "a b ", "a\n b", "a \nb"], 64)
def test_texts_read_in_bulk_are_as_each_alone(several, max_words):
    """#280 Words are found once and added up, in a cache that may be full at any moment."""
    cache = WordCache(MODEL, max_words)
    for _ in range(3):  # unknown, seen once, cached
        check(cache, several)


def test_a_cache_that_is_full_starts_again():
    """A stream that changes its language must not be slow for ever."""
    cache = WordCache(MODEL, 8)
    for first in range(0, 60, 5):
        several = [f"w{number} of w{number}" for number in range(first, first + 5)]
        check(cache, several)
        check(cache, several)
    assert len(cache._ids) <= 8


def test_threads_share_the_cache():
    """`tovec serve` answers in several threads."""
    cache = WordCache(MODEL, 16)
    many = [[f"text {i % 7} of thread {t} and {i}" for i in range(40)] for t in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(check, cache, several) for several in many * 3]:
            done.result()


def test_a_request_in_bulk_gets_the_vectors_and_usage_of_its_texts():
    several = [f"Text {i % 50} stands beside {i} others" for i in range(1000)]
    assert sum(map(len, several)) > MIN_BULK_CHARACTERS

    def answer(texts):
        body = orjson.dumps({"model": MODEL_ID, "input": texts})
        headers = {"content-type": "application/json"}
        return orjson.loads(responder.answer("POST", responder.EMBEDDINGS, headers, body).body)

    bulk, alone = answer(several), [answer([text]) for text in several[:100]]
    assert bulk["data"][:100] == [{**one["data"][0], "index": i} for i, one in enumerate(alone)]
    assert bulk["usage"]["prompt_tokens"] == sum(tokens.count_batch(several))
