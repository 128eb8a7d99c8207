"""`tovec batch` as a user runs it: real processes, real kills, real HTTP on loopback."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.servers.loopback import Fault, Loopback, vectors_for

TEXTS = [f"the text of row {i} says {i * i}" for i in range(120)]


@pytest.fixture
def server():
    with Loopback(dimensions=8) as running:
        yield running


@pytest.fixture
def batch(tovec, tmp_path):
    """Run `tovec batch` in a directory of its own, against a server of ten inputs a request."""

    def run(server, *arguments, **more):
        config = tmp_path / "config.toml"
        config.write_text(
            f'[providers.mine]\nbase_url = "{server.base_url}"\nlimits = {{ items = 10 }}\n'
        )
        options = ("--config", config, "-p", "mine", "-m", "m")
        return tovec("batch", *arguments, *options, cwd=tmp_path, **more)

    return run


@pytest.fixture
def rows(tmp_path, jsonl):
    return jsonl([{"id": i, "text": text} for i, text in enumerate(TEXTS)])


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def right(path, texts=TEXTS, dimensions=8):
    found = read(path)
    assert [row["text"] for row in found] == list(texts)
    vectors = np.array([row["embedding"] for row in found], np.float32)
    assert np.array_equal(vectors, vectors_for(list(texts), dimensions))


# The main thing --------------------------------------------------------------------------------


def test_a_job_writes_its_output_in_input_order_and_leaves_nothing_else(batch, server, rows):
    done = batch(server, rows, "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    right(rows.parent / "out.jsonl")
    assert sorted(os.listdir(rows.parent)) == ["config.toml", "out.jsonl", "rows.jsonl"]
    assert b"120 rows written to out.jsonl, 12 requests" in done.stderr
    assert done.stdout == b""


def test_equal_texts_are_asked_for_once(batch, server, jsonl):
    texts = [TEXTS[i % 70] for i in range(120)]
    path = jsonl([{"text": text} for text in texts])
    done = batch(server, path, "-o", "out.jsonl")
    right(path.parent / "out.jsonl", texts)
    assert server.ledger.paid_twice() == 0
    assert b"50 repeated texts requested once" in done.stderr


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.npy"])
def test_the_output_is_byte_for_byte_the_same_each_time(batch, server, rows, name):
    """#190"""
    out = rows.parent / name
    batch(server, rows, "-o", name)
    first = out.read_bytes()
    server.latency = 0.01
    batch(server, rows, "-o", name, "--force", "--concurrency", "16")
    assert out.read_bytes() == first


def test_a_kept_job_pays_for_changed_rows_only_and_vanished_rows_leave(batch, server, jsonl):
    """#117"""
    jsonl([{"text": text} for text in TEXTS])
    assert batch(server, "rows.jsonl", "-o", "out.jsonl", "--keep-job").returncode == 0
    changed = [*TEXTS[5:60], "a new text", *TEXTS[60:]]
    path = jsonl([{"text": text} for text in changed])
    done = batch(server, "rows.jsonl", "-o", "out.jsonl", "--keep-job", "--stats", "s.json")
    assert done.returncode == 0, done.stderr
    right(path.parent / "out.jsonl", changed)
    assert server.ledger.entries[-1].items == 1
    assert server.ledger.paid_twice() == 0
    stats = json.loads((path.parent / "s.json").read_text())
    assert stats["inputs_reused"] == 115
    assert stats["inputs_asked"] == 1
    assert stats["requests"] == 1


def test_a_finished_kept_job_asks_nothing(batch, server, rows):
    batch(server, rows, "-o", "out.jsonl", "--keep-job")
    before = (rows.parent / "out.jsonl").read_bytes()
    asked = len(server.ledger.entries)
    done = batch(server, rows, "-o", "out.jsonl", "--keep-job", "--stats", "s.json")
    assert done.returncode == 0, done.stderr
    assert (rows.parent / "out.jsonl").read_bytes() == before
    assert len(server.ledger.entries) == asked
    stats = json.loads((rows.parent / "s.json").read_text())
    names = ("rows", "rows_written", "inputs", "inputs_reused", "inputs_asked", "inputs_repeated")
    assert [stats[name] for name in names] == [120, 120, 120, 120, 0, 0]


def test_a_finished_kept_job_goes_by_its_rows_and_not_by_its_files_times(batch, server, rows):
    """As `cp -p` and `rsync` leave them: another content, the same size, time and inode."""
    options = (rows, "-o", "out.jsonl", "--keep-job", "--stats", "s.json")
    batch(server, *options)
    before = rows.stat()
    changed = [*TEXTS[:100], TEXTS[100].replace("row", "ROW"), *TEXTS[101:]]
    rows.write_bytes(rows.read_bytes().replace(b"of row 100 ", b"of ROW 100 "))
    os.utime(rows, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert rows.stat()[:9] == before[:9]
    done = batch(server, *options)
    assert done.returncode == 0, done.stderr
    right(rows.parent / "out.jsonl", changed)
    assert server.ledger.entries[-1].items == 1
    stats = json.loads((rows.parent / "s.json").read_text())
    names = ("rows", "rows_written", "inputs", "inputs_reused", "inputs_asked")
    assert [stats[name] for name in names] == [120, 120, 120, 119, 1]


def test_a_finished_kept_job_asks_for_another_field_of_the_same_file(batch, server, jsonl):
    rows = jsonl([{"text": text, "title": text.upper()} for text in TEXTS])
    batch(server, rows, "-o", "out.jsonl", "--keep-job")
    done = batch(server, rows, "-o", "out.jsonl", "--keep-job", "--text-field", "title")
    assert done.returncode == 0, done.stderr
    found = np.array([row["embedding"] for row in read(rows.parent / "out.jsonl")], np.float32)
    assert np.array_equal(found, vectors_for([text.upper() for text in TEXTS], 8))


def test_the_same_vectors_can_be_written_in_another_format(batch, server, rows):
    job = ("--job-dir", "job", "--keep-job")
    batch(server, rows, "-o", "out.jsonl", *job)
    asked = len(server.ledger.entries)
    assert batch(server, rows, "-o", "out.parquet", *job).returncode == 0
    assert len(server.ledger.entries) == asked
    table = pq.read_table(rows.parent / "out.parquet")
    assert np.array_equal(np.array(table["embedding"].to_pylist()), vectors_for(TEXTS, 8))


def test_without_a_network_the_embedded_model_does_the_job(tovec, rows):
    done = tovec("batch", "rows.jsonl", "-o", "out.npy", "-p", "local", cwd=rows.parent)
    assert done.returncode == 0, done.stderr
    assert np.load(rows.parent / "out.npy", mmap_mode="r").shape == (120, 256)
    assert json.loads((rows.parent / "out.npy.json").read_text())["rows"] == 120


def test_part_files_hold_so_many_rows_each(batch, server, rows):
    done = batch(server, rows, "-o", "parts", "--rows-per-file", "50", "--format", "parquet")
    assert done.returncode == 0, done.stderr
    parts = sorted((rows.parent / "parts").iterdir())
    assert [part.name for part in parts] == [f"part-{n:05}.parquet" for n in range(3)]
    tables = [pq.read_table(part) for part in parts]
    assert [len(table) for table in tables] == [50, 50, 20]
    assert [text for table in tables for text in table["text"].to_pylist()] == TEXTS
    again = batch(server, rows, "-o", "parts", "--rows-per-file", "50", "--format", "parquet")
    assert again.returncode == 7
    assert b"the output exists" in again.stderr
    forced = batch(server, rows, "-o", "parts", "--rows-per-file", "100", "--force")
    assert forced.returncode == 0, forced.stderr
    assert len(list((rows.parent / "parts").iterdir())) == 2


def test_an_empty_input_gives_an_empty_output_of_the_right_columns(batch, server, tmp_path):
    """#152"""
    (tmp_path / "rows.jsonl").touch()
    done = batch(server, "rows.jsonl", "-o", "out.parquet", "-d", "8")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "out.parquet")
    assert (len(table), table.schema.names) == (0, ["embedding"])
    assert not server.ledger.entries


# Kills and signals -----------------------------------------------------------------------------


def start(tmp_path, server, *arguments):
    """Begin a batch as a process of its own."""
    command = [sys.executable, "-m", "tovec", "batch", "rows.jsonl", "--config", "config.toml",
               "-p", "mine", "-m", "m", *arguments]  # fmt: skip
    return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_killed_job_goes_on_where_it_was(batch, server, rows):
    """#127"""
    server.latency = 0.05
    batch(server, rows, "-o", "out.jsonl", "--dry-run")  # writes the config
    child = start(rows.parent, server, "-o", "out.jsonl", "--concurrency", "2")
    wait_for(lambda: server.ledger.statuses[200] >= 5)
    child.kill()
    child.communicate()
    assert not (rows.parent / "out.jsonl").exists()
    done = batch(server, rows, "-o", "out.jsonl", "--concurrency", "2", "--stats", "s.json")
    assert done.returncode == 0, done.stderr
    right(rows.parent / "out.jsonl")
    assert server.ledger.paid_twice() <= 2 * 10
    assert json.loads((rows.parent / "s.json").read_text())["inputs_reused"] >= 20
    assert not (rows.parent / "out.jsonl.tovec").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_lets_what_is_under_way_be_stored(batch, server, rows, number, code):
    """#130 #131"""
    server.latency = 0.2
    batch(server, rows, "-o", "out.jsonl", "--dry-run")
    child = start(rows.parent, server, "-o", "out.jsonl", "--concurrency", "2")
    wait_for(lambda: server.ledger.under_way == 2)
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == -number, f"the shell sees {code}"
    assert b"run the same command to resume" in said
    status = batch(server, "-o", "out.jsonl", "--status")
    answered = server.ledger.statuses[200] * 10
    assert json.loads(status.stdout)["vectors"] == answered
    server.latency = 0
    assert batch(server, rows, "-o", "out.jsonl").returncode == 0
    assert server.ledger.paid_twice() == 0
    right(rows.parent / "out.jsonl")


def test_a_second_signal_stops_at_once(batch, server, rows):
    """#130"""
    server.latency = 600
    batch(server, rows, "-o", "out.jsonl", "--dry-run")
    child = start(rows.parent, server, "-o", "out.jsonl", "--concurrency", "2")
    wait_for(lambda: server.ledger.under_way == 2)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=5)
    assert child.returncode in (-signal.SIGTERM, -signal.SIGINT)
    server.latency = 0
    assert batch(server, rows, "-o", "out.jsonl").returncode == 0


def test_a_second_run_ends_at_once_and_names_the_first(batch, server, rows):
    """#120 #137"""
    server.latency = 600
    batch(server, rows, "-o", "out.jsonl", "--dry-run")
    child = start(rows.parent, server, "-o", "out.jsonl")
    wait_for(lambda: server.ledger.under_way >= 1)
    second = batch(server, rows, "-o", "out.jsonl")
    assert second.returncode == 9
    assert f"process {child.pid}".encode() in second.stderr
    status = json.loads(batch(server, "-o", "out.jsonl", "--status").stdout)
    assert status["running"] is True
    other = batch(server, rows, "-o", "out.jsonl", "--job-dir", "other")
    assert other.returncode == 9  # the same output from another job
    child.kill()
    child.communicate()


# What stops a job, and what does not -------------------------------------------------------------


def test_an_error_leaves_what_was_paid_for_and_the_next_run_takes_it_up(batch, server, rows):
    server.faults = [Fault("status", status=401, at=range(6, 10_000))]
    done = batch(server, rows, "-o", "out.jsonl", "--concurrency", "1")
    assert done.returncode == 5
    server.faults = []
    assert batch(server, rows, "-o", "out.jsonl").returncode == 0
    assert server.ledger.paid_twice() == 0
    right(rows.parent / "out.jsonl")


def test_rows_that_the_endpoint_refuses_are_set_aside_and_mended_ones_are_picked_up(
    batch, server, jsonl
):
    server.faults = [Fault("status", status=400, text="POISON")]
    bad = [*TEXTS[:50], "POISON", *TEXTS[50:]]
    path = jsonl([{"id": i, "text": text} for i, text in enumerate(bad)])
    done = batch(server, path, "-o", "out.jsonl")
    assert done.returncode == 3, done.stderr
    right(path.parent / "out.jsonl", TEXTS)
    (reject,) = read(path.parent / "out.jsonl.rejects.jsonl")
    assert reject["row"] == {"id": 50, "text": "POISON"}
    assert (reject["line"], reject["index"], reject["kind"]) == (51, 50, "refused")
    asked = sum(entry.items for entry in server.ledger.entries if entry.status == 200)
    mended = [*TEXTS[:50], "mended", *TEXTS[50:]]
    jsonl([{"id": i, "text": text} for i, text in enumerate(mended)])
    done = batch(server, path, "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    right(path.parent / "out.jsonl", mended)
    assert sum(entry.items for entry in server.ledger.entries if entry.status == 200) == asked + 1
    assert not (path.parent / "out.jsonl.rejects.jsonl").exists()


def test_rows_that_cannot_be_read_are_set_aside_or_stop_the_job(batch, server, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "one"}\nnot json\n{"text": ""}\n{"txt": 1}\n{"text": "two"}\n')
    done = batch(server, path, "-o", "out.jsonl", "--rejects", "bad.jsonl")
    assert done.returncode == 3, done.stderr
    right(tmp_path / "out.jsonl", ["one", "two"])
    rejects = read(tmp_path / "bad.jsonl")
    assert [(one["line"], one["kind"]) for one in rejects] == [
        (2, "syntax"), (3, "empty"), (4, "missing"),
    ]  # fmt: skip
    assert rejects[0]["row"] == "not json"
    assert rejects[2]["row"] == {"txt": 1}
    stopped = batch(server, path, "-o", "other.jsonl", "--on-error", "stop")
    assert stopped.returncode == 6
    assert not (tmp_path / "other.jsonl").exists()


def test_another_model_in_the_same_directory_is_refused_and_named(batch, server, rows):
    """#178"""
    batch(server, rows, "-o", "out.jsonl", "--keep-job")
    done = batch(server, rows, "-o", "out.jsonl", "--keep-job", "-d", "4")
    assert done.returncode == 8
    assert b"its dimensions is not set, now it is 4" in done.stderr
    assert batch(server, rows, "-o", "out.jsonl", "--keep-job").returncode == 0


def test_a_directory_that_is_no_job_is_left_alone(batch, server, rows):
    (rows.parent / "mine").mkdir(mode=0o700)
    (rows.parent / "mine" / "thesis.txt").write_text("all of it")
    done = batch(server, rows, "-o", "out.jsonl", "--job-dir", "mine")
    assert done.returncode == 8
    assert (rows.parent / "mine" / "thesis.txt").read_text() == "all of it"


def test_an_output_that_is_not_the_jobs_is_never_replaced(batch, server, rows):
    out = rows.parent / "out.jsonl"
    out.write_text("precious")
    done = batch(server, rows, "-o", "out.jsonl", "--keep-job")
    assert done.returncode == 7
    assert not server.ledger.entries
    assert not (rows.parent / "out.jsonl.tovec").exists()
    out.unlink()
    assert batch(server, rows, "-o", "out.jsonl", "--keep-job").returncode == 0
    out.write_text("edited")
    assert batch(server, rows, "-o", "out.jsonl", "--keep-job").returncode == 7
    assert out.read_text() == "edited"
    assert batch(server, rows, "-o", "out.jsonl", "--keep-job", "--force").returncode == 0
    right(out)


def test_the_input_is_never_the_output(batch, server, rows):
    """#163"""
    done = batch(server, rows, "-o", rows, "--force")
    assert done.returncode == 2
    assert len(read(rows)) == 120


def test_an_input_that_changes_while_the_job_runs_is_noticed(batch, server, rows):
    """#117"""
    server.latency = 0.5
    batch(server, rows, "-o", "out.jsonl", "--dry-run")
    child = start(rows.parent, server, "-o", "out.jsonl")
    wait_for(lambda: server.ledger.under_way >= 1)
    rows.write_bytes(rows.read_bytes() + b'{"text": "more"}\n')
    _, said = child.communicate(timeout=30)
    assert child.returncode == 6
    assert b"the input changed while the job ran" in said
    assert not (rows.parent / "out.jsonl").exists()
    server.latency = 0
    assert batch(server, rows, "-o", "out.jsonl").returncode == 0
    right(rows.parent / "out.jsonl", [*TEXTS, "more"])
    assert server.ledger.paid_twice() == 0


# Standard input ----------------


def test_stdin_is_kept_so_that_a_killed_job_can_go_on(batch, server, tmp_path):
    """#163"""
    server.latency = 600
    piped = "".join(f"{text}\n" for text in TEXTS)
    batch(server, "-", "-o", "out.jsonl", "--dry-run", input=piped)
    child = subprocess.Popen(
        [sys.executable, "-m", "tovec", "batch", "-", "--config", "config.toml", "-p", "mine",
         "-m", "m", "-o", "out.jsonl"],
        cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    child.stdin.write(piped.encode())
    child.stdin.close()
    wait_for(lambda: server.ledger.under_way >= 1)
    kept = tmp_path / "out.jsonl.tovec" / "input"
    assert kept.read_text() == piped
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out.jsonl.tovec").stat().st_mode & 0o777 == 0o700
    child.kill()
    child.wait()
    child.stderr.close()
    server.latency = 0
    done = batch(server, "-", "-o", "out.jsonl", "-v", input=b"")
    assert done.returncode == 0, done.stderr
    right(tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl.tovec").exists()


def test_a_job_directory_holds_no_text_of_a_file_and_no_key(batch, server, rows, monkeypatch):
    """#170"""
    monkeypatch.setenv("MINE_KEY", "sk-canary-000111222333")
    server.key = "sk-canary-000111222333"
    config = rows.parent / "config.toml"
    batch(server, rows, "-o", "out.jsonl", "--dry-run")
    config.write_text(config.read_text() + 'key_env = "MINE_KEY"\n')
    options = ("--config", config, "-p", "mine", "-m", "m", "--keep-job", "-vv")
    done = subprocess.run(
        [sys.executable, "-m", "tovec", "batch", rows, "-o", "out.jsonl", *options],
        cwd=rows.parent, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    everything = b"".join(p.read_bytes() for p in (rows.parent / "out.jsonl.tovec").iterdir())
    assert b"the text of row" not in everything
    assert b"canary" not in everything + done.stderr


# Money, plans, reports ---------------------------------------------------------------------------


def test_a_dry_run_counts_and_asks_for_nothing(batch, server, jsonl):
    path = jsonl([{"text": TEXTS[i % 70]} for i in range(120)])
    done = batch(server, path, "-o", "out.jsonl", "--dry-run", "--rpm", "2")
    plan = json.loads(done.stdout)
    assert (plan["rows"], plan["texts"], plan["unique_texts"]) == (120, 120, 70)
    assert (plan["requests"], plan["seconds_at_limits"]) == (7, 210.0)
    assert plan["tokens"] == sum(len(text) for text in TEXTS[:70])
    assert plan["tokens_are"].startswith("at most")
    assert not server.ledger.entries
    assert (
        os.listdir(path.parent) == ["config.toml", "rows.jsonl"]
        or not (path.parent / "out.jsonl.tovec").exists()
    )


def test_a_dry_run_counts_tokens_exactly_and_prices_them(tovec, rows):
    done = tovec(
        "batch", rows, "-o", "out.jsonl", "--dry-run", "-p", "openai",
        "-m", "text-embedding-3-small", cwd=rows.parent,
    )  # fmt: skip
    from tovec.text import tokens

    plan = json.loads(done.stdout)
    exact = sum(tokens.count_batch(TEXTS))
    assert (plan["tokens"], plan["tokens_are"]) == (exact, "exact")
    assert plan["cost_usd"] == pytest.approx(exact * 0.02 / 1e6, abs=1e-6)


def test_max_tokens_is_never_exceeded_over_all_runs(batch, server, rows):
    """#99"""
    for _ in range(2):
        done = batch(server, rows, "-o", "out.jsonl", "--max-tokens", "900")
        assert done.returncode == 5
        assert b"--max-tokens 900 is reached" in done.stderr
        spent = sum(entry.tokens for entry in server.ledger.entries if entry.status == 200)
        assert 300 < spent <= 900
    done = batch(server, rows, "-o", "out.jsonl", "--max-tokens", "100000")
    assert done.returncode == 0, done.stderr
    assert server.ledger.paid_twice() == 0


def test_max_cost_needs_a_price(batch, server, rows):
    done = batch(server, rows, "-o", "out.jsonl", "--max-cost", "1")
    assert done.returncode == 2
    assert b"the price of m is not known" in done.stderr


def test_stats_say_what_was_done(batch, server, rows):
    server.faults = [Fault("status", status=500, at=[3])]
    done = batch(server, rows, "-o", "out.jsonl", "--stats", "stats.json")
    stats = json.loads((rows.parent / "stats.json").read_text())
    assert done.returncode == 0
    assert (stats["rows"], stats["rows_written"], stats["answers"]) == (120, 120, 12)
    assert stats["retries"] == {"500": 1}
    assert stats["requests"] == 13
    assert stats["tokens"] == sum(e.tokens for e in server.ledger.entries if e.status == 200)
    assert 0 < stats["latency_seconds"]["p50"] <= stats["latency_seconds"]["max"]


def test_json_lines_tell_the_same(batch, server, rows):
    done = batch(server, rows, "-o", "out.jsonl", "--log-format", "json")
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["level"], line["rows_written"], line["answers"]) == ("summary", 120, 12)


def test_quiet_says_nothing(batch, server, rows):
    done = batch(server, rows, "-o", "out.jsonl", "-q")
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")


def test_status_of_no_job_is_an_error(batch, server):
    done = batch(server, "-o", "out.jsonl", "--status")
    assert done.returncode == 2
    assert b"there is no job" in done.stderr


def test_a_terminal_sees_a_bar_that_goes_away(batch, server, rows):
    server.latency = 0.15
    batch(server, rows, "-o", "out.jsonl", "--dry-run")
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "tovec", "batch", "rows.jsonl", "--config", "config.toml", "-p",
         "mine", "-m", "m", "-o", "out.jsonl", "--concurrency", "1"],
        cwd=rows.parent, stderr=theirs, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the terminal's other end is closed
            break
    os.close(ours)
    assert child.wait() == 0
    assert b"asking 120 of about 120 rows" in seen
    assert b" left" in seen
    assert b"rows/s" in seen
    last = seen.rpartition(b"\r\x1b[2K")[2]
    assert last.startswith(b"tovec: 120 rows written")


# Further ways in and out --------------------------------------------------------------------------


def test_a_pipe_by_name_is_kept_as_stdin_is(batch, server, tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = subprocess.Popen(["sh", "-c", "seq 1 30 > pipe"], cwd=tmp_path)
    done = batch(server, "pipe", "-o", "out.jsonl")
    writer.wait()
    assert done.returncode == 0, done.stderr
    right(tmp_path / "out.jsonl", [str(n) for n in range(1, 31)])
    assert not (tmp_path / "out.jsonl.tovec").exists()


def test_a_job_can_write_to_stdout_when_it_has_a_directory(batch, server, rows):
    done = batch(server, rows, "-o", "-")
    assert done.returncode == 2
    done = batch(server, rows, "-o", "-", "--job-dir", "job")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == TEXTS
    assert not (rows.parent / "job").exists()


def test_a_field_that_no_row_has_stops_the_job(batch, server, rows):
    done = batch(server, rows, "-o", "out.jsonl", "--text-field", "txet")
    assert done.returncode == 6
    assert b"--text-field names the field" in done.stderr
    assert not server.ledger.entries


def test_max_cost_is_never_exceeded(batch, server, rows, tovec):
    config = rows.parent / "config.toml"
    config.write_text(
        f'[providers.openai]\nbase_url = "{server.base_url}"\nlimits = {{ items = 10 }}\n'
    )
    options = ("--config", config, "-p", "openai", "-m", "text-embedding-3-small")
    done = tovec(
        "batch", rows, "-o", "out.jsonl", "--max-cost", "0.00001", *options,
        cwd=rows.parent, env={"OPENAI_API_KEY": "sk-none-0123456789"},
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert b"--max-cost 1e-05 is reached" in done.stderr
    spent = sum(entry.tokens for entry in server.ledger.entries if entry.status == 200)
    assert 300 < spent <= 500  # at 0.02 USD per million


def test_a_disk_that_fills_keeps_what_was_stored(batch, server, rows):
    """#100 #101: and the next run asks for what is missing only."""
    small = rows.parent / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "t", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small tmpfs can only be mounted by root")
    try:
        wide = ("--job-dir", "small/job")
        server.dimensions = 512
        done = batch(server, rows, "-o", "out.jsonl", *wide)
        assert done.returncode == 7, done.stderr
        assert b"free some space" in done.stderr
        asked = server.ledger.statuses[200]
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        done = batch(server, rows, "-o", "out.jsonl", *wide)
        assert done.returncode == 0, done.stderr
        right(rows.parent / "out.jsonl", dimensions=512)
        # What was under way when the disk was full could not be stored.
        assert server.ledger.paid_twice() < asked * 10 - 20
    finally:
        subprocess.run(["umount", str(small)], check=True)


# Files that must not be harmed -------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "rows.jsonl", "--force"],
        ["-o", "out.jsonl", "--stats", "rows.jsonl"],
        ["-o", "out.jsonl", "--rejects", "rows.jsonl", "--force"],
        ["-o", "out.jsonl", "--stats", "out.jsonl"],
        ["-o", "out.jsonl", "--stats", "r.jsonl", "--rejects", "./r.jsonl"],
        ["-o", "out.jsonl", "--job-dir", "rows.jsonl"],
        ["-o", "rows.jsonl.tovec/out.jsonl", "--job-dir", "rows.jsonl.tovec"],
        ["-o", "out.jsonl", "--job-dir", "."],
    ],
)
def test_no_output_replaces_an_input_or_another_output(batch, server, rows, options):
    """#239"""
    before = {rows.name: rows.read_bytes()}
    done = batch(server, rows, *options)
    assert done.returncode == 2, done.stderr
    assert not server.ledger.entries
    left = {path.name: path.read_bytes() for path in rows.parent.iterdir()}
    left.pop("config.toml")
    assert left == before


def test_only_what_a_run_wrote_itself_is_replaced(batch, server, rows):
    """#241: a report and rejects of an earlier run are tovec's own, notes are not."""
    rows.write_text('{"text": "a"}\n{"text": ""}\n')
    stats, rejects = rows.parent / "stats.json", rows.parent / "out.jsonl.rejects.jsonl"
    for path in (stats, rejects):
        path.write_text("my notes")
        done = batch(server, rows, "-o", "out.jsonl", "--stats", "stats.json")
        assert (done.returncode, path.read_text()) == (7, "my notes"), done.stderr
        path.unlink()
    assert not server.ledger.entries
    for _ in range(2):
        done = batch(server, rows, "-o", "out.jsonl", "--stats", "stats.json")
        assert done.returncode == 3, done.stderr
    assert json.loads(stats.read_text())["rows_rejected"] == 1
    rejects.write_text("now mended by hand")
    done = batch(server, rows, "-o", "out.jsonl", "--stats", "stats.json")
    assert (done.returncode, rejects.read_text()) == (7, "now mended by hand")
    assert batch(server, rows, "-o", "out.jsonl", "--force").returncode == 3


def test_if_exists_says_what_happens_to_an_output(batch, server, rows):
    """cron has to tell a finished night from a mistake in the command line."""
    out = rows.parent / "out.jsonl"
    out.write_text("precious")
    skipped = batch(server, rows, "-o", "out.jsonl", "--if-exists", "skip")
    assert (skipped.returncode, out.read_text()) == (0, "precious")
    assert b"nothing was done" in skipped.stderr
    assert batch(server, rows, "-o", "out.jsonl", "--if-exists", "error").returncode == 7
    both = batch(server, rows, "-o", "out.jsonl", "--if-exists", "skip", "--force")
    assert both.returncode == 2
    assert not server.ledger.entries
    replaced = batch(server, rows, "-o", "out.jsonl", "--if-exists", "replace")
    assert (replaced.returncode, out.read_text() != "precious") == (0, True)
