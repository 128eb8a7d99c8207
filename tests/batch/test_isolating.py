"""A row that the endpoint refuses, told from settings that it refuses, also in a later run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.inside import Done, run
from tests.servers.loopback import Fault, Loopback

from tovec.endpoint.governor import Governor

GOOD = [f"good {i}" for i in range(12)]
BAD = [f"POISON {i}" for i in range(3)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """An endpoint, retried after hundredths of what a user would see."""
    real = Governor.backoff

    def quick(self: Governor, *given: float, **named: float) -> float:
        return real(self, *given, **named) / 100

    monkeypatch.setattr(Governor, "backoff", quick)
    monkeypatch.setattr("tovec.endpoint.retry_budget.PROBE_SECONDS", (0.05,))
    with Loopback(dimensions=8) as one:
        yield one


@pytest.fixture
def batch(server: Loopback, tmp_path: Path) -> Callable[..., Done]:
    """Run a batch of texts whose job is kept."""

    def ask(texts: list[str], *options: object) -> Done:
        (tmp_path / "rows.txt").write_text("".join(f"{text}\n" for text in texts))
        endpoint = ("--base-url", server.base_url, "-m", "m", "--keep-job", "--force")
        return run("batch", tmp_path / "rows.txt", "-o", tmp_path / "o.jsonl", *endpoint, *options)

    return ask


def rejected(tmp_path: Path) -> list[str]:
    path = tmp_path / "o.jsonl.rejects.jsonl"
    return [json.loads(line)["row"]["text"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("status", [500, 400, 422])
@pytest.mark.parametrize("bad", [BAD[:1], BAD])
def test_a_later_run_that_lacks_bad_rows_alone_isolates_them(
    status: int, bad: list[str], batch: Callable[..., Done], server: Loopback, tmp_path: Path
) -> None:
    """#265: the store shows that the endpoint has worked with these settings."""
    assert batch(GOOD).code == 0
    server.faults = [Fault("status", status=status, text="POISON")]
    before = len(server.ledger.entries)
    done = batch([*GOOD, *bad])
    assert done.code == 3, done.err
    assert rejected(tmp_path) == bad
    texts = [json.loads(line)["text"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert texts == GOOD
    asked = [
        text for one in server.ledger.entries[before:] for text in json.loads(one.body)["input"]
    ]
    again = [text for text in asked if text not in bad]
    assert again == ["good 0"] * len(again)  # asked whether it is alive
    assert 1 <= len(again) <= len(bad) + 1


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(500, 4, "gave up after"), (503, 4, "gave up after"), (422, 5, "nothing that was sent")],
)
def test_a_later_run_that_nothing_answers_rejects_no_row(
    status: int, code: int, words: str, batch: Callable[..., Done], server: Loopback, tmp_path: Path
) -> None:
    """#265: the endpoint is down, or has changed; the text that had its vector fails as well."""
    assert batch(GOOD).code == 0
    server.faults = [Fault("status", status=status)]
    for _ in range(2):
        done = batch([*GOOD, *BAD])
        assert done.code == code
        assert words in done.err.decode()
        assert not (tmp_path / "o.jsonl.rejects.jsonl").exists()
    server.faults = []
    assert batch([*GOOD, *BAD]).code == 0


@pytest.mark.parametrize("command", ["embed", "batch", "similarity"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_run_whose_every_request_is_refused_alike_is_a_wrong_setting(
    command: str, count: int, server: Loopback, tmp_path: Path
) -> None:
    """#266: exit 5 at each run, for one row as for many; the row itself may be good."""
    server.faults = [Fault("status", status=422, body={"detail": "Unprocessable Entity"})]
    (tmp_path / "rows.txt").write_text("".join(f"row {i}\n" for i in range(count)))
    source = {
        "embed": ("-f", tmp_path / "rows.txt"),
        "batch": (tmp_path / "rows.txt", "-o", tmp_path / "o.jsonl"),
        "similarity": ("--in", tmp_path / "rows.txt", "--pairs"),
    }[command]
    limit = tmp_path / "c.toml"
    limit.write_text(f'[providers.x]\nbase_url = "{server.base_url}"\nlimits = {{ items = 1 }}\n')
    line = ("--config", limit, command, *source, "-p", "x", "-m", "m")
    for _ in range(2):
        done = run(*line)
        assert (done.code, done.out) == (5, b"")
        assert (
            b"the endpoint accepts nothing that was sent: HTTP 422: Unprocessable Entity"
            in done.err
        )
    server.faults = []
    assert run(*line).code == 0


def test_one_row_that_is_refused_for_what_it_is_is_rejected(
    server: Loopback, tmp_path: Path
) -> None:
    """#266: a text that is too long is not a wrong setting, though it is the only one."""
    body = {"error": {"message": "maximum context length is 8192 tokens"}}
    server.faults = [Fault("status", status=400, body=body)]
    assert run("embed", "--base-url", server.base_url, "-m", "m", "one").code == 3
