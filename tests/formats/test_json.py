"""JSON in: arrays of any size and values one after the other, whatever parts the bytes come in."""

import json
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.formats.reading import as_json, problems, read_bytes, read_files, texts

from tovec import formats
from tovec.errors import InputError
from tovec.formats.protocols import ReadOptions

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=6,
)
row = st.builds(
    lambda more, text: {**more, "text": f"x{text}"}, st.dictionaries(text, anything), text
)
written = st.sampled_from([None, 0, 2])  # the indentation


@given(st.lists(row, max_size=8), written, st.booleans(), st.integers(1, 30))
@example([{"text": 'a\\"]},{', "n": [[], {}]}], 2, True, 1)
@example([{"text": 'x\\\\"'}, {"text": "x"}], None, True, 3)
def test_the_rows_of_an_array_are_those_that_python_reads(rows, indent, ascii_only, size):
    """#229: wherever a pipe cuts it."""
    whole = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    blocks = read_bytes(whole.encode(), chunk=size, format="json")
    assert as_json(blocks) == json.loads(whole)
    assert texts(blocks) == [one["text"] for one in rows]
    assert all(b"\n" not in line for block in blocks for line in block.rows.json())
    assert [i for block in blocks for i in block.index] == list(range(len(rows)))


@given(st.lists(row, min_size=1, max_size=6), written, st.sampled_from(["\n", "\n\n", " ", "\r\n"]))
def test_values_one_after_the_other_are_rows(rows, indent, between):
    """#229: as jq prints them, with and without -c."""
    whole = between.join(json.dumps(one, indent=indent) for one in rows)
    assert as_json(read_bytes(whole.encode(), chunk=7, format="json")) == rows


@given(st.lists(text.map(lambda one: f"x{one}"), max_size=8), written, st.integers(1, 9))
def test_texts_in_an_array_are_rows_too(strings, indent, size):
    blocks = read_bytes(json.dumps(strings, indent=indent).encode(), chunk=size, format="json")
    assert texts(blocks) == strings
    assert as_json(blocks) == [{"text": one} for one in strings]


@given(st.binary(max_size=40).map(lambda one: b"[" + one.replace(b"\xff", b'"')))
@example(b'["\xff')
@example(b"[1,,2]")
def test_any_bytes_are_rows_problems_or_an_error(data):
    """#229: and in one piece as in many."""
    outcomes = []
    for size in (1, 3, 100):
        try:
            blocks = read_bytes(data, chunk=size, format="json")
            outcomes.append((as_json(blocks), problems(blocks)))
        except InputError as error:
            outcomes.append(error.what)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_an_element_that_is_not_a_row_is_a_problem_and_the_next_is_read():
    data = b'[{"text":"a"}, 5, null, {"text":1}, {"no":1}, {"text":"b" "c"},, {"text":"d"},]'
    blocks = read_bytes(data, format="json")
    assert texts(blocks) == ["a", "d"]
    kinds = ["type", "type", "type", "missing", "syntax", "syntax"]
    assert problems(blocks) == [(kind, i + 2, i + 1) for i, kind in enumerate(kinds)]
    assert blocks[0].problems[0].where == "standard input, value 2"
    assert blocks[0].problems[0].reason == "the value holds a number, not an object"


def test_a_raw_line_end_in_a_string_is_not_repaired():
    blocks = read_bytes(b'[{"text":"a\nb"}]', format="json")
    assert problems(blocks) == [("syntax", 1, 0)]


def test_in_json_lines_one_bad_line_is_one_bad_row():
    data = b'{"text":"a"}\n{"text":"b\n{"text":"c"}\n'
    blocks = read_bytes(data, chunk=5, format="json")
    assert texts(blocks) == ["a", "c"]
    assert problems(blocks) == [("syntax", 2, 1)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"text":"a"},{"text":"b"}', "ends in the middle of an array, after 1 row"),
        (b'[{"text":"a"},{"text":"b"},', "after 2 rows"),
        (b'[{"text":"a"},{"te', "middle of an array"),
        (b'{\n"text":"a"\n', "ends in the middle of a value, after 0 rows"),
    ],
)
def test_a_file_that_is_cut_short_says_so(data, words):
    """#233"""
    with pytest.raises(InputError, match=words):
        read_bytes(data, format="json")


def test_an_element_beyond_the_bound_is_a_problem_and_is_not_held(monkeypatch):
    """#229"""
    for module in ("json", "jsonl"):
        monkeypatch.setattr(f"tovec.formats.{module}.MAX_RECORD_BYTES", 100)
    long = b'{"text":"' + b"x" * 200 + b'"}'
    blocks = read_bytes(b"[" + long + b',{"text":"b"}]', chunk=30, format="json")
    assert problems(blocks) == [("size", 1, 0)]
    assert texts(blocks) == ["b"]


def test_an_array_is_read_in_constant_memory(tmp_path):
    """#229"""
    path = tmp_path / "rows.json"
    element = json.dumps({"text": "word " * 200})
    path.write_text("[" + ",\n".join([element] * 20_000) + "]")
    tracemalloc.start()
    try:
        rows = sum(len(block.inputs) for block in formats.read([str(path)], ReadOptions()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 20_000
    assert peak < path.stat().st_size / 2


def test_the_ending_json_is_read_as_array_or_as_lines(tmp_path):
    """#229"""
    for name, data in (
        ("array.json", '[{"text":"a"}]'),
        ("part-0.json", '{"text":"a"}\n{"text":"a"}\n'),
        ("rows.jsonlines", '{"text":"a"}\n'),
        ("rows.ndjson", '{"text":"a"}\n'),
    ):
        (tmp_path / name).write_text(data)
    assert texts(read_files(tmp_path)) == ["a"] * 5
