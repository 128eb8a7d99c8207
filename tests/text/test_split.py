"""Chunks cover their text, fit their limit, and end at the best place that fits."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.text import tokens
from tovec.text.split import ASSUMED, EXACT, MIN_CHUNK_TOKENS, Chunk, split, split_tokens

measures = st.sampled_from([EXACT, ASSUMED])
piece = st.sampled_from(
    [
        "word",
        " ",
        "\n",
        "\n\n",
        ". ",
        "。",
        "日本語",
        "🧑‍🚀",
        "é",
        "antidisestablishment",
        "  ",
        "\t",
        "\xa0",
        "\ufeff",
        "\U0001d4b3",
    ]
)
written = st.one_of(
    st.lists(piece, max_size=120).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)


@given(written, st.integers(MIN_CHUNK_TOKENS, 40), st.integers(0, 20), measures)
def test_chunks_cover_the_text_and_fit_the_limit(text, size, overlap, measure):
    overlap = min(overlap, size // 2)
    chunks = split(text, size, overlap, measure)
    covered = [False] * len(text)
    for chunk in chunks:
        assert 0 < measure.count(text[chunk.start : chunk.end]) == chunk.tokens <= size
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    assert not "".join(c for c, yes in zip(text, covered, strict=True) if not yes).strip()
    assert all(one.start < two.start and one.end < two.end for one, two in _pairs(chunks))
    if not overlap:
        assert all(one.end <= two.start for one, two in _pairs(chunks))


def _pairs(chunks: list[Chunk]):
    return pairwise(chunks)


@given(written, st.integers(MIN_CHUNK_TOKENS, 40))
def test_a_text_that_fits_is_one_chunk(text, size):
    chunks = split(text, max(size, tokens.count(text)), 0, EXACT)
    assert [(one.start, one.end) for one in chunks] == ([(0, len(text))] if text.strip() else [])


@given(written, st.integers(4, 40), measures)
def test_a_prefix_with_one_more_character_has_too_many_tokens(text, limit, measure):
    """#262"""
    end = measure.prefix(text, 0, limit)
    assert measure.count(text[:end]) <= limit
    assert end == len(text) or measure.count(text[: end + 1]) > limit


@given(written, st.integers(4, 40))
def test_a_prefix_holds_at_least_the_first_tokens(text, limit):
    """Unless these tokens, as a text of their own, are more."""
    end = tokens.prefix(text, 0, limit)
    ids = tokens.encode(text)
    if len(ids) <= limit:
        assert end == len(text)
    else:
        plain = tokens.decode_bytes(ids[:limit]).decode(errors="ignore")
        assert end >= len(plain) or tokens.count(plain) > limit


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        (".ééwordé \xa0a", 6, ".ééwordé \xa0"),
        ("\U0001d4b3-\xa0\xa0-\ufeff 日", 5, "\U0001d4b3-\xa0\xa0"),
        ("word-\n\xa0!.-", 4, "word-\n\xa0!."),
    ],
)
def test_a_character_of_several_tokens_is_kept_where_it_fits(text, limit, kept):
    """#262: what follows decides whether a character is one token or a part of several."""
    assert tokens.count(kept) <= limit < tokens.count(text)
    assert text[: tokens.prefix(text, 0, limit)] == kept


@given(written, st.integers(0, 50), st.integers(4, 40))
def test_a_prefix_from_inside_a_text_is_that_of_the_rest(text, start, limit):
    start = min(start, len(text))
    assert tokens.prefix(text, start, limit) == start + tokens.prefix(text[start:], 0, limit)


def test_long_tokens_do_not_make_a_prefix_short():
    text = " " * 5000 + "end"
    assert tokens.prefix(text, 0, 70) == len(text) and tokens.count(text) <= 70


PARAGRAPHS = "One two three. Four five six.\n\nSeven eight nine ten. Eleven twelve\nthirteen."


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (
            10,  # the first chunk ends with a paragraph, the second with a line
            [
                "One two three. Four five six.\n\n",
                "Seven eight nine ten. Eleven twelve\n",
                "thirteen.",
            ],
        ),
        (50, [PARAGRAPHS]),
    ],
)
def test_a_chunk_ends_with_a_paragraph_or_a_sentence(size, expected):
    found = [PARAGRAPHS[one.start : one.end] for one in split(PARAGRAPHS, size, 0, EXACT)]
    assert found == expected


def test_a_sentence_comes_before_a_word():
    text = "One two three four five. Six seven eight nine."
    found = [text[one.start : one.end] for one in split(text, 8, 0, EXACT)]
    assert found == ["One two three four five. ", "Six seven eight nine."]


def test_without_sentences_a_chunk_ends_with_a_word_and_without_words_with_a_token():
    words = "alpha beta gamma delta " * 10
    for chunk in split(words, 9, 0, EXACT):
        assert words[chunk.start : chunk.end].endswith(" ")
    block = "日" * 100
    assert [one.end - one.start for one in split(block, 10, 0, EXACT)] == [10] * 10


def test_white_space_alone_is_no_chunk():
    text = "one" + "\n" * 3000 + "two"
    assert [text[a:b].strip() for a, b, _ in split(text, MIN_CHUNK_TOKENS, 0, EXACT)] == [
        "one",
        "two",
    ]
    assert split("\n" * 500, MIN_CHUNK_TOKENS, 0, EXACT) == []


def test_an_overlap_begins_with_a_sentence_or_a_word():
    text = "".join(f"This is sentence {i} of the text. " for i in range(40))
    chunks = split(text, 60, 20, EXACT)
    for one, two in _pairs(chunks):
        shared = text[two.start : one.end]
        assert 5 <= tokens.count(shared) <= 20
        assert shared.startswith("This is")


@given(
    st.lists(st.integers(0, 9), max_size=60), st.integers(MIN_CHUNK_TOKENS, 20), st.integers(0, 10)
)
def test_token_arrays_are_cut_evenly(ids, size, overlap):
    overlap = min(overlap, size // 2)
    chunks = split_tokens(ids, size, overlap)
    assert chunks[0].start == 0 and chunks[-1].end == len(ids)
    assert all(one.end - one.start == one.tokens <= size for one in chunks)
    assert all(two.start == one.end - overlap for one, two in _pairs(chunks))


def test_a_long_text_without_a_space_is_cut_in_reasonable_time():
    text = "ab" * 100_000
    chunks = split(text, 1000, 0, EXACT)
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
