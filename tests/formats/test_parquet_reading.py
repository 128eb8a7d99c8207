"""Parquet in: types kept to the last nanosecond, no column read that nobody needs."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.reading import as_json, problems, read_bytes, read_files, texts

from tovec.errors import InputError, UsageError
from tovec.formats.arrow import ArrowRows, values


def stored(tmp_path, table, name="rows.parquet", **how):
    path = tmp_path / name
    pq.write_table(table, path, **how)
    return path


def test_rows_come_once_in_order_over_all_row_groups(tmp_path):
    table = pa.table({"text": [f"t{i}" for i in range(3000)], "n": pa.array(range(3000))})
    blocks = read_files(stored(tmp_path, table, row_group_size=700))
    assert texts(blocks) == table["text"].to_pylist()
    assert [i for block in blocks for i in block.index] == list(range(3000))
    assert pa.Table.from_batches([block.rows.arrow() for block in blocks]) == table


EVERY_TYPE = pa.table(
    {
        "text": ["a", "b"],
        "i8": pa.array([1, None], pa.int8()),
        "u64": pa.array([2**64 - 1, 0], pa.uint64()),
        "f32": pa.array([0.1, float("nan")], pa.float32()),
        "bool": [True, None],
        "when": pa.array([1, None], pa.timestamp("ns")),
        "zone": pa.array([1_700_000_000_000_001, None], pa.timestamp("us", "Europe/Berlin")),
        "day": [datetime.date(2024, 2, 29), None],
        "time": pa.array([1_000, None], pa.time64("ns")),
        "long": pa.array([-1_500_000_000, None], pa.duration("ns")),
        "money": [decimal.Decimal("12345678901234567.89"), None],
        "bytes": [b"\xff\x00", None],
        "list": [[1, None], None],
        "struct": [{"a": 1, "b": {"c": "x"}}, None],
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "word": pa.array(["x", "x"]).dictionary_encode(),
        "vector": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        "deep": pa.array([[{"t": 1}], None], pa.list_(pa.struct({"t": pa.timestamp("ns")}))),
    }
)


def test_every_type_stays_what_it_is(tmp_path):
    (block,) = read_files(stored(tmp_path, EVERY_TYPE))
    found = pa.Table.from_batches([block.rows.arrow()])
    assert found.schema.equals(EVERY_TYPE.schema)
    assert found.drop(["f32"]) == EVERY_TYPE.drop(["f32"])


def test_every_type_has_one_form_in_json(tmp_path):
    first, second = as_json(read_files(stored(tmp_path, EVERY_TYPE)))
    assert first == {
        "text": "a",
        "i8": 1,
        "u64": 2**64 - 1,
        "f32": pytest.approx(0.1),
        "bool": True,
        "when": "1970-01-01T00:00:00.000000001",
        "zone": "2023-11-14T23:13:20.000001+01:00",
        "day": "2024-02-29",
        "time": "00:00:00.000001",
        "long": "-PT1.5S",
        "money": "12345678901234567.89",
        "bytes": "/wA=",
        "list": [1, None],
        "struct": {"a": 1, "b": {"c": "x"}},
        "map": [["k", 1]],
        "word": "x",
        "vector": [1.0, 2.0],
        "deep": [{"t": "1970-01-01T00:00:00.000000001"}],
    }
    nulls = dict.fromkeys(first) | {"text": "b", "u64": 0, "word": "x"}
    assert second == nulls


moment = st.integers(-(2**62), 2**62)


@given(
    st.lists(
        st.one_of(st.none(), st.lists(st.one_of(st.none(), st.tuples(moment, moment)), max_size=3)),
        max_size=6,
    ),
    st.integers(0, 3),
    st.sampled_from(["list", "map", "large"]),
)
def test_nanoseconds_keep_all_digits_at_any_depth_and_in_any_slice(rows, start, shape):
    stamp = pa.timestamp("ns", "UTC")
    inner = pa.struct({"a": stamp, "b": pa.duration("ns")})
    kind = {"list": pa.list_(inner), "large": pa.large_list(inner)}.get(shape)
    if kind is None:
        kind = pa.map_(pa.int64(), inner)
        data = [
            row and [(i, x and {"a": x[0], "b": x[1]}) for i, x in enumerate(row)] for row in rows
        ]
    else:
        data = [row and [x and {"a": x[0], "b": x[1]} for x in row] for row in rows]
    array = pa.array(data, kind).slice(start)

    def back(text):
        return int(np.datetime64(text.removesuffix("+00:00"), "ns").astype(int))

    found = values(array)
    assert len(found) == len(array)
    for row, expected in zip(found, rows[start:], strict=True):
        if not expected:
            assert row == expected
            continue
        items = [pair[1] for pair in row] if shape == "map" else row
        assert [x and back(x["a"]) for x in items] == [x and x[0] for x in expected]


def test_a_fixed_size_list_of_nanoseconds_keeps_its_slices_and_nulls():
    kind = pa.list_(pa.timestamp("ns"), 2)
    array = pa.array([[1, 2], [3, 4], None, [5, None]], kind).slice(1)
    lead = "1970-01-01T00:00:00.00000000"
    assert values(array) == [[lead + "3", lead + "4"], None, [lead + "5", None]]


def test_rows_are_taken_in_any_order_and_repeat():
    batch = pa.record_batch({"text": ["a", "b", "c"]})
    rows = ArrowRows(batch, [5, 6, 7]).take([2, 0, 0])
    assert (rows.json(), rows.index) == (
        [b'{"text":"c"}', b'{"text":"a"}', b'{"text":"a"}'],
        [7, 5, 5],
    )
    assert len(rows.take([])) == 0


def test_a_year_beyond_9999_is_an_error_in_json_and_passes_in_arrow(tmp_path):
    table = pa.table({"text": ["a"], "when": pa.array([2**60], pa.timestamp("us"))})
    (block,) = read_files(stored(tmp_path, table))
    assert block.rows.arrow()["when"] == table["when"].chunk(0)
    with pytest.raises(InputError, match="'when' cannot be written as JSON"):
        block.rows.json()


def test_only_the_columns_that_are_needed_are_read(tmp_path, monkeypatch):
    path = stored(tmp_path, pa.table({"id": [7], "text": ["a"], "x": [1], "y": [2]}))
    (block,) = read_files(path, columns=("y",), id_field="id")
    assert block.rows.arrow().schema.names == ["id", "text", "y"]
    assert block.rows.json(["y"]) == [b'{"y":2}']
    (block,) = read_files(path, text_fields=("text",), columns=())
    assert block.rows.json([]) == [b"{}"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_null_and_empty_texts_are_problems(tmp_path, kind):
    """#153 #162"""
    column = pa.array(["a", None, "", " ", "b"]).cast(kind)
    blocks = read_files(stored(tmp_path, pa.table({"text": column, "n": range(5)})))
    assert texts(blocks) == ["a", "b"]
    assert problems(blocks) == [("type", 2, 1), ("empty", 3, 2), ("empty", 4, 3)]
    assert blocks[0].problems[0].where.endswith("rows.parquet, row 2")
    assert blocks[0].problems[0].raw == b'{"text":null,"n":1}'
    assert as_json(blocks) == [{"text": "a", "n": 0}, {"text": "b", "n": 4}]


@pytest.mark.parametrize("column", [[1, 2], [["a"], ["b"]], [[b"a"], [b"b"]]])
def test_a_column_that_holds_no_texts_is_named(tmp_path, column):
    with pytest.raises(InputError, match=r"'text' holds .*, not texts"):
        read_files(stored(tmp_path, pa.table({"text": column})))


def test_a_column_that_is_not_there_is_named(tmp_path):
    path = stored(tmp_path, pa.table({"txet": ["a"]}))
    with pytest.raises(InputError, match="no column 'text'") as caught:
        read_files(path)
    assert (caught.value.where, caught.value.hint) == (str(path), "did you mean txet?")


def test_an_empty_file_keeps_its_columns_and_types(tmp_path):
    (block,) = read_files(stored(tmp_path, EVERY_TYPE.slice(0, 0)))
    assert block.rows.arrow().schema.equals(EVERY_TYPE.schema)
    assert block.inputs == []


def test_a_pipe_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="cannot be read from a pipe"):
        read_bytes(b"PAR1", format="parquet")


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "gzip"])
def test_what_is_not_a_whole_parquet_file_is_an_error(tmp_path, damage):
    """#162"""
    path = stored(tmp_path, pa.table({"text": ["words " * 50] * 2000}), use_dictionary=False)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-20:]
    elif damage == "flip":
        data[4:40] = b"\xff" * 36
    elif damage == "text":
        data = bytearray(b"hello\n" * 10)
    elif damage == "empty":
        data.clear()
    else:
        path = path.with_suffix(".parquet.gz")
        data = bytearray(b"\x1f\x8b" + bytes(20))
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
        read_files(path)
    assert caught.value.where == str(path)
    assert ("decompress" in caught.value.hint) == (damage == "gzip")


def test_a_name_with_dots_reaches_into_structs_and_a_column_of_that_name_wins(tmp_path):
    """#223"""
    inner = [{"text": "one", "more": {"x": "X"}, "n": 1}, None]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"doc": inner, "id": [1, 2], "doc.id": ["a", "b"]}), path)
    (block,) = read_files(path, text_fields=("doc.text",), columns=("id",))
    assert (block.inputs, as_json([block], ["id"])) == (["one"], [{"id": 1}])
    (problem,) = block.problems
    assert (problem.kind, problem.line) == ("type", 2)
    (block,) = read_files(path, template="{doc.more.x}/{doc.id}")
    assert block.inputs == ["X/a"]
    assert as_json([block])[0]["doc"] == inner[0]
    with pytest.raises(InputError, match=r"no column 'doc\.txt'") as caught:
        read_files(path, text_fields=("doc.txt",))
    assert caught.value.hint == "did you mean doc.text?"
    with pytest.raises(InputError, match=r"'doc\.n' holds int64"):
        read_files(path, text_fields=("doc.n",))
