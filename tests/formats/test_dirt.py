"""Dirt of the real world, format by format: read as meant, or named; never dropped in silence."""

import codecs
import io
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.reading import as_json, problems, read_bytes, texts

from tovec import formats
from tovec.errors import InputError
from tovec.formats.protocols import ReadOptions

LINE_FORMATS = ["lines", "jsonl", "csv", "tsv"]


def written(form: str, *rows: str, end: str = "\n") -> bytes:
    """Give texts in a format."""
    match form:
        case "jsonl":
            lines = [json.dumps({"text": text}, ensure_ascii=False) for text in rows]
        case "lines":
            lines = list(rows)
        case _:
            lines = ["text", *('"' + text.replace('"', '""') + '"' for text in rows)]
    return "".join(line + end for line in lines).encode()


@pytest.mark.parametrize("form", LINE_FORMATS)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends_are_no_text(form, mark, end):
    """#147 #149"""
    data = mark + written(form, "one", "naïve", end=end)
    assert texts(read_bytes(data, format=form)) == ["one", "naïve"]


@pytest.mark.parametrize("form", LINE_FORMATS)
def test_a_last_line_needs_no_end(form):
    """#152"""
    assert texts(read_bytes(written(form, "one", "two")[:-1], format=form)) == ["one", "two"]


@pytest.mark.parametrize("form", LINE_FORMATS)
def test_nul_bytes_are_text(form):
    """#150"""
    assert texts(read_bytes(written(form, "a\0b"), format=form)) == ["a\0b"] or form == "jsonl"
    assert texts(read_bytes(b'{"text":"a\\u0000b"}', format="jsonl")) == ["a\0b"]


def test_a_nul_byte_in_json_is_named():
    (block,) = read_bytes(b'{"text":"a\0b"}\n', format="jsonl")
    assert block.problems[0].kind == "syntax"


@pytest.mark.parametrize("form", LINE_FORMATS)
def test_blank_lines_are_counted(form):
    data = written(form, "one") + b"\n \n" * (form in ("lines", "jsonl")) + b"\n\n"
    blocks = read_bytes(data + written(form, "two").removeprefix(b"text\n"), format=form)
    assert texts(blocks) == ["one", "two"]
    assert sum(block.blank for block in blocks) == data.count(b"\n") - 1 - (form[1:] == "sv")


@pytest.mark.parametrize("form", LINE_FORMATS)
@pytest.mark.parametrize(
    ("name", "text"), [("latin-1", "naïve"), ("cp1252", "€"), ("shift-jis", "日本")]
)
def test_another_encoding_is_read_where_it_is_named(form, name, text):
    """#148"""
    data = written(form, text).decode().encode(name)
    assert texts(read_bytes(data, format=form, encoding=name)) == [text]
    assert [kind for kind, *_ in problems(read_bytes(data, format=form))] == ["encoding"]


@pytest.mark.parametrize("form", LINE_FORMATS)
def test_bytes_that_are_not_text_are_replaced_where_asked_for(form):
    """#148"""
    data = written(form, "aXb").replace(b"X", b"\xff")
    assert texts(read_bytes(data, format=form, encoding_errors="replace")) == ["a\ufffdb"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"text": "cut', "syntax"),
        ('{"text": "x"', "syntax"),
        ('{"text": "a\\ud800"}', "encoding"),
        ('{"text": "x", "other": "\\udfff"}', "encoding"),
        ('{"title": "x"}', "missing"),
        ('{"text": null}', "type"),
        ('{"text": 1.5}', "type"),
        ('{"text": {"a": 1}}', "type"),
        ('{"text": ""}', "empty"),
    ],
)
def test_a_bad_last_line_is_a_problem_and_those_before_it_are_read(line, kind):
    """#151 #155"""
    blocks = read_bytes(b'{"text":"a"}\n' + line.encode(), format="jsonl")
    assert texts(blocks) == ["a"]
    assert problems(blocks) == [(kind, 2, 1)]


@pytest.mark.parametrize("form", LINE_FORMATS)
def test_a_line_of_fifteen_mebibytes_is_read_whole(form):
    """#154"""
    text = "x" * (15 << 20)
    (found, last) = texts(read_bytes(written(form, text, "last"), format=form))
    assert found == text
    assert last == "last"


class Endless(io.RawIOBase):
    """A line that does not end."""

    def __init__(self, start: bytes) -> None:
        self._start = start
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._start or b"x" * len(buffer)
        self._start = b""
        buffer[: len(data)] = data
        self.given += len(data)
        return len(data)


@pytest.mark.parametrize("form", [*LINE_FORMATS, "tokens", "-0", "text", "quoted"])
def test_a_line_without_an_end_is_refused_in_constant_memory(form):
    """#154"""
    starts = {"jsonl": b'{"text":"', "csv": b"text\n", "tsv": b"text\n", "quoted": b'text\n"\r\n'}
    stdin = Endless(starts.get(form, b"x"))
    name = {"-0": "lines", "quoted": "csv"}.get(form, form)
    options = ReadOptions(format=name, null_separated=form == "-0", csv_types="text")
    tracemalloc.start()
    try:
        problem = next(formats.read(["-"], options, stdin)).problems[0]
    except InputError as error:
        assert name in ("csv", "tsv")
        assert error.what == "the record is longer than 16 MiB"
        assert error.where == "standard input, line 2"
    else:
        assert problem.kind == "size"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert stdin.given <= 18 << 20
    assert peak <= 80 << 20


@pytest.mark.parametrize("form", ["lines", "jsonl", "tokens"])
def test_a_line_that_is_too_long_is_a_problem_and_the_next_is_read(form, monkeypatch):
    """#154"""
    module = "token_arrays" if form == "tokens" else form
    monkeypatch.setattr(f"tovec.formats.{module}.MAX_RECORD_BYTES", 1000)
    long, short = ("[1]" + " " * 1000, "[2]") if form == "tokens" else ("x" * 1001, "short")
    data = f"{long}\n{short}\n".encode() if form == "tokens" else written(form, long, short)
    blocks = read_bytes(data, format=form)
    assert len(texts(blocks)) == 1
    assert problems(blocks) == [("size", 1, 0)]


plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff")).filter(
    str.strip
)


@given(st.lists(plain, max_size=20), st.sampled_from(LINE_FORMATS))
def test_any_file_gives_each_row_once_in_order_with_its_values_unchanged(rows, form):
    if form == "lines":
        rows = [row for row in (text.replace("\n", " ") for text in rows) if row.strip()]
    blocks = read_bytes(written(form, *rows), format=form)
    assert texts(blocks) == rows
    assert [row["text"] for row in as_json(blocks)] == rows
    assert [i for block in blocks for i in block.index] == list(range(len(rows)))
    again = [row for block in blocks for row in block.rows.arrow(["text"])["text"].to_pylist()]
    assert again == rows
