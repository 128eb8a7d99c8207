"""What was only guessed to be lines and is something else is refused, naming the option."""

import csv
import io
import json
import sqlite3
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.inside import run
from tests.formats.reading import read_bytes, read_files, texts
from tests.formats.test_json import row, written

from tovec.errors import InputError, UsageError


@given(st.lists(row, min_size=1, max_size=4), written, st.booleans(), st.integers(1, 40))
def test_json_is_never_embedded_as_raw_lines(rows, indent, array, size):
    """#230: whatever part of it a pipe delivers first, after its bracket."""
    whole = json.dumps(rows, indent=indent) if array else "\n".join(map(json.dumps, rows))
    with pytest.raises(UsageError, match="looks like JSON") as raised:
        read_bytes(b"\n" + whole.encode(), chunk=max(size, 2))
    assert raised.value.hint.startswith("--input-format json")
    assert "--input-format lines" in raised.value.hint


cell = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8)


@given(
    st.sampled_from([["text", "n"], ["id", "body"], ["word", "count"]]),
    st.lists(st.tuples(cell, st.integers(0, 999)), min_size=3, max_size=6),
    st.sampled_from([(",", "csv"), ("\t", "tsv"), (";", "csv --delimiter ';'")]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_a_table_is_never_embedded_as_raw_lines(names, rows, kind, end):
    """#230"""
    delimiter, option = kind
    whole = io.StringIO()
    writer = csv.writer(whole, delimiter=delimiter, lineterminator=end)
    writer.writerows([names, *rows])
    with pytest.raises(UsageError, match=r"looks like [CT]SV") as raised:
        read_bytes(whole.getvalue().encode())
    assert raised.value.hint.startswith(f"--input-format {option} reads")


PROSE = [
    "Hello, world\nGoodbye, moon\n",
    "one, two, three\nfour, five, six\n",
    "[note] this is a text\n",
    "[1] Smith, J. (2003)\n[2] Doe, J.\n",
    "[ ] buy milk\n[x] sell it\n",
    "{braces} in a template\n",
    "{'a': 1}\n",
    '"quoted", he said\n',
    "a,b\nc,d,e\n",
    "red,green\nblue\n",
    "key: value\nother: value\n",
    "5,6\n7,8\n",
    "tab\tseparated words\nand more\n",
    "2024-01-01 12:00:00,123 INFO main: started\n",
    "ORCHID\nPARK\nPKG\n",
    "function f() { return [1, 2]; }\n",
    "\n\n{ this } is text\n",
]


@pytest.mark.parametrize("prose", PROSE)
def test_plain_text_is_not_mistaken_for_something_else(prose):
    """#230"""
    assert texts(read_bytes(prose.encode())) == [one for one in prose.split("\n") if one]


@pytest.mark.parametrize("data", ['{"text":"a"}\n', "[\n]\n", "id,text\n1,a\n"])
def test_lines_that_are_asked_for_are_lines(data, tmp_path):
    """#230"""
    lines = data.splitlines()
    assert texts(read_bytes(data.encode(), format="lines")) == lines
    assert texts(read_bytes(data.encode(), null_separated=True)) == [data]
    (tmp_path / "rows.log").write_text(data)
    with pytest.raises(UsageError, match="looks like") as raised:
        read_files(tmp_path / "rows.log")
    assert raised.value.where == str(tmp_path / "rows.log")


def test_the_command_says_which_option_reads_it():
    """#230"""
    done = run("embed", "-p", "local", stdin=b'{"text":"a"}\n')
    assert (done.code, done.out) == (2, b"")
    assert b"--input-format jsonl reads it so" in done.err
    done = run("embed", "-p", "local", "-d", 1, "--input-format", "jsonl", stdin=b'{"text":"a"}\n')
    assert done.code == 0


# Binary files -----------------------------------------------------------------------------------


def table_as(write) -> bytes:
    sink = io.BytesIO()
    write(pa.table({"text": ["a", "b"]}), sink)
    return sink.getvalue()


def ipc(table, sink, make=pa.ipc.new_file) -> None:
    with make(sink, table.schema) as writer:
        writer.write(table)


def npy() -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.ones((2, 2), np.float32))
    return sink.getvalue()


def zipped(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 50)
    return sink.getvalue()


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (x)")
    return connection.serialize()


BINARY = {
    "a Parquet file": (table_as(pq.write_table), "--input-format parquet"),
    "an Arrow IPC file": (table_as(ipc), "--input-format arrow"),
    "an Arrow IPC stream": (table_as(lambda t, s: ipc(t, s, pa.ipc.new_stream)), "arrow"),
    "a Feather file of version 1": (b"FEA1\0\0\0\0", "write it again"),
    "an ORC file": (table_as(lambda t, s: pyarrow.orc.write_table(t, s)), "Parquet"),
    "an Avro file": (b"Obj\x01\x04\x14avro.codec", "Parquet"),
    "an lz4 file": (b'\x04"M\x18d@\xa7\x06\0\0\x80a\nb', "lz4 -dc"),
    "a compressed file (.Z)": (b"\x1f\x9d\x90a\xe8", "gzip -dc"),
    "an Excel workbook (xlsx)": (zipped("[Content_Types].xml", "xl/workbook.xml"), "save it"),
    "a zip archive": (zipped("rows.csv"), "unzip -p"),
    "a .npy matrix": (npy(), "similarity --in"),
    "an SQLite database": (database(), "sqlite3"),
    "a PDF file": (b"%PDF-1.7\n%\xe2\xe3\n", "pdftotext"),
}


@pytest.mark.parametrize("what", BINARY)
@pytest.mark.parametrize("form", ["auto", "jsonl", "csv", "tokens", "json"])
def test_a_binary_file_is_named_with_what_to_do(what, form):
    """#231"""
    data, hint = BINARY[what]
    with pytest.raises(InputError) as raised:
        read_bytes(data, format=form)
    assert raised.value.what == f"this is {what}, not text"
    assert hint in raised.value.hint


@pytest.mark.parametrize("what", ["an Excel workbook (xlsx)", "an ORC file", "an lz4 file"])
@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv"])
def test_a_binary_file_under_another_ending_is_named(what, ending, tmp_path):
    """#231"""
    path = tmp_path / f"rows.{ending}"
    path.write_bytes(BINARY[what][0])
    with pytest.raises(InputError, match="this is an"):
        read_files(path)


def test_whole_files_that_are_binary_are_problems_and_the_next_is_read(tmp_path):
    (tmp_path / "a.pdf").write_bytes(BINARY["a PDF file"][0])
    (tmp_path / "b.md").write_text("text")
    assert texts(read_files(tmp_path, format="text")) == ["text"]
