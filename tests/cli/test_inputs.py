"""Every input format through `tovec embed`, as a user runs it."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.servers.loopback import Loopback

from tovec.local.model import StaticModel, normalise_text
from tovec.text import tokens


def local_vectors(*texts: str) -> np.ndarray:
    model = StaticModel.load()
    return model.embed(tokens.encode_batch([normalise_text(text) for text in texts]))


def rows_of(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def assert_vectors(found, texts) -> None:
    assert np.array_equal(np.array(list(found), np.float32), local_vectors(*texts))


def test_csv_becomes_parquet_with_types_and_the_vectors_of_its_texts(tovec, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text('id,text,score,zip\n1,"one\nline",0.5,01234\n2,two,1.5,56789\n')
    done = tovec("embed", "-p", "local", "-f", source, "-o", target)
    assert (done.returncode, done.stderr) == (0, b"")
    table = pq.read_table(target)
    assert table.drop(["embedding"]).to_pylist() == [
        {"id": 1, "text": "one\nline", "score": 0.5, "zip": "01234"},
        {"id": 2, "text": "two", "score": 1.5, "zip": "56789"},
    ]
    assert_vectors(table["embedding"].to_pylist(), ["one\nline", "two"])


def test_tsv_on_standard_input_becomes_jsonl(tovec):
    done = tovec("embed", "-p", "local", "--input-format", "tsv", input="n\ttext\n1\tone\n2\ttwo\n")
    rows = rows_of(done.stdout)
    assert [(row["n"], row["text"]) for row in rows] == [(1, "one"), (2, "two")]
    assert_vectors([row["embedding"] for row in rows], ["one", "two"])


def test_parquet_keeps_every_type_and_gives_way_to_the_new_vectors(tovec, tmp_path):
    table = pa.table(
        {
            "embedding": [[1.0], [2.0]],
            "text": ["one", "two"],
            "at": pa.array([datetime(2024, 1, 2, tzinfo=UTC)] * 2, pa.timestamp("ns", "UTC")),
            "tags": [["a"], []],
            "kind": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source, row_group_size=1)
    assert tovec("embed", "-p", "local", "-f", source, "-o", target).returncode == 0
    found = pq.read_table(target)
    assert found.select(["text", "at", "tags", "kind"]) == table.drop(["embedding"])
    assert_vectors(found["embedding"].to_pylist(), ["one", "two"])
    (row, _) = rows_of(tovec("embed", "-p", "local", "-f", source).stdout)
    assert (row["at"], row["tags"]) == ("2024-01-02T00:00:00+00:00", ["a"])
    assert_vectors([row["embedding"]], ["one"])


def test_dictionaries_of_several_row_groups_become_one_column(tovec, tmp_path):
    groups = [
        pa.table({"text": ["t"], "kind": pa.array([word]).dictionary_encode()}) for word in "abc"
    ]
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    with pq.ParquetWriter(source, groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)
    assert tovec("embed", "-p", "local", "-f", source, "-o", target).returncode == 0
    assert pq.read_table(target)["kind"].to_pylist() == ["a", "b", "c"]


def test_parquet_on_standard_input_is_refused_with_the_reason(tovec):
    done = tovec("embed", "-p", "local", "--input-format", "parquet", input=b"PAR1")
    assert done.returncode == 2
    assert b"cannot be read from a pipe" in done.stderr


def test_token_arrays_have_the_vectors_of_their_texts(tovec):
    ids = tokens.encode_batch([" one two", " three"])
    data = "".join(f"{json.dumps(one)}\n" for one in ids)
    done = tovec("embed", "-p", "local", "--input-format", "tokens", input=data)
    rows = rows_of(done.stdout)
    assert [(row["index"], row["tokens"]) for row in rows] == list(enumerate(ids))
    assert_vectors([row["embedding"] for row in rows], ["one two", "three"])


def test_token_arrays_reach_an_endpoint_as_they_are(tovec):
    with Loopback(dimensions=8) as server:
        options = ["--base-url", server.base_url, "-m", "m", "--input-format", "tokens"]
        done = tovec("embed", *options, input="[1, 2, 3]\n[4]\n")
        (request,) = server.ledger.entries
    assert done.returncode == 0
    assert json.loads(request.body)["input"] == [[1, 2, 3], [4]]


def test_the_files_of_a_directory_are_texts(tovec, tmp_path):
    for name in ("b.md", "a/x.md", "a/skip.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n\ntext\n")
    options = ["--input-format", "text", "--glob", "*.md"]
    done = tovec("embed", "-p", "local", "-f", tmp_path, *options)
    rows = rows_of(done.stdout)
    assert [row["path"] for row in rows] == [f"{tmp_path}/a/x.md", f"{tmp_path}/b.md"]
    assert_vectors([row["embedding"] for row in rows], [row["text"] for row in rows])


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.parquet"])
@pytest.mark.parametrize("output", ["out.parquet", "out.npy", "out.jsonl"])
def test_an_empty_table_gives_a_valid_empty_output(tovec, tmp_path, name, output):
    source, target = tmp_path / name, tmp_path / output
    if name == "in.parquet":
        pq.write_table(
            pa.table({"id": pa.array([], pa.int64()), "text": pa.array([], "str")}), source
        )
    else:
        source.write_text("id\ttext\n" if name == "in.tsv" else "id,text\n")
    done = tovec("embed", "-p", "local", "-f", source, "-o", target, "--id-field", "id")
    assert (done.returncode, done.stderr) == (0, b"")
    if output == "out.npy":
        assert np.load(target, mmap_mode="r").shape == (0, 256)
    elif output == "out.jsonl":
        assert target.read_bytes() == b""
    else:
        assert pq.read_table(target).schema.names == ["id", "text", "embedding"]


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.jsonl", "in.txt", "in.tokens"])
def test_a_file_of_nothing_gives_a_valid_empty_output(tovec, tmp_path, name):
    source, target = tmp_path / name, tmp_path / "out.parquet"
    source.write_bytes(b"")
    form = "tokens" if name == "in.tokens" else "auto"
    done = tovec("embed", "-p", "local", "-f", source, "-o", target, "--input-format", form)
    assert (done.returncode, done.stderr) == (0, b"")
    kind = pq.read_table(target).schema.field("embedding").type
    assert kind == pa.list_(pa.float32(), 256)


def test_json_lines_in_another_encoding_are_read(tovec):
    line = '{"text": "na\xefve"}\n'.encode("latin-1")
    options = ["--input-format", "jsonl"]
    done = tovec("embed", "-p", "local", *options, input=line)
    assert done.returncode == 6
    assert b"0xef" in done.stderr
    done = tovec("embed", "-p", "local", *options, "--encoding", "latin-1", input=line)
    assert_vectors([rows_of(done.stdout)[0]["embedding"]], ["na\xefve"])
    done = tovec("embed", "-p", "local", *options, "--encoding-errors", "replace", input=line)
    assert rows_of(done.stdout)[0]["text"] == "na\ufffdve"


def test_a_row_of_the_wrong_length_stops_the_run_and_is_named(tovec, tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("text,n\na,1\nb\n")
    done = tovec("embed", "-p", "local", "-f", source)
    assert done.returncode == 6
    assert b"1 fields, the header 2" in done.stderr and b"in.csv, line 3" in done.stderr
