"""Dirty input as a user meets it (147 to 166); formats one by one are in tests/formats."""

from __future__ import annotations

import codecs
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import Run
from tests.faults.injection import Job, failed

from tovec import formats
from tovec.errors import TovecError
from tovec.formats.protocols import ReadOptions

MARKUP = ["[/b]", "[bold]x", "%s %n", "{}", "{text}", "$(id)", "`id`", "\\x1b[31m", "&amp;", "#1"]


def rows_of(output: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.split(b"\n") if line]


@pytest.mark.parametrize("name", ["utf-16", "utf-32"])
def test_wide_encodings_are_named_by_line_and_byte(job: Job, name: str) -> None:
    """#148"""
    path = job.place / "rows.txt"
    path.write_bytes("first line\nzweite Zeile mit ä\n".encode(name))
    job.rows = path
    done = job.run()
    failed(done, 6, "is not UTF-8", "line 1", "byte 1", f"--encoding {name}")
    assert not job.server.ledger.entries


def test_every_character_but_a_line_end_reaches_the_endpoint_and_comes_back(job: Job) -> None:
    """#149 #150 #147: NUL, C0, C1, separators, a mark inside, noncharacters."""
    texts = [f"a{chr(code)}b" for code in range(0xA0) if chr(code) not in "\n\r"]
    texts += [
        "a\u2028b\u2029c",
        "a\ufeffb",
        "a\ufffe",
        "\U0010ffff",
        "é",
        "\u0065\u0301",
    ]
    path = job.place / "rows.txt"
    path.write_bytes(codecs.BOM_UTF8 + "\r\n".join(texts).encode())
    job.rows = path
    assert job.run().returncode == 0
    job.right(texts)
    sent = [one for entry in job.server.ledger.entries for one in json.loads(entry.body)["input"]]
    assert sorted(sent) == sorted(texts)
    assert all(ord(one) >= 32 for e in job.server.ledger.entries for one in e.body.decode())


def test_an_input_without_end_is_answered_as_it_comes(tovec: Run) -> None:
    """#154: `yes`, of which a reader takes what it wants."""
    done = subprocess.run(
        ["sh", "-c", f"yes text | {sys.executable} -m tovec embed -p local -d 2 | head -n 20000"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 20_000
    assert done.stderr == b""


def test_a_damaged_row_is_told_without_its_text(tovec: Run, tmp_path: Path) -> None:
    """#155"""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n{"text": "a secret of the user", bad}\n')
    done = tovec("embed", "-p", "local", "-f", path)
    assert done.returncode == 6
    assert b"line 2" in done.stderr and b"column" in done.stderr
    assert b"secret" not in done.stderr


IDS = ['"a"', "1", '"1"', "18446744073709551616", "-0.0", "null", '"x\\ny"', '"\\u001b[31m"', "1e5"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.npy"])
def test_ids_come_out_as_they_came_in(job: Job, name: str) -> None:
    """#158"""
    job.rows.write_text("".join(f'{{"id":{one},"text":"row {i}"}}\n' for i, one in enumerate(IDS)))
    done = job.run("--id-field", "id", output=name)
    assert done.returncode == 0, done.stderr
    if name == "out.npy":
        found = [row["id"] for row in rows_of((job.place / "out.npy.ids.jsonl").read_bytes())]
        assert found == [json.loads(one) for one in IDS]
        return
    lines = job.out.read_text().splitlines()
    assert [line.partition(',"text"')[0] for line in lines] == [f'{{"id":{one}' for one in IDS]


def test_a_key_that_stands_twice_counts_by_its_last_value_and_both_pass_through(job: Job) -> None:
    """#159"""
    job.rows.write_text('{"text":"first","n":1,"n":2,"text":"last"}\n')
    assert job.run().returncode == 0
    assert json.loads(job.server.ledger.entries[0].body)["input"] == ["last"]
    assert job.out.read_text().startswith('{"text":"first","n":1,"n":2,"text":"last","embedding"')


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_json_does_not_know_are_their_rows_error(job: Job, literal: str) -> None:
    """#161"""
    job.rows.write_text(f'{{"text":"a","n":1}}\n{{"text":"b","n":{literal}}}\n')
    assert job.run().returncode == 3
    job.right(["a"])
    (reject,) = rows_of((job.place / "out.jsonl.rejects.jsonl").read_bytes())
    assert (reject["line"], reject["kind"]) == (2, "syntax")
    assert literal in str(reject["row"])


def test_a_nan_in_a_column_of_parquet_is_null_in_json(tovec: Run, tmp_path: Path) -> None:
    """#161: outputs are strict JSON."""
    table = pa.table({"text": ["a", "b"], "n": [float("nan"), float("inf")]})
    pq.write_table(table, tmp_path / "in.parquet")
    done = tovec("embed", "-p", "local", "-f", tmp_path / "in.parquet")
    assert done.returncode == 0, done.stderr

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    rows = [json.loads(line, parse_constant=refuse) for line in done.stdout.splitlines()]
    assert [row["n"] for row in rows] == [None, None]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_damaged_table_is_read_or_named_and_nothing_else(tmp_path: Path, kind: str) -> None:
    """#162: bytes changed, cut, doubled at random places, in memory that is bounded."""
    table = pa.table({"text": [f"text {i} {'é' * (i % 9)}" for i in range(200)], "n": range(200)})
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=50)
    else:
        lines = [f'"{text}",{i}' for i, text in enumerate(table["text"].to_pylist())]
        path.write_text("\n".join(["text,n", *lines]) + "\n")
    whole = path.read_bytes()
    chance = random.Random(162)
    outcomes = {"read": 0, "named": 0}
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            match chance.randrange(4):
                case 0:
                    damaged[at] = chance.randrange(256)
                case 1:
                    del damaged[at : at + chance.randint(1, 40)]
                case 2:
                    damaged[at:at] = damaged[at : at + chance.randint(1, 40)]
                case 3:
                    damaged[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b'"",\n'])
            if not damaged:
                break
        path.write_bytes(damaged)
        try:
            blocks = list(formats.read([str(path)], ReadOptions()))
        except TovecError as error:
            assert error.exit_code == 6, error.what
            assert str(path) in error.where
            outcomes["named"] += 1
        else:
            assert sum(len(block.inputs) for block in blocks) <= 400
            named = any(block.problems for block in blocks)
            outcomes["named" if named else "read"] += 1
    assert min(outcomes.values()) > 5, outcomes


def test_a_parquet_file_that_lies_about_its_size_takes_no_memory(tmp_path: Path) -> None:
    """#162: a footer of 2 GB in a file of some bytes, under a limit of memory."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1" + bytes(100) + (0x7FFFFFFF).to_bytes(4, "little") + b"PAR1")
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "from tovec.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "embed", "-p", "local", "-f", str(path)],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    failed(done, 6, "cannot be read as Parquet")


def test_a_fifo_is_kept_for_the_next_run(job: Job) -> None:
    """#163: also where it comes as <(command)."""
    pipe = job.place / "pipe"
    os.mkfifo(pipe)
    text = job.rows.read_text()
    job.rows = pipe
    feeder = threading.Thread(target=pipe.write_text, args=(text,))
    feeder.start()
    done = job.run("--input-format", "jsonl")
    feeder.join()
    assert done.returncode == 0, done.stderr
    job.right()
    words = " ".join(f"'{word}'" for word in job.command("--force", "--input-format", "jsonl"))
    words = words.replace(f"'{pipe}'", f"<(cat '{job.out}')")
    done = subprocess.run(["bash", "-c", words], cwd=job.place, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    job.right()


def test_what_is_inside_the_jobs_own_directory_is_no_input_of_a_directory(job: Job) -> None:
    """#163"""
    folder = job.place / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("one\ntwo\n")
    job.rows = folder
    for _ in range(2):
        done = job.run("--keep-job", "--force", output="texts/out.jsonl")
        assert done.returncode == 0, done.stderr
        job.right(["one", "two"], folder / "out.jsonl")


NAMES = [b"-", b"--", b"--help", b"a\nb*.txt", b"\xff\x1b[31m.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_input_and_output_and_shown_escaped(job: Job, name: bytes) -> None:
    """#164 #165"""
    place = os.fsencode(job.place)
    with open(place + b"/" + name, "wb") as file:
        file.write(b"some text\n\xff\n")
    words: list[bytes] = [os.fsencode(word) for word in job.command("--encoding-errors", "replace")]
    words[words.index(os.fsencode(job.rows))] = b"./" + name
    words[words.index(b"out.jsonl")] = b"out" + name + b".jsonl"
    done = subprocess.run(words, cwd=job.place, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    with open(place + b"/out" + name + b".jsonl", "rb") as file:
        assert [row["text"] for row in rows_of(file.read())] == ["some text", "\ufffd"]
    assert b"\x1b" not in done.stderr and len(done.stderr.splitlines()) == 1
    with open(place + b"/" + name, "wb") as file:
        file.write(b"caf\xe9\n")
    words = [sys.executable.encode(), *b"-m tovec embed -p local -f".split(), b"./" + name]
    done = subprocess.run(words, cwd=job.place, capture_output=True, timeout=60, check=False)
    failed(done, 6, "is not UTF-8")
    assert b"\x1b" not in done.stderr


def test_a_name_that_is_no_text_is_written_down_in_rejects_and_paths(
    tovec: Run, tmp_path: Path
) -> None:
    """#164"""
    folder = os.fsencode(tmp_path)
    with open(folder + b"/\xff.jsonl", "wb") as file:
        file.write(b'{"text":"fine"}\n{"text":5}\n')
    done = tovec(
        "batch", "-p", "local", os.fsdecode(b"\xff.jsonl"), "-o", "out.jsonl", cwd=tmp_path
    )
    assert done.returncode == 3, done.stderr
    (reject,) = rows_of((tmp_path / "out.jsonl.rejects.jsonl").read_bytes())
    assert reject["source"] == "\\xff.jsonl"
    options = ("--input-format", "text", "-f", os.fsdecode(b"\xff.jsonl"))
    (row,) = rows_of(tovec("embed", "-p", "local", *options, cwd=tmp_path).stdout)
    assert row["path"] == "\\xff.jsonl"


def test_markup_and_formats_are_text_everywhere(job: Job) -> None:
    """#165 #183: in texts, ids, fields, the model's name and the server's words."""
    rows = [{"id": one, one: one, "text": one} for one in MARKUP]
    job.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert job.run("--id-field", "id").returncode == 0
    found = rows_of(job.out.read_bytes())
    assert [{k: v for k, v in row.items() if k != "embedding"} for row in found] == rows
    job.server.model = "another"
    name = "[/b] %s {}"
    failed(job.run("--force", "-m", name, "--job-dir", "x"), 5, f"`{name}`")
