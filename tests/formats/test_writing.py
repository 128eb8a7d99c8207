"""Writers: what is read back equals what was given, and the bytes stay what they were."""

import io
import json

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tovec import formats
from tovec.errors import InputError, UsageError
from tovec.formats.npy import header
from tovec.formats.protocols import VectorMeta, WriteOptions
from tovec.formats.rows import JsonRows, PlainRows

META = VectorMeta("m", "p", None, "float32", "tovec test")


class Memory:
    name = "out"
    seekable = True

    def __init__(self):
        self.file = io.BytesIO()
        self.others = {}

    def beside(self, suffix):
        self.others[suffix] = io.BytesIO()
        return self.others[suffix]


def written(name, parts, meta=META, options=None) -> Memory:
    sink = Memory()
    writer = formats.writer(name, sink, meta, options or WriteOptions())
    for rows, extra, vectors in parts:
        writer.write(rows, extra, vectors)
    writer.finish()
    sink.file.seek(0)
    return sink


def json_rows(*rows: dict) -> JsonRows:
    raw = [orjson.dumps(row) for row in rows]
    return JsonRows(raw, rows, range(len(rows)), range(1, len(rows) + 1), "test")


def plain(count: int, first: int = 0) -> PlainRows:
    return PlainRows(range(first, first + count), [f"t{i}" for i in range(count)])


matrices = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(matrices)
def test_jsonl_digits_give_the_same_float32_back(vectors):
    sink = written("jsonl", [(plain(len(vectors)), {}, vectors)])
    found = [json.loads(line)["embedding"] for line in sink.file.getvalue().splitlines()]
    assert np.array_equal(np.array(found, np.float32), vectors)


@given(st.lists(matrices, min_size=1, max_size=3))
def test_npy_reads_back_equal(several):
    several = [v[:, :1] for v in several]
    sink = written("npy", [(plain(len(v)), {}, v) for v in several])
    assert np.array_equal(np.load(sink.file), np.concatenate(several))
    assert len(sink.file.getvalue()) == 128 + 4 * sum(map(len, several))
    assert json.loads(sink.others[".json"].getvalue())["rows"] == sum(map(len, several))


@given(st.lists(matrices, min_size=1, max_size=3))
def test_npy_says_between_which_lengths_its_rows_are(several):
    several = [v[:, :1] for v in several]
    sink = written("npy", [(plain(len(v)), {}, v) for v in several])
    told = json.loads(sink.others[".json"].getvalue())["lengths"]
    lengths = np.abs(np.concatenate(several).astype(float))
    if told is not None:
        assert told == pytest.approx([lengths.min(), lengths.max()], rel=1e-6)
    else:  # float32 cannot tell: its square is 0 or infinity
        assert lengths.min() < 1e-18 or lengths.max() > 1e18


@given(matrices, st.sampled_from(["float32", "float16"]))
def test_parquet_reads_back_equal(vectors, dtype):
    vectors = np.clip(vectors, -60000, 60000)
    sink = written("parquet", [(plain(len(vectors)), {}, vectors)], META._replace(dtype=dtype))
    table = pq.read_table(sink.file)
    found = np.stack(table["embedding"].to_numpy())
    assert found.dtype == dtype
    assert np.array_equal(found, vectors.astype(dtype))


def test_the_bytes_of_jsonl_are_these():
    vectors = np.array([[0.1, -1, 3e-8]], np.float32)
    rows = json_rows({"id": 1, "text": "a"})
    sink = written("jsonl", [(rows, {"chunk": np.array([2])}, vectors)])
    assert sink.file.getvalue() == (b'{"id":1,"text":"a","chunk":2,"embedding":[0.1,-1.0,3e-8]}\n')


def test_the_header_of_npy_is_numpys_own_and_128_bytes_long():
    """#125"""
    for rows in (0, 1, 10**12):
        made = io.BytesIO(header(rows, 1536, "float32"))
        assert np.lib.format.read_magic(made) == (1, 0)
        found = np.lib.format.read_array_header_1_0(made)
        assert found == ((rows, 1536), False, np.dtype("<f4"))
        assert made.tell() == 128


def test_types_are_kept_and_widen_within_the_first_rows():
    rows = json_rows(
        {"i": 1, "f": 1, "s": "x", "n": {"a": [1]}, "late": None},
        {"i": 2**40, "f": 1.5, "s": None, "n": None, "late": True},
    )
    table = pq.read_table(written("parquet", [(rows, {}, np.ones((2, 3), "f4"))]).file)
    types = {name: str(table.schema.field(name).type) for name in ("i", "f", "s", "late")}
    assert types == {"i": "int64", "f": "double", "s": "string", "late": "bool"}
    assert table["n"].to_pylist() == [{"a": [1]}, None]


def test_fields_may_appear_and_be_missing_within_the_first_row_group():
    parts = [
        (json_rows({"a": 1}), {}, np.ones((1, 2), "f4")),
        (json_rows({"b": "x"}), {}, np.ones((1, 2), "f4")),
    ]
    table = pq.read_table(written("parquet", parts).file)
    assert table.select(["a", "b"]).to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_a_column_of_mixed_types_is_an_error_with_ways_out():
    with pytest.raises(InputError, match="types") as caught:
        written("parquet", [(json_rows({"a": 1}, {"a": "x"}), {}, np.ones((2, 2), "f4"))])
    assert "--columns" in caught.value.hint


def test_a_type_that_changes_after_the_first_row_group_is_an_error(monkeypatch):
    monkeypatch.setattr("tovec.formats.parquet.GROUP_ROWS", 1)
    parts = [(json_rows({"a": value}), {}, np.ones((1, 2), "f4")) for value in (1, "x")]
    with pytest.raises(InputError, match="'a' is int64"):
        written("parquet", parts)


def test_an_unfinished_parquet_file_cannot_be_opened(monkeypatch):
    monkeypatch.setattr("tovec.formats.parquet.GROUP_ROWS", 1)
    sink = Memory()
    writer = formats.writer("parquet", sink, META, WriteOptions())
    writer.write(plain(2), {}, np.ones((2, 2), "f4"))
    del writer
    with pytest.raises(pa.ArrowInvalid):
        pq.read_table(io.BytesIO(sink.file.getvalue()))


@pytest.mark.parametrize("name", ["parquet", "npy", "jsonl"])
def test_a_component_beyond_float16_is_an_error(name):
    vectors = np.full((1, 2), 1e6, "f4")
    with pytest.raises(InputError, match="float16"):
        written(name, [(plain(1), {}, vectors)], META._replace(dtype="float16"))


def test_a_column_that_is_not_there_is_named_with_its_neighbour():
    options = WriteOptions(columns=("txet",))
    with pytest.raises(InputError) as caught:
        written("jsonl", [(json_rows({"text": "a"}), {}, np.ones((1, 2), "f4"))], META, options)
    assert caught.value.hint == "did you mean text?"


@pytest.mark.parametrize(
    ("path", "explicit", "name"),
    [
        (None, None, "jsonl"),
        ("-", None, "jsonl"),
        ("x.parquet", None, "parquet"),
        ("x.npy", None, "npy"),
        ("x", None, "jsonl"),
        ("x.jsonl.gz", None, "jsonl"),
        ("x.out", "jsonl", "jsonl"),
        ("x.npy", "jsonl", "jsonl"),
    ],
)
def test_the_output_format_follows_the_name_unless_it_is_said(path, explicit, name):
    assert formats.output_format(path, explicit) == name


@pytest.mark.parametrize(("path", "explicit"), [("x.csv", None), (None, "csv"), (None, "xml")])
def test_a_format_that_cannot_hold_vectors_is_refused(path, explicit):
    with pytest.raises(UsageError):
        formats.output_format(path, explicit)
