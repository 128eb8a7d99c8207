"""Every input format through `tovec embed`, as a user runs it."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.inside import Done, run
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
    """#162"""
    source = tmp_path / "in.csv"
    source.write_text("text,n\na,1\nb\n")
    done = tovec("embed", "-p", "local", "-f", source)
    assert done.returncode == 6
    assert b"1 field, the header 2" in done.stderr and b"in.csv, line 3" in done.stderr


# Long texts ------------------------------------------------------------------------------------

PARAGRAPH = "The quick brown fox jumps over the lazy dog. It does so every day.\n\n"


def test_a_long_text_is_split_into_rows_with_their_places(tovec, tmp_path, jsonl):
    text = PARAGRAPH * 10
    source = jsonl([{"id": 1, "text": "short"}, {"id": 2, "text": text}])
    target = tmp_path / "out.parquet"
    options = ["--long", "split", "--chunk-tokens", "40"]
    done = tovec("embed", "-p", "local", "-f", source, "-o", target, *options)
    assert done.returncode == 0
    assert b"1 long text was split into" in done.stderr
    table = pq.read_table(target)
    assert table.schema.names == ["id", "text", "chunk", "start", "end", "embedding"]
    rows = table.to_pylist()
    chunks = [row["text"][row["start"] : row["end"]] for row in rows]
    assert chunks[0] == "short"
    assert "".join(chunks[1:]) == text
    assert [row["chunk"] for row in rows] == [0, *range(len(rows) - 1)]
    assert max(tokens.count_batch(chunks)) <= 40
    assert_vectors([row["embedding"] for row in rows], chunks)


def test_overlapping_chunks_are_written_as_json_lines(tovec):
    options = ["--long", "split", "--chunk-tokens", "40", "--overlap", "15"]
    done = tovec("embed", "-p", "local", "-0", *options, input=PARAGRAPH * 4)
    rows = rows_of(done.stdout)
    assert len(rows) > 2
    assert all(a["end"] > b["start"] > a["start"] for a, b in pairwise(rows))


def test_the_mean_of_a_long_text_is_that_of_its_chunks_by_tokens(tovec):
    text = PARAGRAPH * 10
    parts = tovec(
        "embed", "-p", "local", "-0", "--long", "split", "--chunk-tokens", "45", input=text
    )
    rows = rows_of(parts.stdout)
    weights = tokens.count_batch([text[row["start"] : row["end"]] for row in rows])
    vectors = np.array([row["embedding"] for row in rows])
    expected = (vectors * np.array(weights)[:, None]).sum(axis=0)
    expected /= np.linalg.norm(expected)
    done = tovec("embed", "-p", "local", "-0", "--long", "mean", "--chunk-tokens", "45", input=text)
    (row,) = rows_of(done.stdout)
    assert list(row) == ["index", "text", "embedding"]
    assert np.allclose(row["embedding"], expected, atol=1e-6)
    assert b"1 long text was given the mean of" in done.stderr


def test_a_truncated_text_has_the_vector_of_what_was_kept(tovec):
    text = "日本語 text " * 3000
    done = tovec("embed", "-p", "local", "--long", "truncate", input=text + "\n")
    (row,) = rows_of(done.stdout)
    assert row["text"] == text
    kept = text[: tokens.prefix(text, 0, 8192)]
    assert 8190 <= tokens.count(kept) <= 8192
    assert_vectors([row["embedding"]], [kept])
    assert b"1 long text was truncated to 8,192 tokens" in done.stderr


def test_what_is_not_known_of_a_tokenizer_is_said(tovec):
    with Loopback(dimensions=8) as server:
        options = ["--base-url", server.base_url, "-m", "m", "--long", "split"]
        done = tovec("embed", *options, "--chunk-tokens", "20", input=PARAGRAPH.strip() + "\n")
        sent = [text for entry in server.ledger.entries for text in json.loads(entry.body)["input"]]
    assert b"tokenizer is not known; tokens were estimated at two bytes each" in done.stderr
    assert max(len(text.encode()) for text in sent) <= 40


def test_an_empty_input_has_the_columns_of_chunks(tovec, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("text\n")
    tovec("embed", "-p", "local", "-f", source, "-o", target, "--long", "split")
    assert pq.read_table(target).schema.names == ["text", "chunk", "start", "end", "embedding"]


def test_many_chunks_of_a_large_text_take_little_memory(tovec, tmp_path):
    """#124: Its rows, all with the whole text, would be 2 GB at once, and more than Arrow takes."""
    source, target = tmp_path / "in.txt", tmp_path / "out.parquet"
    source.write_text(PARAGRAPH * 15_000)
    options = ["--input-format", "text", "--long", "split", "--chunk-tokens", "128"]
    limited = f"ulimit -v {2 << 20}; exec {sys.executable} -m tovec embed -p local"
    program = [*options, "-d", "8", "-f", str(source), "-o", str(target)]
    done = subprocess.run(
        ["sh", "-c", f'{limited} "$@"', "sh", *program], capture_output=True, timeout=100
    )
    assert (done.returncode, done.stderr.count(b"was split into")) == (0, 1)
    ends = pq.read_table(target, columns=["start", "end"]).to_pydict()
    assert len(ends["end"]) > 1500
    assert ends["start"][1:] == ends["end"][:-1]


def test_ids_that_came_before_are_counted(tovec, jsonl):
    """#158"""
    source = jsonl([{"id": i, "text": f"t{i}"} for i in (1, 2, 1, 1)] + [{"text": "t"}])
    done = tovec("embed", "-p", "local", "-f", source, "--id-field", "id")
    assert done.returncode == 0
    assert b"1 id appears more than once" in done.stderr
    assert b"1 row has no 'id' field" in done.stderr
    assert len(rows_of(done.stdout)) == 5


@pytest.mark.parametrize("policy", ["truncate", "split", "mean"])
def test_a_job_cuts_long_texts_as_embed_does(tovec, tmp_path, jsonl, policy):
    source = jsonl([{"id": i, "text": PARAGRAPH * i} for i in range(1, 9)])
    options = ["--long", policy, "--chunk-tokens", "40"]
    done = tovec("embed", "-p", "local", "-f", source, "-o", tmp_path / "a.parquet", *options)
    job = tovec("batch", "-p", "local", source, "-o", tmp_path / "b.parquet", *options)
    assert (done.returncode, job.returncode) == (0, 0)
    assert pq.read_table(tmp_path / "a.parquet") == pq.read_table(tmp_path / "b.parquet")
    said = done.stderr.strip().partition(b" ")[2]  # after the time
    assert said in job.stderr


def test_a_dry_run_counts_the_chunks(tovec, tmp_path, jsonl):
    source = jsonl([{"text": "".join(f"Sentence number {i}. " for i in range(100))}])
    options = ["--long", "split", "--chunk-tokens", "20", "--dry-run"]
    done = tovec("batch", "-p", "local", source, "-o", tmp_path / "b.parquet", *options)
    facts = json.loads(done.stdout)
    assert facts["rows"] == 1
    assert facts["texts"] == facts["unique_texts"] > 10


def test_an_empty_job_has_the_columns_of_chunks(tovec, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.parquet"
    source.write_text("text\n")
    tovec("batch", "-p", "local", source, "-o", target, "--long", "split")
    assert pq.read_table(target).schema.names == ["text", "chunk", "start", "end", "embedding"]


def test_rows_that_a_job_cannot_read_are_set_aside_with_their_bytes(tovec, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("text,n\na,1\nb\n,3\nd,4\n")
    done = tovec("batch", "-p", "local", source, "-o", target)
    assert done.returncode == 3
    assert [(row["text"], row["n"]) for row in rows_of(target.read_bytes())] == [("a", 1), ("d", 4)]
    rejects = rows_of((tmp_path / "out.jsonl.rejects.jsonl").read_bytes())
    assert [row["line"] for row in rejects] == [3, 4]


@pytest.mark.parametrize("command", [["embed", "-f", "."], ["batch", "."]])
def test_an_output_among_its_inputs_can_be_made_again(tovec, tmp_path, command):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    for _ in range(2):
        options = ["-p", "local", "-o", "a.parquet", "--force"]
        done = tovec(*command, *options, cwd=tmp_path)
        assert done.returncode == 0
        assert pq.read_table(tmp_path / "a.parquet")["text"].to_pylist() == ["one", "two"]


def batch_of_a_pipe(pipe, data: bytes, *options: object) -> Done:
    """Run a batch whose input is a FIFO that delivers `data`."""
    os.mkfifo(pipe)
    feeder = threading.Thread(target=pipe.write_bytes, args=(data,))
    feeder.start()
    done = run("batch", pipe, "-p", "local", "-o", pipe.parent / "o.jsonl", "--force", *options)
    feeder.join()
    pipe.unlink()
    return done


def test_rows_of_a_pipe_are_named_as_the_pipe_was(tmp_path):
    """#263: the job reads a copy, whose path says nothing to the user."""
    dirty = b'{"text": "one"}\n{"text": \n{"text": 3}\n'
    pipe = tmp_path / "rows.jsonl"
    done = batch_of_a_pipe(pipe, dirty)
    assert done.code == 3
    rejects = rows_of((tmp_path / "o.jsonl.rejects.jsonl").read_bytes())
    assert [row["source"] for row in rejects] == [str(pipe)] * 2
    for name, data, where, options in (
        ("rows.jsonl", dirty, ", line 2", ("--on-error", "stop", "--job-dir", tmp_path / "job")),
        ("rows.csv", b'text,n\n"one,1\n', ", line 2", ()),
        ("rows.csv", late_csv("1", "1.5"), f", line {LATE_LINE}", ()),
        ("rows.csv", b"text\none\n", "", ("--text-field", "body")),
        ("rows.parquet", b"PAR1 and no more", "", ()),
        ("rows.arrow", b"ARROW1\0\0 and no more", "", ()),
        ("rows.json", b'[{"text": "one"', "", ()),
        ("rows.jsonl.gz", b"\x1f\x8b and no more", "", ()),
    ):
        done = batch_of_a_pipe(tmp_path / name, data, *options)
        assert done.code == 6, done.err
        assert f"  at {tmp_path / name}{where}".encode() in done.err
        assert b".tovec/" not in done.err
    done = batch_of_a_pipe(tmp_path / "a.txt", b"one text", "--input-format", "text")
    assert done.code == 0, done.err
    (row,) = rows_of((tmp_path / "o.jsonl").read_bytes())
    assert row["path"] == str(tmp_path / "a.txt")


LATE_LINE = 13  # of the late value: 12 rows of 100 kB are before it, more than the first MiB


def late_csv(early: str, late: str) -> bytes:
    """Return a CSV file whose last value is of another type than those of its first MiB."""
    values = [early] * (LATE_LINE - 2) + [late]
    return "".join(
        ["text,pad,v\n", *(f"row {i},{'x' * 100_000},{value}\n" for i, value in enumerate(values))]
    ).encode()


@pytest.mark.parametrize("command", ["embed", "batch"])
@pytest.mark.parametrize(
    ("kind", "early", "late"),
    [
        ("whole numbers", "12", "2.10"),
        ("whole numbers", "-7", "007"),
        ("decimal numbers", "2.5", "2.10"),
        ("true and false", "true", "TRUE"),
        ("dates", "2024-02-29", "2024-02-30"),
        ("times", "2024-02-29T01:02:03", "2024-02-29 01:02:03"),
        ("times in UTC", "2024-02-29T01:02:03+00:00", "2024-02-29T01:02:03Z"),
    ],
)
def test_a_late_value_of_another_type_is_named_with_the_way_out(
    command, kind, early, late, tmp_path
):
    """#264: types are known from the first MiB; with --csv-types text nothing is paid twice."""
    path, target = tmp_path / "rows.csv", tmp_path / "o.jsonl"
    path.write_bytes(late_csv(early, late))
    with Loopback(dimensions=8) as server:
        source = [path] if command == "batch" else ["-f", path]
        line = [command, *source, "-o", target, "--base-url", server.base_url, "-m", "m"]
        done = run(*line)
        assert done.code == 6
        said = done.err.decode()
        assert f"the column 'v' holds {kind} in the first rows, but '{late}' here" in said
        assert f"  at {path}, line {LATE_LINE}\n  --csv-types text" in said
        assert not target.exists()
        again = run(*line, "--csv-types", "text")
        assert again.code == 0, again.err
        asked = [text for one in server.ledger.entries for text in json.loads(one.body)["input"]]
    assert [row["v"] for row in rows_of(target.read_bytes())] == [early] * 11 + [late]
    if command == "batch":
        assert sorted(asked) == sorted({*asked})
