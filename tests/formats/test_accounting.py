"""Rows read are rows embedded, rejected or blank: counted by readers that are not ours."""

import csv
import io

import duckdb
import pandas
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.formats.reading import as_json, problems, read_bytes, texts

ENDS = ["\n", "\r\n", "\r"]

cell = st.text(
    st.one_of(
        st.sampled_from("\",\n\r\t;' a1"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"),
    ),
    max_size=6,
)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def plainly(text: str, delimiter: str) -> str:
    """Return a cell as it is written, quoted where it has to be."""
    needed = any(one in text for one in f'"{delimiter}\r\n')
    return quoted(text) if needed else text


def accounted(blocks) -> tuple[int, int, int]:
    """Return how many rows can be embedded, how many are problems, how many were blank."""
    return (
        sum(len(block.inputs) for block in blocks),
        sum(len(block.problems) for block in blocks),
        sum(block.blank for block in blocks),
    )


@given(
    st.lists(st.tuples(cell, cell), max_size=12),
    st.lists(st.sampled_from(ENDS), min_size=14, max_size=14),
    st.sampled_from([("csv", ","), ("tsv", "\t"), ("csv", ";")]),
    st.booleans(),
    st.integers(1, 40),
)
@example([("a", "1"), ("b", "2")], ["\r"] * 14, ("csv", ","), True, 1)
@example([("foo", "2")], ["\r", "\r\n", *["\n"] * 12], ("csv", ","), True, 9)
@example([("a\r", "\n"), ("b", "")], ["\r\n"] * 14, ("csv", ","), False, 2)
def test_every_csv_record_is_a_row_a_problem_or_blank(rows, ends, kind, last, size):
    """#217: whatever ends the lines, wherever a pipe cuts them, by Python's csv."""
    name, delimiter = kind
    lines = [
        delimiter.join(plainly(one, delimiter) for one in row) for row in [("text", "b"), *rows]
    ]
    whole = "".join(line + end for line, end in zip(lines, ends, strict=False))
    if not last:
        whole = whole.removesuffix("\n").removesuffix("\r")
    options = {"format": name, "delimiter": delimiter, "csv_types": "text"}
    blocks = read_bytes(whole.encode(), chunk=size, **options)
    expected = list(csv.reader(io.StringIO(whole, newline=""), delimiter=delimiter))[1:]
    assert sum(accounted(blocks)) == len(expected)
    filled = [row for row in expected if len(row) == 2 and row[0].strip()]
    assert as_json(blocks) == [{"text": text, "b": other} for text, other in filled]
    assert accounted(blocks)[2] == sum(not any(row) for row in expected)


word = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@given(
    st.lists(st.tuples(word, st.text('ab ,\n"', max_size=6)), min_size=1, max_size=12),
    st.sampled_from(ENDS),
)
def test_pandas_finds_the_same_rows(rows, end):
    """#217"""
    lines = ["text,b", *(f"{quoted('x' + one)},{quoted('y' + two)}" for one, two in rows)]
    whole = end.join([*lines, ""])
    frame = pandas.read_csv(io.StringIO(whole, newline=""), dtype=str, keep_default_na=False)
    blocks = read_bytes(whole.encode(), format="csv", csv_types="text")
    assert as_json(blocks) == frame.to_dict("records")


@pytest.mark.parametrize("end", ENDS)
def test_duckdb_finds_the_same_rows(end, tmp_path):
    """#217"""
    rows = [(f"text {i}", "two\nlines" if i % 7 == 0 else "") for i in range(300)]
    path = tmp_path / "rows.csv"
    lines = ["text,b", *(f"{quoted(one)},{quoted(two)}" for one, two in rows)]
    path.write_bytes(end.join([*lines, ""]).encode())
    found = duckdb.execute(
        f"select text, b from read_csv('{path}', all_varchar = true, header = true)"
    ).fetchall()
    blocks = read_bytes(path.read_bytes(), format="csv", csv_types="text")
    assert [(row["text"], row["b"]) for row in as_json(blocks)] == [
        (one, two or "") for one, two in found
    ]
    assert len(found) == 300


line = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff"), max_size=5
)


@given(
    st.lists(line, max_size=15),
    st.lists(st.sampled_from(ENDS), min_size=15, max_size=15),
    st.sampled_from(["lines", "jsonl", "tokens"]),
    st.integers(1, 20),
)
def test_every_line_is_a_row_a_problem_or_blank(lines, ends, form, size):
    """#217: by Python's universal newlines."""
    whole = "".join(one + end for one, end in zip(lines, ends, strict=False))
    expected = [one.rstrip("\n") for one in io.TextIOWrapper(io.BytesIO(whole.encode()), "utf-8")]
    blocks = read_bytes(whole.encode(), chunk=size, format=form)
    assert sum(accounted(blocks)) == len(expected)
    if form == "lines":
        assert texts(blocks) == [one for one in expected if one and not one.isspace()]


@given(
    st.lists(st.sampled_from([b"good", b"b\xffd", b"", b"caf\xc3\xa9", b"\xc3"]), max_size=20),
    st.sampled_from([one.encode() for one in ENDS]),
    st.sampled_from(["lines", "jsonl", "csv"]),
    st.integers(1, 12),
)
def test_each_row_that_is_not_in_the_encoding_is_a_problem_of_its_own(rows, end, form, size):
    """#218"""
    row = {"jsonl": b'{"text":"%b"}', "csv": b'"%b",x', "lines": b"%b"}[form]
    lines = [b"text,b"] * (form == "csv") + [row % one for one in rows]
    blocks = read_bytes(b"".join(one + end for one in lines), chunk=size, format=form)
    assert texts(blocks) == [one.decode() for one in rows if one in (b"good", b"caf\xc3\xa9")]
    bad = [place for place, one in enumerate(rows) if one in (b"b\xffd", b"\xc3")]
    found = [(kind, index) for kind, _, index in problems(blocks) if kind == "encoding"]
    assert found == [("encoding", place) for place in bad]
    header = form == "csv"
    assert [line - 1 - header for kind, line, _ in problems(blocks) if kind == "encoding"] == bad
    assert sum(accounted(blocks)) == len(rows)
