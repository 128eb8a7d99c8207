"""What a job spends, against what a server may have billed: over all its runs, whatever fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.servers.loopback import Fault, Loopback

from tovec.batch.budget import Budget
from tovec.cli.app import run
from tovec.cli.reporting import Reporter
from tovec.endpoint import governor, retry_budget
from tovec.store.content_keys import keys_of
from tovec.store.job import Entry, Job

ROWS = [[1 + i] * (1 + i % 9) for i in range(60)]  # token ids: both sides count them alike
TOKENS = sum(map(len, ROWS))
BILLED = (0, 200, 408, 500, 504)  # statuses; 0 is no answer
JOB = "out.jsonl.tovec"

Batch = Callable[..., int]


class Biller(Loopback):
    """A server that bills all that it may, and looks at the job's own account at each request."""

    def __init__(self, faults: Sequence[Fault] = (), **more: Any) -> None:
        super().__init__(dimensions=4, faults=faults, **more)
        self.billed = 0
        self.unforeseen: list[tuple[int, int]] = []

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[Fault | None, int, dict[str, str], bytes]:
        account = sum(accounts())
        found = super().answer(method, path, headers, body)
        entry = self.ledger.entries[-1]
        if entry.status in BILLED:
            self.billed += entry.tokens
        if account < self.billed:
            self.unforeseen.append((account, self.billed))
        return found


def accounts() -> tuple[int, int]:
    """Return what the job's directory says of itself: tokens spent, and perhaps billed."""
    job = Job.look(JOB)
    found = job.tokens, job.tokens_unanswered
    job.close()
    return found


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Run a job over ROWS, five in a request."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(governor.Governor, "backoff", lambda *_, **__: 0.001)
    monkeypatch.setattr(retry_budget, "PROBE_SECONDS", (0.001,))
    Path("rows.txt").write_text("".join(f"{row}\n" for row in ROWS))

    def job(server: Loopback, *words: str) -> int:
        table = f'[providers.a]\nbase_url = "{server.base_url}"\nlimits = {{ items = 5 }}\n'
        Path("c.toml").write_text(table)
        fixed = ["rows.txt", "--input-format", "tokens", "-o", "out.jsonl", "--config", "c.toml"]
        return run(["batch", *fixed, "-p", "a", "-m", "m", *words], Reporter())

    return job


REFUSAL = {"error": {"message": "unsupported content", "type": "invalid_request_error"}}
FAULTS = {
    "none": [],
    "no usage": [Fault("no_usage")],
    "no usage and resets": [Fault("reset", every=4), Fault("no_usage")],
    "errors that may be billed": [Fault("status", status=500, every=4)],
    "errors that are not": [Fault("status", status=503, every=4)],
    "throttled": [Fault("status", status=429, every=4, headers={"retry-after-ms": "1"})],
    "advised not to retry": [
        Fault("status", status=500, every=7, headers={"x-should-retry": "false"})
    ],
    "wrong answers": [Fault("short", every=4)],
    "answers cut": [Fault("cut", every=4)],
    "an input that is refused": [Fault("status", status=400, text="[17", body=REFUSAL)],
    "an input that breaks it": [Fault("status", status=500, text="[17", times=2)],
    "an input never answered right": [Fault("nan", text="[17")],
    "float64": [Fault("float64")],
}


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("name", FAULTS)
def test_a_limit_holds_over_all_runs_whatever_fails(
    name: str, limited: bool, batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    """#211 #212: attempts may be billed without an answer, and answers may come without usage.

    At each request the directory already accounts for all that is billed by then, so that a kill
    at any moment leaves nothing uncounted; an orderly end leaves the exact figure, but for requests
    that it cancels while they wait to leave: they are counted.
    """
    with Biller(FAULTS[name], items=5) as server:
        limit, code = TOKENS // 3, 5
        while code == 5 and limit < 32 * TOKENS:
            words = ["--max-tokens", str(limit)] if limited else []
            code = batch(server, *words, "--keep-job", "--concurrency", "3")
            said = capsys.readouterr().err
            if code == 5:
                assert server.billed <= sum(accounts()) <= limit
                if not name.startswith("an input"):  # then requests are cut off that wait to leave
                    assert server.billed == sum(accounts())
                assert f"--max-tokens {limit} is reached" in said
            limit *= 2
        assert code in (0, 3), said
        assert not limited or not server.unforeseen
        assert len(Path("out.jsonl").read_text().splitlines()) >= len(ROWS) - 1


@pytest.mark.parametrize("fault", ["reset", "nan", "status"])
def test_what_never_had_an_answer_is_counted_too(fault: str, batch: Batch) -> None:
    """#212: each run of a cron job paid a few attempts, and none was ever counted."""
    with Biller([Fault(fault)]) as server:
        codes = [batch(server, "--max-tokens", "200") for _ in range(12)]
        assert server.billed <= sum(accounts()) <= 200
        assert codes[0] in (4, 5)
        assert codes[-1] == 5
        server.faults = []
        asked = len(server.ledger.entries)
        assert batch(server, "--max-tokens", "200") == 5
        assert len(server.ledger.entries) - asked < len(ROWS) / 5
        assert batch(server) == 0


def test_nothing_is_counted_for_what_was_never_sent(batch: Batch) -> None:
    """A port that nothing listens at costs nothing, and leaves no job behind."""
    with Biller() as server:
        pass
    assert batch(server, "--max-tokens", "200") == 4
    assert not Path(JOB).exists()


def test_a_killed_run_counts_what_was_under_way(batch: Batch) -> None:
    """#212: the copy of the directory is what a kill at that moment would leave."""
    with Biller([Fault("no_usage")]) as server:
        answer = server.answer

        def copied(*asked: Any) -> Any:
            if len(server.ledger.entries) == 6:
                shutil.copytree(JOB, "killed")
            return answer(*asked)

        server.answer = copied  # type: ignore[method-assign]
        assert batch(server, "--max-tokens", str(TOKENS), "--concurrency", "3") == 0
        billed = sum(entry.tokens for entry in server.ledger.entries[:7])
        Path("out.jsonl").unlink()
        Path("killed").rename(JOB)
        assert sum(accounts()) >= billed
        assert batch(server, "--max-tokens", str(billed - 1)) == 5
        assert len(server.ledger.entries) == 12, "nothing was asked for"


def test_the_tokens_of_an_endpoint_without_usage_are_said(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    """#211: 60 tokens under a limit of 60 were reported as "0 tokens"."""
    with Biller([Fault("no_usage")]) as server:
        assert batch(server, "--max-tokens", str(TOKENS), "--stats", "s.json") == 0
    assert f"at most {TOKENS} tokens (the endpoint does not report them)" in capsys.readouterr().err
    stats = json.loads(Path("s.json").read_text())
    assert (stats["tokens"], stats["tokens_estimated"]) == (0, TOKENS)
    assert stats["answers_without_usage"] == 12


def test_a_log_without_counts_of_ours_is_read(tmp_path: Path) -> None:
    """An earlier version stored no count where the endpoint gave none."""
    job = Job(str(tmp_path / "job"), {"model": "m"})
    job.keep([Entry(keys_of(["x"], job.digest), np.ones((1, 2), np.float32), about={"model": "m"})])
    job.close()
    again = Job.look(str(tmp_path / "job"))
    assert (len(again.log), again.tokens, again.tokens_estimated, again.rows) == (1, 0, 0, 0)
    again.close()


@settings(max_examples=50)
@given(st.integers(0, 50), st.lists(st.integers(0, 20), max_size=20))
def test_what_is_set_aside_never_exceeds_the_limit(limit: int, wanted: list[int]) -> None:
    budget = Budget(limit, spent=limit // 5, unanswered=limit // 7)
    for tokens in wanted:
        before = budget.reserved
        assert budget.reserve(tokens) == (budget.reserved > before or not tokens)
        assert budget.spent + budget.unanswered + budget.reserved <= max(limit, 0) or not before
