"""`tovec embed` as a user runs it: real processes, real files, real HTTP on loopback."""

import gzip
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.cli.inside import run
from tests.servers.loopback import Fault, Loopback, vectors_for

from tovec.local.model import StaticModel, normalise_text
from tovec.text import tokens

KEY = "sk-canary-0123456789abcdefABCDEF"


def local_vectors(*texts: str) -> np.ndarray:
    model = StaticModel.load()
    return model.embed(tokens.encode_batch([normalise_text(text) for text in texts]))


def rows_of(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def floats(row: dict) -> np.ndarray:
    return np.array(row["embedding"], np.float32)


# Input and output ------------------------------------------------------------------------------


def test_a_line_from_stdin_becomes_a_row_with_the_models_own_vector(tovec):
    done = tovec("embed", "-p", "local", input="hello\n")
    (row,) = rows_of(done.stdout)
    assert (row["index"], row["text"], done.returncode) == (0, "hello", 0)
    assert np.array_equal(floats(row), local_vectors("hello")[0])
    assert done.stderr == b""


def test_arguments_are_embedded_in_order(tovec):
    done = tovec("embed", "-p", "local", "one", "two words", "--", "-dash")
    assert [row["text"] for row in rows_of(done.stdout)] == ["one", "two words", "-dash"]


def test_texts_between_nuls_may_hold_line_feeds(tovec):
    done = tovec("embed", "-p", "local", "-0", input=b"a\nb\0c\0")
    assert [row["text"] for row in rows_of(done.stdout)] == ["a\nb", "c"]


def test_blank_lines_are_skipped_with_a_counted_warning(tovec):
    """#152"""
    done = tovec("embed", "-p", "local", input="one\n\n  \ntwo\n")
    assert [(r["index"], r["text"]) for r in rows_of(done.stdout)] == [(0, "one"), (3, "two")]
    assert b"2 blank lines were skipped" in done.stderr


def test_a_json_row_passes_through_unchanged_with_its_vector_added(tovec):
    row = b'{"n":18446744073709551616123, "f":1.10, "text":"x y","nested":{"a":[null,true]}}'
    done = tovec("embed", "-p", "local", "--input-format", "jsonl", input=row + b"\n")
    assert done.stdout.startswith(row[:-1] + b',"embedding":[')


def test_an_older_embedding_in_a_row_gives_way(tovec):
    line = json.dumps({"embedding": [1.0], "text": "x", "id": 7})
    done = tovec("embed", "-p", "local", "--input-format", "jsonl", input=line + "\n")
    (row,) = rows_of(done.stdout)
    assert done.stdout.count(b'"embedding"') == 1
    assert np.array_equal(floats(row), local_vectors("x")[0])
    assert row["id"] == 7


def test_columns_are_chosen_and_a_template_joins_fields(tovec, jsonl):
    path = jsonl([{"id": 1, "title": "T", "body": "B {x}", "other": 2}])
    template = "{title}: {body} {{}}"
    done = tovec("embed", "-p", "local", "-f", path, "--template", template, "--columns", "id")
    (row,) = rows_of(done.stdout)
    assert list(row) == ["id", "embedding"]
    assert np.array_equal(floats(row), local_vectors("T: B {x} {}")[0])


def test_gzip_is_opened_as_it_is_and_several_files_are_numbered_through(tovec, tmp_path):
    """#163"""
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (tmp_path / "b.txt").write_bytes(b"three")
    done = tovec("embed", "-p", "local", "-f", tmp_path / "a.txt.gz", "-f", tmp_path / "b.txt")
    assert [(r["index"], r["text"]) for r in rows_of(done.stdout)] == [
        (0, "one"),
        (1, "two"),
        (2, "three"),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parquet_opens_in_pandas_duckdb_and_pyarrow(tovec, jsonl, tmp_path, dtype):
    source = jsonl([{"id": i, "text": f"row {i}", "score": i / 3} for i in range(700)])
    target = tmp_path / "out.parquet"
    done = tovec("embed", "-p", "local", "-f", source, "-o", target, "--dtype", dtype)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    table = pq.read_table(target)
    expected = local_vectors(*[f"row {i}" for i in range(700)]).astype(dtype)
    found = np.stack(table["embedding"].to_numpy())
    assert np.array_equal(found, expected)
    assert str(table.schema.field("embedding").type).startswith("fixed_size_list")
    assert table["id"].to_pylist() == list(range(700))
    assert table["score"].to_pylist() == [i / 3 for i in range(700)]
    assert table.schema.metadata[b"tovec.model"] == b"static-minilm-256"
    assert table.schema.metadata[b"tovec.dimensions"] == b"256"
    assert len(pd.read_parquet(target)["embedding"][0]) == 256
    count = duckdb.sql(f"select count(*), min(len(embedding)) from '{target}'").fetchall()
    assert count == [(700, 256)]


def test_npy_is_mapped_by_numpy_and_described_beside_it(tovec, jsonl, tmp_path):
    source = jsonl([{"key": f"k{i}", "text": f"row {i}"} for i in range(40)])
    target = tmp_path / "out.npy"
    done = tovec("embed", "-p", "local", "-f", source, "-o", target, "--id-field", "key")
    assert done.returncode == 0
    matrix = np.load(target, mmap_mode="r")
    assert np.array_equal(matrix, local_vectors(*[f"row {i}" for i in range(40)]))
    about = json.loads((tmp_path / "out.npy.json").read_text())
    assert (about["rows"], about["dimensions"], about["model"]) == (40, 256, "static-minilm-256")
    ids = rows_of((tmp_path / about["ids"]).read_bytes())
    assert ids[3] == {"index": 3, "id": "k3"}


def test_npy_names_the_input_rows_when_some_were_skipped(tovec, tmp_path):
    target = tmp_path / "out.npy"
    tovec("embed", "-p", "local", "-o", target, input="a\nb\n\nc\n")
    ids = rows_of((tmp_path / "out.npy.ids.jsonl").read_bytes())
    assert [one["index"] for one in ids] == [0, 1, 3]


@pytest.mark.parametrize("name", ["out.parquet", "out.npy", "out.jsonl"])
def test_an_empty_input_gives_a_valid_empty_output(tovec, tmp_path, name):
    """#152"""
    target = tmp_path / name
    done = tovec("embed", "-p", "local", "-o", target)
    assert done.returncode == 0
    if name.endswith("parquet"):
        schema = pq.read_schema(target)
        assert schema.names == ["index", "text", "embedding"]
        assert schema.field("embedding").type.list_size == 256
    elif name.endswith("npy"):
        assert np.load(target).shape == (0, 256)
    else:
        assert target.read_bytes() == b""


def test_dimensions_are_asked_for(tovec):
    done = tovec("embed", "-p", "local", "-d", 64, "hi")
    vector = floats(rows_of(done.stdout)[0])
    whole = local_vectors("hi")[0, :64].astype(float)
    assert np.allclose(vector, whole / np.linalg.norm(whole), atol=1e-6)


# The shell ------------------------------------------------------------------------------------


def test_head_takes_one_line_without_a_murmur():
    """#132"""
    script = f"seq 200000 | {sys.executable} -m tovec embed -p local | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f'{script}; echo "${{PIPESTATUS[1]}}"'],
        capture_output=True,
        timeout=60,
        check=False,
    )
    first, status = done.stdout.splitlines()
    assert json.loads(first)["text"] == "1"
    assert (status, done.stderr) == (b"141", b"")


def test_a_full_disk_behind_stdout_is_an_error(tovec):
    """#134"""
    with open("/dev/full", "wb") as full:
        done = tovec("embed", "-p", "local", "hi", stdout=full)
    assert done.returncode == 7
    assert b"No space left" in done.stderr


def test_closed_standard_files_are_no_reason_to_crash(tmp_path):
    """#133"""
    target = tmp_path / "o.jsonl"
    command = f"{sys.executable} -m tovec embed -p local hi -o {target} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], timeout=60, check=False).returncode == 0
    assert json.loads(target.read_bytes())["text"] == "hi"


def test_rows_come_out_while_the_input_stays_open():
    program = subprocess.Popen(
        [sys.executable, "-m", "tovec", "embed", "-p", "local"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        for text in ("first", "second"):
            program.stdin.write(text.encode() + b"\n")
            program.stdin.flush()
            assert json.loads(program.stdout.readline())["text"] == text
        program.stdin.close()
    assert program.returncode == 0


def test_rows_come_out_while_the_input_stays_open_over_a_network():
    with Loopback(dimensions=8) as server:
        options = ["--base-url", server.base_url, "-m", "m"]
        program = subprocess.Popen(
            [sys.executable, "-m", "tovec", "embed", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with program:
            for text in ("first", "second"):
                program.stdin.write(text.encode() + b"\n")
                program.stdin.flush()
                assert json.loads(program.stdout.readline())["text"] == text
            program.stdin.close()
        assert program.returncode == 0
        assert len(server.ledger.entries) == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -2), (signal.SIGTERM, -15), (signal.SIGHUP, -1)]
)
def test_a_signal_ends_the_run_by_that_signal_and_leaves_no_output(tmp_path, number, code):
    """#131"""
    target = tmp_path / "o.jsonl"
    with Loopback(dimensions=8, faults=[Fault("hang")]) as server:
        options = ["--base-url", server.base_url, "-m", "m"]
        program = subprocess.Popen(
            [sys.executable, "-m", "tovec", "embed", "hi", *options, "-o", target],
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 30
        while not server.ledger.entries and time.monotonic() < deadline:
            time.sleep(0.01)
        program.send_signal(number)
        _, said = program.communicate(timeout=30)
    assert program.returncode == code
    assert b"Traceback" not in said
    assert os.listdir(tmp_path) == []


def five_at_once(place, server, rows=30):
    """Write a config of five inputs per request, and rows; return the words of a command."""
    (place / "rows.txt").write_text("".join(f"text {i}\n" for i in range(rows)))
    (place / "c.toml").write_text(
        f'[providers.a]\nbase_url = "{server.base_url}"\nlimits = {{ items = 5 }}\n'
    )
    words = ["embed", "-f", place / "rows.txt", "--config", place / "c.toml", "-p", "a", "-m", "m"]
    return [str(one) for one in words]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_every_answered_row_and_says_how_many(tmp_path, number):
    """#214: three requests were paid for, and nothing was written or said."""
    with Loopback(dimensions=8, faults=[Fault("hang", at=range(4, 99))]) as server:
        words = five_at_once(tmp_path, server)
        program = subprocess.Popen(
            [sys.executable, "-m", "tovec", *words, "--concurrency", "1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while len(server.ledger.entries) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        program.send_signal(number)
        out, said = program.communicate(timeout=30)
    assert program.returncode == -number
    assert [row["text"] for row in rows_of(out)] == [f"text {i}" for i in range(15)]
    assert b"stopped: 15 rows written; `tovec batch` keeps what it receives" in said


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (503, 4, "tries the endpoint; `tovec batch` keeps what it receives, and resumes"),
        (402, 5, "15 rows written; `tovec batch` keeps what it receives, and resumes"),
    ],
)
def test_an_error_leaves_every_answered_row_and_names_batch(tmp_path, status, code, words):
    """#214: "run the same command again later" pays for everything again."""
    fault = Fault("status", status=status, text="text 15")
    with Loopback(dimensions=8, faults=[fault]) as server:
        options = ("--concurrency", "1", "--max-retries", "0")
        done = run(*five_at_once(tmp_path, server), *options)
        target = tmp_path / "o.npy"
        whole = run(*five_at_once(tmp_path, server), *options, "-o", target)
    assert done.code == code
    assert len(rows_of(done.out)) == 15
    assert "stopped: 15 rows written" in done.err.decode()
    assert words in done.err.decode()
    assert whole.code == code
    assert not target.exists()
    assert "no row written; " in whole.err.decode()


def on_a_terminal(*arguments: str, columns: int = 80) -> str:
    """Run tovec on a pseudo-terminal; give what it shows."""
    parent, child = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    program = subprocess.Popen(
        [sys.executable, "-m", "tovec", *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        env={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")},
    )
    os.close(child)
    shown = b""
    while select.select([parent], [], [], 30)[0]:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    program.wait(30)
    os.close(parent)
    return shown.decode()


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_terminal_shows_a_short_table_that_fits(columns):
    shown = on_a_terminal("embed", "-p", "local", "hello", "東京 " * 60, columns=columns)
    lines = shown.splitlines()
    assert lines[0].split() == ["index", "text", "dims", "values"]
    assert lines[1].split()[:3] == ["0", "hello", "256"]
    from rich.cells import cell_len

    assert all(cell_len(line) <= columns for line in lines)


def test_escape_codes_in_a_text_reach_the_terminal_inert():
    """#182 #183"""
    shown = on_a_terminal("embed", "-p", "local", "a\x1b[31mred\x9b1m\u202eback[b]x[/b]")
    assert "\x1b" not in shown and "\x9b" not in shown and "\u202e" not in shown
    assert "\\x1b[31mred" in shown


# Outputs that must not be harmed ----------------------------------------------------------------


def test_an_existing_output_needs_force(tovec, tmp_path):
    target = tmp_path / "o.jsonl"
    target.write_text("precious")
    refused = tovec("embed", "-p", "local", "hi", "-o", target)
    assert (refused.returncode, target.read_text()) == (7, "precious")
    assert b"--force" in refused.stderr
    assert tovec("embed", "-p", "local", "hi", "-o", target, "--force").returncode == 0
    assert json.loads(target.read_bytes())["text"] == "hi"


def test_a_failed_run_leaves_the_previous_output_and_no_scraps(tovec, tmp_path, jsonl):
    target = tmp_path / "o.parquet"
    target.write_text("precious")
    source = jsonl([{"text": "good"}, {"text": 5}])
    done = tovec("embed", "-p", "local", "-f", source, "-o", target, "--force")
    assert done.returncode == 6
    assert target.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["o.parquet", "rows.jsonl"]


# Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": 5}', [b"'text' holds a number", b"line 2"]),
        (b'{"text": null}', [b"holds null"]),
        (b'{"txt": "x"}', [b"no field 'text'", b"the row has: txt"]),
        (b'{"text": "x"', [b"not JSON", b"column"]),
        (b'["text"]', [b"holds an array, not an object"]),
        (b'{"text": "\xff"}', [b"0xff", b"is not UTF-8"]),
        (b'{"text": "\\ud800"}', [b"surrogate"]),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_file_and_line(tovec, tmp_path, line, words):
    """#151 #155 #156 #157"""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"text":"fine"}\n' + line + b"\n")
    done = tovec("embed", "-p", "local", "-f", path)
    assert done.returncode == 6
    assert all(word in done.stderr for word in [*words, b"bad.jsonl, line 2"])
    assert len(done.stderr.splitlines()) <= 3


def test_an_empty_text_is_left_out_counted_and_exit_3(tovec, jsonl):
    """#153"""
    done = tovec("embed", "-p", "local", "-f", jsonl([{"text": "a"}, {"text": " "}, {"text": "b"}]))
    assert [row["text"] for row in rows_of(done.stdout)] == ["a", "b"]
    assert done.returncode == 3
    assert b"1 row was left out" in done.stderr and b"line 2" in done.stderr


def test_a_text_over_the_models_limit_is_named(tovec, tmp_path):
    """#160"""
    path = tmp_path / "long.txt"
    path.write_text("short\n" + "word " * 9000 + "\n")
    done = tovec("embed", "-p", "local", "-f", path)
    assert done.returncode == 6
    assert b"9,001 tokens, the model takes 8,192" in done.stderr and b"line 2" in done.stderr


def test_a_long_text_within_the_models_limit_is_embedded(tovec):
    done = tovec("embed", "-p", "local", input="word " * 8100 + "\n")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["embed", "hi"], 2, b"-p local"),
        (["embed", "-p", "lcoal", "hi"], 2, b"did you mean local?"),
        (["embed", "-p", "local", "--dtpye", "x", "hi"], 2, b"--dtype"),
        (["embed", "-p", "local", "--dtype", "int4", "hi"], 2, b"float32"),
        (["embed", "-p", "local", "-o", "x.csv", "hi"], 2, b"parquet"),
        (["embed", "-p", "local", "--format", "npy", "hi"], 2, b"-o OUT.npy"),
        (["embed", "-p", "local", "-m", "other", "hi"], 5, b"does not exist"),
        (["embed", "-p", "local", "-d", "300", "hi"], 5, b"dimensions"),
        (["embed", "-p", "openai", "hi"], 5, b"OPENAI_API_KEY"),
        (["embed", "-p", "local", "-f", "nowhere.txt"], 6, b"no such file"),
        (["embed", "-p", "local", "-o", "no/such/dir/x.jsonl", "hi"], 7, b"directory"),
        (["embed", "--base-url", "http://u:p@h/v1", "-m", "x", "hi"], 2, b"user or a password"),
        (["embed", "--base-url", "127.0.0.1:80", "-m", "x", "hi"], 2, b"https://"),
        (["embed", "--base-url", "http://127.0.0.1:1/v1", "hi"], 2, b"no model"),
        (["embde"], 2, b"did you mean"),
    ],
)
def test_a_mistake_is_explained_in_three_lines_with_its_exit_code(
    tovec, tmp_path, arguments, code, words
):
    """#172 #187"""
    done = tovec(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert done.stdout == b""
    assert os.listdir(tmp_path) == []


def test_errors_can_be_json_lines(tovec):
    """#189"""
    done = tovec("embed", "--log-format", "json", "-p", "local", "-f", "nowhere.txt")
    (said,) = rows_of(done.stderr)
    assert (said["level"], said["code"], said["name"]) == ("error", 6, "InputError")


def test_common_options_hold_before_and_after_the_command(tovec):
    for arguments in (["-q", "embed"], ["embed", "-q"]):
        done = tovec(*arguments, "-p", "local", input="a\n\nb\n")
        assert (done.returncode, done.stderr) == (0, b"")


# Endpoints ----------------------------------------------------------------------------------------


def test_rows_over_http_have_the_vectors_of_their_texts_in_order(tovec, jsonl, tmp_path):
    source = jsonl([{"id": i, "text": f"text {i}"} for i in range(3000)])
    target = tmp_path / "o.parquet"
    with Loopback(dimensions=96, latency=0.02) as server:
        options = ["--base-url", server.base_url, "-m", "m", "-o", target]
        done = tovec("embed", "-f", source, *options)
        assert done.returncode == 0, done.stderr
        assert server.ledger.paid_twice() == 0
    found = np.stack(pq.read_table(target)["embedding"].to_numpy())
    assert np.array_equal(found, vectors_for([f"text {i}" for i in range(3000)], 96))


def test_every_failure_that_passes_is_retried_and_no_row_is_wrong(tovec, jsonl):
    source = jsonl([{"text": f"text {i}"} for i in range(2500)])
    faults = [
        Fault("status", at=[1], status=500),
        Fault("reset", at=[2]),
        Fault("shuffle", at=[3]),
        Fault("cut", at=[4], byte=1000),
        Fault("short", at=[5]),
        Fault("status", at=[6], status=429, headers={"retry-after-ms": "50"}),
    ]
    with Loopback(dimensions=16, faults=faults) as server:
        done = tovec("embed", "-f", source, "--base-url", server.base_url, "-m", "m", "-v")
    assert done.returncode == 0, done.stderr
    found = np.array([row["embedding"] for row in rows_of(done.stdout)], np.float32)
    assert np.array_equal(found, vectors_for([f"text {i}" for i in range(2500)], 16))
    assert b"429" in done.stderr and b"500" in done.stderr
    assert b"info: retried: 1 x " in done.stderr
    assert b"tokens, may have been billed twice" in done.stderr


def test_an_endpoint_that_stays_broken_is_given_up_in_the_time_that_is_asked_for(tovec, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("give_up_after = 900")
    with Loopback(faults=[Fault("reset")]) as server:
        address = ("--base-url", server.base_url, "-m", "m", "--config", config)
        done = tovec("embed", "hi", *address, "--give-up-after", "0.5")
    assert done.returncode == 4
    assert b"s without a success: " in done.stderr
    assert b"may have been billed twice" in done.stderr
    assert len(server.ledger.entries) <= 3


def test_a_row_that_the_endpoint_refuses_is_found_and_the_others_are_kept(tovec, jsonl):
    source = jsonl([{"text": f"text {i}" if i != 77 else "POISON"} for i in range(300)])
    refusal = {"error": {"message": "unsupported content", "type": "invalid_request_error"}}
    faults = [Fault("status", text="POISON", status=400, body=refusal)]
    with Loopback(dimensions=8, faults=faults) as server:
        done = tovec("embed", "-f", source, "--base-url", server.base_url, "-m", "m")
    assert done.returncode == 3, done.stderr
    assert len(rows_of(done.stdout)) == 299
    assert b"line 78" in done.stderr and b"unsupported content" in done.stderr


def test_a_server_that_takes_few_inputs_at_once_is_learned(tovec, jsonl):
    source = jsonl([{"text": f"text {i}"} for i in range(200)])
    with Loopback(dimensions=8, items=10) as server:
        done = tovec("embed", "-f", source, "--base-url", server.base_url, "-m", "m")
    assert done.returncode == 0, done.stderr
    assert len(rows_of(done.stdout)) == 200


def test_an_answer_in_floats_or_without_base64_gives_the_same_vectors(tovec):
    expected = vectors_for(["hi"], 8)
    for base64 in ("ignore", "refuse"):
        with Loopback(dimensions=8, base64=base64) as server:
            done = tovec("embed", "hi", "--base-url", server.base_url, "-m", "m")
        assert done.returncode == 0, done.stderr
        assert np.array_equal(floats(rows_of(done.stdout)[0]), expected[0])


def test_dimensions_that_the_endpoint_ignores_are_cut_here_when_the_model_allows(tovec):
    with Loopback(dimensions=32, resizes="ignore") as server:
        options = ["--base-url", server.base_url, "-d", "8", "hi"]
        done = tovec("embed", "-m", "text-embedding-3-small", *options)
        refused = tovec("embed", "-m", "unknown-model", *options)
    cut = vectors_for(["hi"], 32)[0, :8].astype(float)
    assert np.allclose(floats(rows_of(done.stdout)[0]), cut / np.linalg.norm(cut), atol=1e-6)
    assert b"--dimensions: tovec cuts 32 to 8" in done.stderr
    assert (refused.returncode, refused.stdout) == (5, b"")


def test_further_fields_and_the_users_own_provider_reach_the_endpoint(tovec, tmp_path):
    config = tmp_path / "config.toml"
    with Loopback(dimensions=8) as server:
        config.write_text(
            f'provider = "mine"\n[providers.mine]\nbase_url = "{server.base_url}"\n'
            'default_model = "my-model"\ndimensions_field = "output_dimension"\n'
            'key_env = "MY_KEY"\n'
        )
        options = ["--config", config, "--extra", "input_type=passage", "--user", "u1", "-d", 4]
        done = tovec("embed", "hi", *options, env={"MY_KEY": KEY})
        (entry,) = server.ledger.entries
    body = json.loads(entry.body)
    assert done.returncode == 0 or b"dimensions" in done.stderr
    assert body["input"] == ["hi"]
    assert body["input_type"] == "passage"
    assert body["output_dimension"] == 4
    assert (body["model"], body["user"]) == ("my-model", "u1")
    assert entry.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Fault("status", status=401), 5, b"401"),
        (Fault("status", status=402), 5, b"credit"),
        (Fault("status", status=404), 5, b"/v1"),
        (Fault("status", status=302, headers={"location": "http://127.0.0.2/x"}), 5, b"redirect"),
        (
            Fault(
                "status",
                status=429,
                body={"error": {"code": "insufficient_quota", "message": "no more"}},
            ),
            5,
            b"credit",
        ),
        (Fault("status", status=429, headers={"retry-after": "86400"}), 4, b"86,400 s"),
    ],
)
def test_what_trying_again_cannot_mend_ends_at_once(tovec, fault, code, words):
    with Loopback(dimensions=8, faults=[fault]) as server:
        done = tovec("embed", "hi", "--base-url", server.base_url, "-m", "m")
        assert len(server.ledger.entries) == 1
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_nothing_behind_the_address_is_exit_4_and_names_it(tovec):
    done = tovec("embed", "hi", "--base-url", "http://127.0.0.1:9/v1", "-m", "m")
    assert done.returncode == 4
    assert b"127.0.0.1:9" in done.stderr


# Keys -------------------------------------------------------------------------------------------


def test_a_key_appears_nowhere_in_what_is_said_or_written(tovec, tmp_path):
    """#170 #171"""
    echo = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "auth"}}
    with Loopback(dimensions=8, faults=[Fault("status", at=[2], status=401, body=echo)]) as server:
        config = tmp_path / "c.toml"
        config.write_text(f'[providers.openai]\nbase_url = "{server.base_url}"\n')
        options = ["--config", config, "-vv", "-p", "openai"]
        env = {"OPENAI_API_KEY": KEY}
        good = tovec("embed", "hi", *options, "-o", tmp_path / "o.jsonl", env=env)
        bad = tovec("embed", "hi", *options, env=env)
        sent = server.ledger.entries[0].headers["authorization"]
    assert (good.returncode, bad.returncode, sent) == (0, 5, f"Bearer {KEY}")
    said = good.stdout + good.stderr + bad.stdout + bad.stderr
    said += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert KEY.encode() not in said
    assert b"***" in bad.stderr


def test_a_crash_shows_no_key_and_no_local_variables(tmp_path):
    """#170"""
    code = (
        "import sys, tovec.endpoint.client as client\n"
        "def crash(self, *_):\n"
        "    raise RuntimeError('crashed with ' + self._key.reveal())\n"
        "client.Client._send = crash\n"
        "sys.argv = ['tovec', 'embed', '-p', 'openai', '-vv', 'secret text']\n"
        "from tovec.__main__ import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENAI_API_KEY": KEY},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 70
    assert b"RuntimeError: crashed with ***" in done.stderr
    assert KEY.encode() not in done.stderr + done.stdout
    assert b"secret text" not in done.stderr
    assert b"report" in done.stderr


def test_a_key_is_not_sent_unencrypted_to_another_machine(tovec):
    """#173"""
    done = tovec(
        "embed",
        "hi",
        "--base-url",
        "http://example.invalid/v1",
        "-m",
        "m",
        env={"TOVEC_API_KEY": KEY},
    )
    assert done.returncode == 5
    assert b"unencrypted" in done.stderr


def test_a_key_for_openai_is_not_sent_to_another_address(tovec):
    with Loopback(dimensions=8) as server:
        env = {"OPENAI_API_KEY": KEY}
        done = tovec("embed", "hi", "--base-url", server.base_url, "-m", "m", env=env)
        (entry,) = server.ledger.entries
    assert done.returncode == 0
    assert "authorization" not in entry.headers


# Start ------------------------------------------------------------------------------------------


def imported_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tovec", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))


def test_version_imports_next_to_nothing():
    found = imported_by("--version")
    assert not found & {"typer", "rich", "numpy", "httpx", "asyncio", "orjson", "tiktoken"}


def test_a_first_vector_loads_neither_network_nor_event_loop_nor_tokenizer():
    found = imported_by("embed", "-p", "local", "hi")
    heavy = {"httpx", "asyncio", "pyarrow", "tiktoken", "regex", "pydantic", "rich", "ssl", "email"}
    assert not found & heavy


def test_a_closed_stdout_is_an_error(tovec):
    """#242: data would vanish with exit 0."""
    for command in ("embed", "similarity"):
        words = f"exec {sys.executable} -m tovec {command} a b -p local >&-"
        done = subprocess.run(["sh", "-c", words], capture_output=True, check=False)
        assert done.returncode == 7, (command, done.stderr)
        assert b"Bad file descriptor" in done.stderr


def test_dev_stdout_is_stdout(tovec):
    done = tovec("embed", "-p", "local", "hi", "-o", "/dev/stdout", "--format", "jsonl")
    assert (done.returncode, done.stdout[:1]) == (0, b"{"), done.stderr


def test_an_input_is_not_replaced_by_its_own_vectors(tovec, tmp_path):
    """#239"""
    source = tmp_path / "n.txt"
    source.write_text("a\n")
    (tmp_path / "link.txt").symlink_to("n.txt")
    for target in ("n.txt", "./n.txt", "link.txt"):
        done = tovec("embed", "-p", "local", "-f", "n.txt", "-o", target, "--format", "jsonl",
                     "--force", cwd=tmp_path)  # fmt: skip
        assert (done.returncode, source.read_text()) == (2, "a\n"), done.stderr


@pytest.mark.parametrize("words", [("--force",), ("--if-exists", "skip")], ids=" ".join)
def test_options_about_an_output_file_need_one(words):
    """They were taken, and did nothing to what goes to stdout."""
    done = run("embed", "-p", "local", "hi", *words)
    assert (done.code, done.out) == (2, b"")
    assert words[0].encode() in done.err and b"-o PATH" in done.err
