"""Arrow IPC in: files, streams and Feather, whatever writes them, whole or damaged."""

import gzip
import io

import pandas
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from tests.formats.reading import as_json, problems, read_bytes, read_files, texts
from tests.formats.test_parquet_reading import EVERY_TYPE

from tovec.errors import InputError
from tovec.formats import arrow


def written(table, make=pa.ipc.new_file, rows=None, **options) -> bytes:
    sink = io.BytesIO()
    with make(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


TABLE = pa.table({"text": [f"t{i}" for i in range(2000)], "n": range(2000)})


@pytest.mark.parametrize("make", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("packed", [False, True])
def test_rows_come_once_in_order_from_files_and_streams(make, compression, packed):
    """#231"""
    data = written(TABLE, make, rows=300, compression=compression)
    blocks = read_bytes(gzip.compress(data) if packed else data, chunk=1000, format="arrow")
    assert texts(blocks) == TABLE["text"].to_pylist()
    assert [i for block in blocks for i in block.index] == list(range(2000))
    assert pa.Table.from_batches([block.rows.arrow() for block in blocks]) == TABLE


def test_every_type_stays_what_it_is():
    (block,) = read_bytes(written(EVERY_TYPE), format="arrow")
    assert block.rows.arrow().schema.equals(EVERY_TYPE.schema)


@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "a.ipc", "a.arrows", "a.arrow.gz"])
def test_the_ending_says_the_format(tmp_path, name):
    """#231: as pandas and pyarrow write them."""
    path = tmp_path / name
    match path.suffix:
        case ".feather":
            pandas.DataFrame({"text": ["a", "b"], "n": [1, 2]}).to_feather(path)
        case ".gz":
            path.write_bytes(gzip.compress(written(TABLE.slice(0, 2))))
        case _:
            make = pa.ipc.new_stream if name.endswith("arrows") else pa.ipc.new_file
            path.write_bytes(written(TABLE.slice(0, 2), make))
    assert len(as_json(read_files(path))) == 2
    (block,) = read_files(path, columns=("n",))
    assert block.rows.arrow().schema.names == ["text", "n"]


def test_an_empty_table_keeps_its_columns():
    (block,) = read_bytes(written(TABLE.slice(0, 0)), format="arrow")
    assert block.rows.arrow().schema.names == ["text", "n"]


def test_a_file_that_is_cut_or_damaged_is_an_error(tmp_path):
    """#233"""
    data = written(TABLE, rows=100)
    for at in range(0, len(data), max(1, len(data) // 60)):
        with pytest.raises(InputError):
            read_bytes(data[:at], format="arrow")
    with pytest.raises(InputError, match="cut short, after 2,000 rows"):
        read_bytes(data[:-1], format="arrow")
    with pytest.raises(InputError, match="damaged Arrow IPC"):
        read_bytes(b"text\n", format="arrow")
    for at in range(8, len(data), 97):  # whatever is flipped: rows or an error, not a crash
        flipped = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        try:
            read_bytes(flipped, format="arrow")
        except InputError:
            continue


def test_a_compressed_file_that_is_damaged_is_named_as_such():
    """#233"""
    data = gzip.compress(written(TABLE))
    with pytest.raises(InputError, match="the compressed file is cut short"):
        read_bytes(data[:-20], format="arrow")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_texts_that_old_writers_stored_as_bytes_are_read(tmp_path, kind, form, monkeypatch):
    """#231: a row that is not UTF-8 is a problem."""
    monkeypatch.setattr(arrow, "BLOCK_ROWS", 2)
    values = [b"a", "\u00e9".encode(), b"b\xff", None, b"", b"c"]
    table = pa.table({"text": pa.array(values, kind), "raw": pa.array(values, kind), "n": range(6)})
    path = tmp_path / f"rows.{form}"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        path.write_bytes(written(table))
    blocks = read_files(path)
    assert texts(blocks) == ["a", "\u00e9", "c"]
    assert problems(blocks) == [("encoding", 3, 2), ("type", 4, 3), ("empty", 5, 4)]
    reason = next(one.reason for block in blocks for one in block.problems)
    assert reason == "byte 0xff at byte 2 of 'text' is not UTF-8"
    rows = as_json(blocks)
    assert [row["n"] for row in rows] == [0, 1, 5]
    assert [row["raw"] for row in rows] == ["YQ==", "w6k=", "Yw=="]
    assert {str(block.rows.arrow().schema.field("text").type) for block in blocks} == {
        "large_string"
    }
