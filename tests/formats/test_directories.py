"""Directories: columns in their names, what is skipped in them, and files that never end."""

import json
import os
import socket

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.inside import run
from tests.formats.reading import as_json, read_files, texts

from tovec.errors import InputError
from tovec.formats.directories import Listing, decode_partition

ROWS = {
    "jsonl": b'{"text":"a"}\n{"text":"b", "m": {} }\n',
    "json": b'[{"text":"a"},\n{"text":"b"}]',
    "csv": b"text\na\nb\n",
    "tsv": b"text\na\nb\n",
    "txt": b"a\nb\n",
}


def parquet(path, column=("a", "b"), **more) -> None:
    pq.write_table(pa.table({"text": list(column), **more}), path)


def arrow(path) -> None:
    table = pa.table({"text": ["a", "b"]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write(table)


def write(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".parquet":
            parquet(path)
        case ".arrow":
            arrow(path)
        case _:
            path.write_bytes(ROWS[path.suffix[1:]])


# Columns in names -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "arrow", *ROWS])
def test_the_columns_in_a_directorys_name_are_columns(tmp_path, ending):
    """#236: in every format."""
    write(tmp_path / "ok=true" / "n=7" / f"part-0.{ending}")
    write(tmp_path / "ok=a%2Fb%20c" / "n=-12" / f"part-0.{ending}")
    write(tmp_path / "ok=__HIVE_DEFAULT_PARTITION__" / "n=0" / f"part-0.{ending}")
    rows = as_json(read_files(tmp_path))
    assert [(row["text"], row["ok"], row["n"]) for row in rows] == [
        (text, ok, n) for ok, n in ((None, 0), ("a/b c", -12), ("true", 7)) for text in "ab"
    ]
    tables = [pa.Table.from_batches([block.rows.arrow()]) for block in read_files(tmp_path)]
    whole = pa.concat_tables(tables, promote_options="permissive")
    assert (whole.schema.field("ok").type, whole.schema.field("n").type) == (
        pa.string(),
        pa.int64(),
    )


value = st.one_of(
    st.integers(-99, 99).map(str), st.text(st.characters(categories=["L", "N", "P"]), min_size=1)
)


@given(st.lists(value, min_size=1, max_size=5, unique=True))
def test_values_have_the_names_and_texts_that_pyarrow_finds(tmp_path_factory, values):
    """#236: but for 01, which stays what it is, and for texts that only look like numbers to it."""
    root = tmp_path_factory.mktemp("hive")
    table = pa.table({"text": values, "k": values})
    pq.write_to_dataset(table, root, partition_cols=["k"])
    rows = as_json(read_files(root))
    assert {row["text"]: str(row["k"]) for row in rows} == dict(zip(values, values, strict=True))
    kinds = {type(row["k"]) for row in rows}
    assert kinds == ({int} if all(str(_number(one)) == one for one in values) else {str})


def _number(text: str) -> int | None:
    return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else None


def test_what_duckdb_partitions_comes_back_as_duckdb_reads_it(tmp_path):
    """#236"""
    target = tmp_path / "d"
    duckdb.execute(
        f"copy (select 'row ' || i as text, i % 3 as k, i % 2 = 0 as ok from range(10) t(i)) "
        f"to '{target}' (format parquet, partition_by (k, ok))"
    )
    expected = duckdb.execute(
        f"select text, k, ok from read_parquet('{target}/**/*.parquet') order by text"
    ).fetchall()
    rows = sorted(as_json(read_files(target)), key=lambda row: row["text"])
    assert [(row["text"], row["k"], row["ok"]) for row in rows] == expected


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_column_in_the_file_too_must_say_the_same(tmp_path, ending):
    """#236: DuckDB writes both on request."""
    path = tmp_path / "k=1" / f"part.{ending}"
    path.parent.mkdir()
    for k in (1, 2):
        if ending == "parquet":
            parquet(path, ["a"], k=[k])
        else:
            row = json.dumps({"text": "a", "k": k}) if ending == "jsonl" else f"text,k\na,{k}"
            path.write_text(f"{row}\n")
        if k == 1:
            assert as_json(read_files(tmp_path)) == [{"text": "a", "k": 1}]
        elif ending == "jsonl":
            (block,) = read_files(tmp_path)
            assert "is 2 in the row and 1 in the directory's name" in block.problems[0].reason
        else:
            with pytest.raises(InputError, match="'k' holds 2 in the file, and 1 in"):
                read_files(tmp_path)


def test_the_columns_can_be_chosen_embedded_and_be_the_id(tmp_path):
    """#236"""
    for lang, name in (("de", "a.csv"), ("en", "b.parquet"), ("fr", "c.jsonl"), ("it", "d.txt")):
        write(tmp_path / f"lang={lang}" / name)
    found = texts(read_files(tmp_path, template="{lang}: {text}"))
    assert found == [f"{lang}: {text}" for lang in ("de", "en", "fr", "it") for text in "ab"]
    blocks = read_files(tmp_path, columns=("lang",), id_field="lang")
    assert [one for block in blocks for one in block.rows.ids("lang")] == [
        lang for lang in ("de", "en", "fr", "it") for _ in "ab"
    ]
    assert as_json(blocks, ["lang"])[0] == {"lang": "de"}


def test_a_file_that_is_named_itself_has_no_columns_of_its_directories(tmp_path):
    write(tmp_path / "k=1" / "a.jsonl")
    assert as_json(read_files(tmp_path / "k=1" / "a.jsonl"))[0] == {"text": "a"}
    assert as_json(read_files(tmp_path / "k=1"))[0] == {"text": "a"}


def test_a_column_that_plain_rows_have_already_is_an_error(tmp_path):
    write(tmp_path / "text=x" / "a.txt")
    with pytest.raises(InputError, match="holds a column 'text'"):
        read_files(tmp_path)


def test_names_that_are_not_partitions_are_none():
    assert decode_partition("plain") is None
    assert decode_partition("=x") is None
    assert decode_partition("a=") == ("a", "")
    assert decode_partition("a=b=c") == ("a", "b=c")
    assert decode_partition("a%3Db=%C3%A9") == ("a=b", "\u00e9")


# What is skipped --------------------------------------------------------------------------------


def test_what_is_not_a_regular_file_is_skipped_and_counted(tmp_path):
    """#237: a FIFO would block and a device never end."""
    write(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listing = Listing(str(tmp_path))
        assert [file.path for file in listing] == [str(tmp_path / "a.txt")]
        assert listing.skipped == ["not a regular file"] * 3
        done = run("embed", "-p", "local", "-d", 1, "-f", tmp_path)
        assert done.code == 0
        assert b"3 entries were skipped in a directory: not a regular file" in done.err
        done = run("batch", tmp_path, "-p", "local", "-d", 1, "-o", tmp_path / "o.jsonl")
        assert (done.code, done.err.count(b"3 entries were skipped")) == (0, 1)


def test_names_with_an_underscore_are_skipped_as_spark_does(tmp_path):
    """#236"""
    for name in ("_SUCCESS", "_x.txt", "_tmp/y.txt", ".part-0.txt.crc", "_k=1/z.txt", "a.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a\nb\n")
    listing = Listing(str(tmp_path))
    assert [os.path.relpath(file.path, tmp_path) for file in listing] == ["_k=1/z.txt", "a.txt"]
    assert listing.skipped == ["its name begins with _"] * 2
    listing = Listing(str(tmp_path), glob="_x*")
    assert [os.path.relpath(file.path, tmp_path) for file in listing] == ["_x.txt"]
    assert listing.skipped == []


def test_a_delta_table_is_not_read_as_its_files(tmp_path):
    """#236: rows that were deleted or replaced are still in some of them."""
    write(tmp_path / "t" / "part-0.parquet")
    (tmp_path / "t" / "_delta_log").mkdir()
    with pytest.raises(InputError, match="a Delta table"):
        read_files(tmp_path)


def test_a_directory_of_nothing_but_pipes_has_no_files(tmp_path):
    """#237"""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="has no files"):
        read_files(tmp_path)


# Files that never end ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/dev/full"])
@pytest.mark.parametrize("form", ["lines", "text", "jsonl", "csv", "parquet", "arrow", "json"])
def test_a_device_is_refused_in_every_format(path, form):
    """#237"""
    with pytest.raises(InputError, match="this is a device"):
        read_files(path, format=form)


def test_a_device_is_refused_by_each_command_and_a_link_to_one(tmp_path):
    """#237"""
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "x.npy").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "y.npy")
    os.mkfifo(tmp_path / "y.parquet")
    os.mkfifo(tmp_path / "y.jsonl")
    for command in (
        ["embed", "-f", tmp_path / "link"],
        ["embed", "-0", "-f", "/dev/zero"],
        ["batch", "/dev/zero", "-o", tmp_path / "o.jsonl"],
        ["batch", "/dev/zero", "--dry-run", "-o", tmp_path / "o.jsonl"],
        ["similarity", "q", "--in", "/dev/zero"],
        ["similarity", "q", "--in", tmp_path / "x.npy"],
        ["similarity", "q", "--in", tmp_path / "y.npy"],
        ["similarity", "q", "--in", tmp_path / "y.parquet"],
        ["similarity", "q", "--in", tmp_path / "y.jsonl"],
        ["similarity", "q", "-f", "/dev/zero"],
    ):
        done = run(*command, "-p", "local")
        assert done.code == 6, (command, done)
        assert b"a file is needed" in done.err


def test_the_null_device_is_empty():
    assert texts(read_files("/dev/null")) == []


def test_a_pipe_that_is_named_is_read(tmp_path):
    """Process substitution, `-f <(command)`, is one."""
    reader, writer = os.pipe()
    os.write(writer, b"one\ntwo\n")
    os.close(writer)
    try:
        assert texts(read_files(f"/dev/fd/{reader}")) == ["one", "two"]
    finally:
        os.close(reader)


def test_a_named_pipe_of_a_batch_keeps_the_format_of_its_name(tmp_path):
    path = tmp_path / "rows.jsonl"
    os.mkfifo(path)
    child = os.fork()
    if not child:  # pragma: no cover - another process
        path.write_text('{"text":"a","id":1}\n')
        os._exit(0)
    done = run("batch", path, "-p", "local", "-d", 1, "-o", tmp_path / "o.jsonl")
    os.waitpid(child, 0)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "o.jsonl").read_text())["id"] == 1
