"""Long texts are met as the policy says, and nothing about a row is lost on the way."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tovec.errors import InputError, UsageError
from tovec.formats.rows import PlainRows
from tovec.pipeline.long_texts import LongTexts
from tovec.pipeline.prepare import Preparation
from tovec.records import Block, Problem
from tovec.text import tokens

SPLIT = LongTexts("split", 10)
MEAN = LongTexts("mean", 10)
TRUNCATE = LongTexts("truncate", 10)
WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen"


def block(*texts, name="text") -> Block:
    places = list(range(len(texts)))
    rows = PlainRows(places, list(texts), name)
    return Block(list(texts), rows, "test", places, [place + 1 for place in places])


NAMED = LongTexts()


def prepare(long: LongTexts = NAMED, limit=8192, **more) -> Preparation:
    return Preparation(limit, tokens.count, long=long, **more)


texts = st.lists(
    st.lists(st.sampled_from(["word", " ", "\n\n", ". ", "日本", "é"]), min_size=1, max_size=60)
    .map("".join)
    .filter(str.strip),
    max_size=8,
)


@given(texts, st.integers(8, 30), st.integers(0, 4))
def test_split_gives_a_row_a_chunk_and_the_chunk_is_the_texts_stretch(texts, size, overlap):
    done = prepare(LongTexts("split", size, overlap))(block(*texts))
    assert len(done.rows) == len(done.inputs) == len(done.lines) == len(done.extra["start"])
    for i, (chunk, place) in enumerate(zip(done.inputs, done.rows.index, strict=True)):
        start, end = done.extra["start"][i], done.extra["end"][i]
        assert texts[place][start:end] == chunk
        assert tokens.count(chunk) <= size
        assert done.lines[i] == place + 1
    firsts = [row for row, n in zip(done.rows.index, done.extra["chunk"], strict=True) if n == 0]
    assert firsts == list(range(len(texts)))


@given(texts, st.integers(8, 30))
def test_mean_keeps_a_row_a_text_with_the_tokens_of_its_chunks(texts, size):
    done = prepare(LongTexts("mean", size))(block(*texts))
    assert done.rows.index == list(range(len(texts)))
    if done.groups is None:
        assert done.inputs == texts
        return
    assert sum(done.groups) == len(done.inputs) == len(done.weights)
    place = 0
    for text, chunks in zip(texts, done.groups, strict=True):
        its = done.inputs[place : place + chunks]
        assert all(one in text and tokens.count(one) <= size for one in its)
        if chunks > 1:
            weights = done.weights[place : place + chunks]
            assert weights.tolist() == [tokens.count(one) for one in its]
        place += chunks


@given(texts, st.integers(8, 30))
def test_truncate_keeps_what_fits_of_each_text_and_counts_the_others(texts, size):
    preparation = prepare(LongTexts("truncate", size))
    done = preparation(block(*texts))
    assert done.rows.index == list(range(len(texts)))
    for whole, kept in zip(texts, done.inputs, strict=True):
        assert whole.startswith(kept)
        assert tokens.count(kept) <= size
        assert (kept == whole) == (tokens.count(whole) <= size)
    assert preparation.cut == sum(a != b for a, b in zip(texts, done.inputs, strict=True))


@pytest.mark.parametrize(
    ("long", "note"),
    [
        (TRUNCATE, "1 long text was truncated to 10 tokens"),
        (SPLIT, "1 long text was split into 2 chunks"),
        (MEAN, "1 long text was given the mean of 2 chunks"),
    ],
)
def test_what_was_done_is_counted(long, note):
    preparation = prepare(long)
    preparation(block("short", WORDS))
    assert preparation.notes() == [note]
    assert (preparation.rows, preparation.cut) == (2, 1)


def test_nothing_long_is_nothing_to_say_of():
    preparation = prepare(SPLIT)
    done = preparation(block("short"))
    assert preparation.notes() == []
    assert {name: column.tolist() for name, column in done.extra.items()} == {
        "chunk": [0],
        "start": [0],
        "end": [5],
    }


def test_an_empty_output_has_the_columns_that_it_would_have():
    assert list(prepare(SPLIT).no_extra) == ["chunk", "start", "end"]
    assert prepare(MEAN).no_extra == prepare().no_extra == {}


# Token arrays ----------------------------------------------------------------------------------


def test_token_arrays_are_cut_by_their_ids():
    ids = [list(range(25)), [1]]
    assert prepare(TRUNCATE)(block(*ids, name="tokens")).inputs == [list(range(10)), [1]]
    done = prepare(LongTexts("split", 10, 2))(block(*ids, name="tokens"))
    assert done.inputs == [list(range(10)), list(range(8, 18)), list(range(16, 25)), [1]]
    assert done.extra["start"].tolist() == [0, 8, 16, 0]
    done = prepare(MEAN)(block(*ids, name="tokens"))
    assert done.groups.tolist() == [3, 1]
    assert done.weights[:3].tolist() == [10, 10, 5]


# An unknown tokenizer --------------------------------------------------------------------------


def test_without_a_tokenizer_a_long_text_is_sent_and_the_endpoint_judges():
    assert Preparation(10, None)(block(WORDS)).inputs == [WORDS]


@pytest.mark.parametrize("policy", ["truncate", "split", "mean"])
def test_without_a_tokenizer_a_token_is_taken_for_two_bytes_and_that_is_said(policy):
    preparation = Preparation(10, None, long=LongTexts(policy))
    done = preparation(block(WORDS, "é" * 10))
    assert all(len(one.encode()) <= 20 for one in done.inputs)
    assert done.inputs[-1] == "é" * 10
    assert "the model's tokenizer is not known; tokens were estimated at two bytes each" in (
        preparation.notes()
    )


# Errors and rejected rows ----------------------------------------------------------------------


def test_a_long_text_is_an_error_that_names_its_row_and_the_way_out():
    with pytest.raises(InputError, match="13 tokens, the model takes 10") as caught:
        prepare(limit=10)(block("short", WORDS))
    assert caught.value.where == "test, line 2"
    assert "--long truncate" in caught.value.hint


def test_where_bad_rows_are_set_aside_a_long_text_is_one_of_them():
    rejected: list[Problem] = []
    preparation = prepare(limit=10, strict=False, on_reject=rejected.append)
    done = preparation(block("short", WORDS, "last"))
    assert (done.inputs, done.rows.index) == (["short", "last"], [0, 2])
    assert [(one.kind, one.line, one.index) for one in rejected] == [("long", 2, 1)]
    assert (preparation.rows, preparation.rejected) == (2, 1)


def test_a_bad_row_stops_the_run_or_is_set_aside_and_an_empty_one_is_always():
    empty = Problem("test", 1, 0, "the text is empty", "empty")
    bad = Problem("test", 2, 1, "not JSON", "syntax", unit="row")
    rows = dataclasses.replace(block(), problems=(empty, bad))
    with pytest.raises(InputError) as caught:
        prepare()(rows)
    assert caught.value.where == "test, row 2"
    preparation = prepare(strict=False)
    preparation(rows)
    assert preparation.rejected == 2
    assert preparation.notes() == [
        "2 rows were left out; the first: test, line 1: the text is empty"
    ]


@pytest.mark.parametrize(
    ("long", "limit", "words"),
    [
        (LongTexts("shorten"), 100, "--long does not accept"),
        (LongTexts("error", 10), 100, "for texts that are cut"),
        (LongTexts("error", None, 1), 100, "for texts that are cut"),
        (LongTexts("split"), None, "limit is not known"),
        (LongTexts("split", 101), 100, "more than the model takes"),
        (LongTexts("split", 7), 100, "at least 8"),
        (LongTexts("split", 20, 11), 100, "at most half"),
        (LongTexts("truncate", 20, 5), 100, "--overlap is for"),
    ],
)
def test_a_policy_that_cannot_be_carried_out_is_refused(long, limit, words):
    with pytest.raises(UsageError, match=words):
        prepare(long, limit)


def test_a_limit_can_be_given_where_none_is_known():
    assert len(prepare(SPLIT, None)(block(WORDS)).inputs) == 2


# Ids -------------------------------------------------------------------------------------------


class Ids(PlainRows):
    """Rows whose ids are their texts."""

    def ids(self, field):
        return list(self.values)


def with_ids(*values) -> Block:
    rows = Ids(list(range(len(values))), list(values))
    return dataclasses.replace(block(*["t"] * len(values)), rows=rows)


def test_ids_that_came_before_and_missing_ones_are_counted():
    preparation = prepare(id_field="id")
    preparation(with_ids("a", 1, "1", [1], None))
    preparation(with_ids("a", "a", [1], {"x": 1}, None))
    assert preparation.notes() == [
        "2 rows have no 'id' field",
        "2 ids appear more than once",
    ]


@given(st.lists(st.one_of(st.integers(-3, 9), st.text(max_size=1)), max_size=40))
def test_each_id_that_appears_more_than_once_is_counted_once(ids):
    preparation = prepare(id_field="id")
    preparation(with_ids(*ids))
    again = sum(count > 1 for count in Counter(map(repr, ids)).values())
    found = [int(note.split()[0]) for note in preparation.notes()]
    assert found == ([again] if again else [])


def test_without_an_id_field_nothing_is_remembered():
    assert prepare()(with_ids("a", "a")).inputs == ["t", "t"]


def test_the_counts_of_extra_columns_are_whole_numbers():
    done = prepare(SPLIT)(block(WORDS))
    assert all(column.dtype == np.int64 for column in done.extra.values())
