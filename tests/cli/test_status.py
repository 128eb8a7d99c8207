"""`tovec batch --status`: how far a job came, since when, and why it stopped, in words."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.cli.inside import Done, run
from tests.servers.loopback import Fault, Loopback

from tovec.cli import status_view as view
from tovec.store.job import Job

TEXTS = [f"text {i}" for i in range(60)]
JOB = "out.jsonl.tovec"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

Batch = Callable[..., Done]


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Run a job over 60 rows, five in a request."""
    monkeypatch.chdir(tmp_path)
    Path("rows.txt").write_text("".join(f"{text}\n" for text in TEXTS))

    def job(server: Loopback, *words: str) -> Done:
        return run(*words_of(server), *words)

    return job


def words_of(server: Loopback) -> list[str]:
    table = f'[providers.a]\nbase_url = "{server.base_url}"\nlimits = {{ items = 5 }}\n'
    Path("c.toml").write_text(table)
    fixed = ["rows.txt", "-o", "out.jsonl", "--config", "c.toml", "--concurrency", "1"]
    return ["batch", *fixed, "-p", "a", "-m", "m"]


def status() -> dict[str, Any]:
    done = run("batch", "-o", "out.jsonl", "--status")
    assert (done.code, done.err) == (0, b"")
    found: dict[str, Any] = json.loads(done.out)
    return found


def shown(facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> dict[str, str]:
    """Return what a terminal shows, by name."""
    monkeypatch.setattr(view, "is_terminal", lambda *_: True)
    view.show_facts(facts, view.status_words(facts))
    lines = capsys.readouterr().out.splitlines()
    return {
        name: value for name, _, value in (re.split(r"(  +)", line, maxsplit=1) for line in lines)
    }


@pytest.mark.parametrize(
    ("faults", "code", "means", "reason"),
    [
        ([Fault("status", status=503, at=range(6, 99))], 4, "run the same command again", "503"),
        ([Fault("status", status=402, at=range(6, 99))], 5, "needs a person", "402"),
        ([Fault("dims", at=range(6, 99))], 5, "needs a person", "dimensions"),
    ],
)
def test_a_stopped_job_says_how_far_it_came_and_why_it_stopped(
    faults: Sequence[Fault], code: int, means: str, reason: str, batch: Batch,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """#213: the status knew vectors, not rows, and neither times nor reasons."""
    with Loopback(dimensions=4, faults=faults) as server:
        assert batch(server, "--max-retries", "0").code == code
        facts = status()
        assert (facts["state"], facts["exit_code"], facts["running"]) == ("stopped", code, False)
        assert (facts["rows"], facts["rows_total"], facts["vectors"]) == (25, 60, 25)
        assert means in facts["exit_means"]
        assert reason in facts["reason"]
        assert facts["where"] == f"{server.base_url}/embeddings"
        times = [facts[name] for name in ("begun", "started", "ended", "last_stored")]
        assert all(TIME.fullmatch(one) for one in times)
        assert times == sorted(times)
        found = shown(facts, monkeypatch, capsys)
        assert found["state"].startswith(f"stopped, exit {code}: ")
        assert found["rows"] in ("25 of about 60", "25 of 60")
        assert (found["model"], found["endpoint"]) == ("m", f"{server.base_url}/embeddings")


def test_a_run_after_a_stop_keeps_what_was_done_and_since_when(batch: Batch) -> None:
    """#213: a second run that fails at once has not lost the first one's rows."""
    with Loopback(dimensions=4, faults=[Fault("status", status=402, at=range(6, 99))]) as server:
        batch(server)
        first = status()
        batch(server)
        second = status()
    assert (second["rows"], second["begun"]) == (25, first["begun"])
    assert second["started"] >= first["ended"]


def test_a_finished_job_and_its_next_run_are_told_apart(batch: Batch) -> None:
    """#213"""
    with Loopback(dimensions=4) as server:
        assert batch(server, "--keep-job").code == 0
        facts = status()
        assert (facts["state"], facts["exit_code"], facts["reason"]) == ("finished", 0, None)
        assert (facts["rows"], facts["rows_total"], facts["rows_total_is"]) == (60, 60, "exact")
        assert TIME.fullmatch(facts["ended"])
        with Path("rows.txt").open("a") as rows:
            rows.write("one more\n\n")
        Path("out.jsonl").write_text("somebody else's\n")
        assert batch(server, "--keep-job").code == 7
        facts = status()
        assert (facts["state"], facts["exit_code"]) == ("stopped", 7)
        assert facts["reason"] == "the output exists"
        assert batch(server, "--keep-job", "--force").code == 0
        assert status()["rows"] == 61


def test_rejected_rows_are_told_of(batch: Batch) -> None:
    """#213: a job that is kept for its rejected rows is finished, with exit code 3."""
    with Loopback(dimensions=4, faults=[Fault("status", status=400, text="text 7")]) as server:
        assert batch(server).code == 3
    facts = status()
    assert (facts["state"], facts["exit_code"]) == ("finished", 3)
    assert facts["exit_means"] == "some rows were rejected: 1"


def test_running_and_killed_jobs_are_told_apart(batch: Batch) -> None:
    """#213: a kill leaves no word, and still the rows and the times are known."""
    with Loopback(dimensions=4, faults=[Fault("hang", at=range(4, 99))]) as server:
        child = subprocess.Popen(
            [sys.executable, "-m", "tovec", *words_of(server)], stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 30
        while len(server.ledger.entries) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        facts = status()
        assert (facts["state"], facts["running"], facts["exit_code"]) == ("running", True, None)
        assert (facts["rows"], facts["rows_total"], facts["rows_total_is"]) == (15, 60, "about")
        child.kill()
        child.wait()
    facts = status()
    assert (facts["state"], facts["rows"], facts["ended"]) == ("killed", 15, None)
    assert "killed, or the machine went down" in facts["reason"]
    assert TIME.fullmatch(facts["started"])


def test_a_signal_is_named_as_the_reason(batch: Batch) -> None:
    """#213"""
    with Loopback(dimensions=4) as server:
        answer = server.answer

        def stopping(*asked: Any) -> Any:
            if len(server.ledger.entries) == 3:
                signal.raise_signal(signal.SIGTERM)  # of this very process
            return answer(*asked)

        server.answer = stopping  # type: ignore[method-assign]
        assert batch(server).code == 143
    facts = status()
    assert (facts["state"], facts["exit_code"]) == ("stopped", 143)
    assert facts["reason"] == "stopped by SIGTERM"
    assert facts["rows"] >= 20


@pytest.mark.usefixtures("batch")
def test_a_key_in_a_reason_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """#213: what is noted lies in a file, where a key must never be."""
    key = "sk-0123456789abcdef"
    monkeypatch.setenv("TOVEC_API_KEY", key)
    echo = {"error": {"message": f"the key {key} has no credit", "type": "billing"}}
    Path("rows.txt").write_text("".join(f"{i}\n" for i in range(1_500)))
    with Loopback(dimensions=4, faults=[Fault("status", status=402, at=[3], body=echo)]) as server:
        words = ("--base-url", server.base_url, "-m", "m", "-o", "out.jsonl", "--concurrency", "1")
        assert run("batch", "rows.txt", *words).code == 5
    assert "has no credit" in status()["reason"]
    assert key.encode() not in b"".join(one.read_bytes() for one in Path(JOB).iterdir())


@pytest.mark.usefixtures("batch")
def test_a_job_of_an_earlier_version_is_read() -> None:
    """It noted no times and no rows, and nothing is made up for them."""
    Job(JOB, {"model": "m"}).close()
    facts = status()
    assert (facts["state"], facts["rows"], facts["rows_total"]) == ("not begun", 0, None)
    assert facts["started"] is facts["ended"] is facts["reason"] is None


def test_no_python_is_shown_on_a_terminal(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """#213: the identity was shown as a dictionary's repr, and whether it runs as a number."""
    with Loopback(dimensions=4, faults=[Fault("status", status=402, at=range(6, 99))]) as server:
        batch(server, "--extra", 'a={"b": [1, "x"]}')
    said = " ".join(
        f"{name} {value}" for name, value in shown(status(), monkeypatch, capsys).items()
    )
    assert not re.search(r"None|True|False|[{}']|running", said)
    assert 'b [1, "x"]' in said
