"""Compressed files in and out, checked with the tools that everybody has."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess

import duckdb
import pandas
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.inside import run
from tests.formats.reading import read_bytes, read_files, texts

from tovec.errors import InputError, UsageError
from tovec.formats import output_compression, output_format
from tovec.formats.compression import CHUNK, CompressedFile


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def zstd_stream(data: bytes) -> bytes:
    sink = io.BytesIO()
    file = CompressedFile(sink, "zstd")
    file.write(data)
    file.close()
    return sink.getvalue()


MAKE = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd_stream,
    "one frame": zstd,
}


# In ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKE)
@given(
    st.lists(st.text("ab \u00e9", min_size=1, max_size=5).map(lambda one: f"x{one}"), max_size=9)
)
def test_several_compressed_files_in_a_row_are_read_whole(kind, lines):
    """#232: as `cat a.gz b.gz` and pzstd make them."""
    data = b"".join(MAKE[kind](f"{line}\n".encode()) for line in lines)
    assert texts(read_bytes(data, format="lines")) == lines


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("damage", ["cut", "flipped", "followed"])
def test_a_damaged_file_is_an_error_that_says_how_much_was_read(kind, damage):
    """#233: no row is lost without a word, wherever the damage is."""
    lines = [f"line {i}" for i in range(4000)]
    data = MAKE[kind]("".join(f"{line}\n" for line in lines).encode())
    step = max(1, len(data) // 40)
    for at in range(7, len(data), step):
        match damage:
            case "cut":
                broken = data[:at]
            case "flipped":
                broken = data[:at] + bytes([data[at] ^ 0x5A]) + data[at + 1 :]
            case "followed":
                broken = data + b"no compressed data"
        try:
            found = texts(read_bytes(broken, format="lines"))
        except InputError as error:
            assert "the compressed file is" in error.what, error.what
            assert "bytes of its content" in error.what
        else:  # zstd as pyarrow and pzstd write it has no checksum, and a few bits mean nothing
            assert damage == "flipped"
            assert found == lines or kind in ("zstd", "one frame")


@pytest.mark.skipif(not shutil.which("pzstd"), reason="pzstd is not installed")
def test_what_pzstd_writes_is_recognised(tmp_path):
    """#232: its first frame holds no data."""
    (tmp_path / "rows.txt").write_text("one\ntwo\n")
    subprocess.run(["pzstd", "-q", tmp_path / "rows.txt"], check=True)
    assert (tmp_path / "rows.txt.zst").read_bytes()[1:4] == b"\x2a\x4d\x18"
    assert texts(read_files(tmp_path / "rows.txt.zst")) == ["one", "two"]


def test_text_that_begins_like_a_frame_to_skip_is_text():
    assert texts(read_bytes(b"[*M\x18 text\n", format="lines")) == ["[*M\x18 text"]


@pytest.mark.parametrize("ending", ["gz", "zst", "bz2", "xz"])
@pytest.mark.parametrize("inner", ["jsonl", "json", "csv"])
def test_the_ending_below_a_compressions_says_the_format(tmp_path, ending, inner):
    """#232"""
    data = {"jsonl": b'{"text":"a"}\n', "json": b'[{"text":"a"}]', "csv": b"text\na\n"}[inner]
    make = MAKE[{"gz": "gzip", "zst": "zstd", "bz2": "bzip2", "xz": "xz"}[ending]]
    path = tmp_path / f"rows.{inner}.{ending}"
    path.write_bytes(make(data))
    assert texts(read_files(path)) == ["a"]


# Out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 60))
def test_what_is_written_depends_on_the_bytes_alone(kind, parts, bound):
    """#234: not on the time, nor on how they came."""
    whole = b"".join(parts)

    def written(some) -> bytes:
        sink = io.BytesIO()
        file = CompressedFile(sink, kind)
        for one in some:
            file.write(one)
            file.flush()
        file.close()
        file.close()
        return sink.getvalue()

    found = written(parts)
    assert (
        found
        == written([whole])
        == written(whole[i : i + bound] for i in range(0, len(whole), bound))
    )
    back = (
        gzip.decompress(found)
        if kind == "gzip"
        else pa.input_stream(io.BytesIO(found), compression="zstd").read()
    )
    assert back == whole


def test_what_is_written_in_many_pieces_is_one_stream():
    data = os.urandom(CHUNK) * 3
    assert lines_of("zstd", zstd_stream(data)) == data


def lines_of(kind: str, data: bytes) -> bytes:
    command = {"gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"]}[kind]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize(("ending", "kind"), [("gz", "gzip"), ("zst", "zstd")])
def test_an_output_is_compressed_as_it_is_named(tmp_path, jsonl, ending, kind):
    """#234: by gzip's and zstd's own programs, pandas and DuckDB."""
    source = jsonl([{"id": i, "text": f"row {i}"} for i in range(700)])
    target, plain = tmp_path / f"out.jsonl.{ending}", tmp_path / "plain.jsonl"
    for path in (target, plain):
        assert run("embed", "-p", "local", "-d", 2, "-f", source, "-o", path).code == 0
    expected = plain.read_bytes()
    assert lines_of(kind, target.read_bytes()) == expected
    if kind == "gzip":  # pandas needs a further package for zstd
        assert list(pandas.read_json(target, lines=True)["id"]) == list(range(700))
    found = duckdb.execute(f"select count(*), max(id) from read_json('{target}')").fetchall()
    assert found == [(700, 699)]
    assert texts(read_files(target)) == [f"row {i}" for i in range(700)]


@pytest.mark.parametrize(("ending", "kind"), [("gz", "gzip"), ("zst", "zstd")])
def test_parts_and_rejects_are_compressed_as_they_are_named(tmp_path, jsonl, ending, kind):
    """#234"""
    source = jsonl([{"text": "a"}, {"no": 1}, {"text": "b"}, {"text": "c"}])
    target, rejects = tmp_path / f"parts.jsonl.{ending}", tmp_path / f"bad.jsonl.{ending}"
    options = ("-p", "local", "-d", 1, "--rows-per-file", 2, "--rejects", rejects)
    assert run("batch", source, "-o", target, *options).code == 3
    parts = [lines_of(kind, path.read_bytes()) for path in sorted(target.iterdir())]
    assert [path.name for path in sorted(target.iterdir())] == [
        f"part-0000{i}.jsonl.{ending}" for i in range(2)
    ]
    rows = [json.loads(line)["text"] for part in parts for line in part.splitlines()]
    assert rows == ["a", "b", "c"]
    (reject,) = lines_of(kind, rejects.read_bytes()).splitlines()
    assert json.loads(reject)["row"] == {"no": 1}


UNKNOWN = {
    "x.arrow": "--format jsonl",
    "x.feather": "--format jsonl",
    "x.sqlite": "--format",
    "x.out": "--format",
    "x.npz": "--format npy",
    "x.tar": "--format",
    "x.jsonl.bz2": ".gz or .zst",
    "x.jsonl.xz": ".gz or .zst",
    "x.parquet.gz": "name it x.parquet",
    "x.npy.gz": "name it x.npy",
    "x.npy.zst": "write .jsonl.zst",
    "x.csv": ".parquet",
    "x.tsv.gz": ".parquet",
    "x.txt": "--format jsonl",
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("command", ["embed", "batch"])
def test_an_ending_that_cannot_be_written_is_an_error_before_anything(
    tmp_path, jsonl, command, name
):
    """#234"""
    source = jsonl([{"text": "a"}])
    inputs = ("-f", source) if command == "embed" else (source,)
    done = run(command, *inputs, "-p", "local", "-o", tmp_path / name)
    assert done.code == 2, done.err
    hint = UNKNOWN[name].replace("name it ", f"name it {tmp_path}/")
    assert hint in done.err.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_format_that_is_named_needs_no_ending(tmp_path):
    """#234"""
    assert output_format("x.out", "parquet") == "parquet"
    assert output_format("x.gz", "jsonl") == "jsonl"
    assert output_compression("x.gz") == "gzip"
    assert output_compression("/dev/fd/3.gz") is None
    with pytest.raises(UsageError, match="is not compressed as a whole"):
        output_format("x.gz", "parquet")
    with pytest.raises(UsageError, match=r"not written as \.xz"):
        output_format("x.xz", "jsonl")


def test_rejects_are_not_written_as_something_else(tmp_path, jsonl):
    """#234"""
    source = jsonl([{"text": "a"}])
    options = ("-o", tmp_path / "o.jsonl", "--rejects", tmp_path / "bad.jsonl.xz")
    assert run("batch", source, "-p", "local", *options).code == 2
