"""Processes that share one limit: real files, real locks, real deaths; hours in virtual time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.inside import run
from tests.endpoint.test_governor import Clock, Server, deliver, governor
from tests.endpoint.virtual_time import run_virtually
from tests.servers.loopback import Loopback

from tovec.endpoint import shared_admission
from tovec.endpoint.address import Endpoint
from tovec.endpoint.admission import Admission, ProcessAdmission, Ticket
from tovec.endpoint.credentials import Secret
from tovec.endpoint.providers import Provider
from tovec.endpoint.rate_headers import Rates
from tovec.endpoint.shared_admission import SharedAdmission, make_admission

SILENT = Rates()
KEY = "sk-canary-0123456789"
CHILD = """
import sys, time
from pathlib import Path
from tovec.endpoint.rate_headers import Rates
from tovec.endpoint.shared_admission import SharedAdmission
one = SharedAdmission(Path(sys.argv[1]))
"""


def sent(one: Admission, now: float, tokens: int = 10) -> Ticket:
    ticket = one.request(now, tokens)
    assert isinstance(ticket, Ticket)
    return ticket


def under_way(one: SharedAdmission) -> float:
    return one._process.limits.requests.under_way


@contextmanager
def child(path: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Run code in a process of its own, and wait until it has said that it is ready."""
    command = [sys.executable, "-c", CHILD + code, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("style", ["bucket", "fixed"])
@pytest.mark.parametrize(
    ("requests", "tokens", "least"), [(5, 61_000, {"bucket": 60, "fixed": 60}),
                                      (150, 10, {"bucket": 60, "fixed": 60})]
)  # fmt: skip
def test_eight_processes_use_up_one_limit_without_any_refusal(
    tmp_path: Path, style: str, requests: int, tokens: int, least: dict[str, int]
) -> None:
    """#92: 600 requests and 1.22 M tokens a minute, and twice as much to do."""

    async def work(clock: Clock) -> tuple[float, Server]:
        server = Server(clock, 600, 1_220_000, style)

        async def process(number: int) -> None:
            await asyncio.sleep(number / 10)
            one = governor(clock, admission=SharedAdmission(tmp_path / "limits"))
            await asyncio.gather(*(deliver(one, server, clock, tokens) for _ in range(requests)))
            one.close()

        await asyncio.gather(*map(process, range(8)))
        return clock(), server

    took, server = run_virtually(work)
    assert took <= 1.03 * least[style] + 0.6
    assert (server.refused, server.accepted) == (0, 8 * requests)
    assert list(tmp_path.iterdir()) == []


def test_before_the_first_answer_all_send_no_more_than_one_would(tmp_path: Path) -> None:
    """#92: eight times eight requests at once would be refused before any limit is known."""
    group = [SharedAdmission(tmp_path / "limits") for _ in range(8)]
    first = [one.request(1.0, 10) for one in group for _ in range(4)]
    tickets = [ticket for ticket in first if isinstance(ticket, Ticket)]
    assert len(tickets) == 8
    group[0].answered(1.2, tickets[0], SILENT, 10, 10)
    assert all(isinstance(one.request(1.2, 10), Ticket) for one in group for _ in range(4))


def test_a_wait_that_one_process_is_asked_for_holds_all(tmp_path: Path) -> None:
    """#79: the others are not asked for it in turn."""
    one, other = (SharedAdmission(tmp_path / "limits") for _ in range(2))
    ticket = sent(one, 1.0)
    sent(other, 1.0)
    assert one.throttled(1.1, ticket, SILENT, 5.0) == 1
    one.pause_until(6.1)
    assert other.request(2.0, 10) == pytest.approx(4.1)
    assert other.pause(2.0) == pytest.approx(4.1)
    assert isinstance(other.request(6.2, 10), Ticket)


def test_a_wait_longer_than_a_process_may_obey_is_left_to_the_endpoint(tmp_path: Path) -> None:
    """--give-up-after caps it: that process asks itself, and ends when it is told to wait."""
    patient = SharedAdmission(tmp_path / "limits")
    hasty = SharedAdmission(tmp_path / "limits", max_pause=60)
    patient.throttled(1.0, sent(patient, 1.0), SILENT, 600.0)
    patient.pause_until(601.0)
    assert patient.request(2.0, 10) == pytest.approx(599.0)
    sent(hasty, 2.0)
    assert hasty.request(550.0, 10) == pytest.approx(51.0)


def learned(path: Path, left: int, count: int = 3) -> list[SharedAdmission]:
    """Return a group to which the endpoint has said what is left of 6,000 tokens a minute."""
    group = [SharedAdmission(path) for _ in range(count)]
    said = Rates(6_000, 6_000, 6_000, left, 0.0, (6_000 - left) / 100)
    first, *others = [(one, sent(one, 0.0, 1)) for one in group]
    for one, ticket in others:
        one.end(ticket)
    first[0].answered(0.0, first[1], said, 1, 1)
    return group


def test_a_large_request_is_not_overtaken_by_small_ones_of_others(tmp_path: Path) -> None:
    """#92: each small one would take what the large one waits for, for ever."""
    large, small, other = learned(tmp_path / "limits", 500)
    now = 2.0
    assert not isinstance(large.request(now, 2_000), Ticket)
    assert not isinstance(small.request(now, 400), Ticket)
    while not isinstance(large.request(now, 2_000), Ticket):
        assert not isinstance(small.request(now, 400), Ticket)
        now += 0.5
    assert now <= 2 + 15 + 0.5
    large.withdraw()
    assert not isinstance(other.request(now, 600), Ticket)  # the small one has its turn
    assert isinstance(small.request(now + 4.1, 400), Ticket)


def test_a_request_that_withdraws_leaves_its_turn_to_the_next(tmp_path: Path) -> None:
    """One whose task was cancelled must not hold up all others."""
    large, small, _ = learned(tmp_path / "limits", 3_000)
    assert not isinstance(large.request(2.0, 5_000), Ticket)
    assert not isinstance(small.request(2.0, 400), Ticket)
    large.withdraw()
    assert isinstance(small.request(2.0, 400), Ticket)


def test_a_turn_that_is_not_asked_for_again_is_passed(tmp_path: Path) -> None:
    """#277: a process that was stopped while it waited; when it goes on, it is first again."""
    stopped, other, third = learned(tmp_path / "limits", 3_000)
    wait = stopped.request(2.0, 5_000)
    assert not isinstance(wait, Ticket)
    assert not isinstance(other.request(2.5, 400), Ticket)
    assert isinstance(other.request(5.1, 400), Ticket)
    assert not isinstance(stopped.request(6.0, 5_000), Ticket)
    assert not isinstance(third.request(6.0, 400), Ticket)


def test_the_users_own_limit_is_that_of_one_process(tmp_path: Path) -> None:
    """One that may send nothing for a minute does not keep its turn meanwhile."""
    one, other = SharedAdmission(tmp_path / "limits", rpm=1), SharedAdmission(tmp_path / "limits")
    one.answered(0.0, sent(one, 0.0), SILENT, 10, 10)
    assert one.request(1.0, 10) == pytest.approx(59.5)
    sent(other, 1.0)


def test_a_process_that_is_killed_gives_back_its_share(tmp_path: Path) -> None:
    """#276: of what it had under way, and of its turn."""
    path = tmp_path / "limits"
    one = SharedAdmission(path)
    code = """
for _ in range(8):
    one.request(time.monotonic(), 10)
assert not hasattr(one.request(time.monotonic(), 10), "tokens")
print("ready", flush=True)
time.sleep(600)
"""
    with child(path, code) as process:
        assert not isinstance(one.request(time.monotonic(), 10), Ticket)
        assert under_way(one) == 8
        process.send_signal(signal.SIGKILL)
        process.wait()
        sent(one, time.monotonic() + 1)
        assert under_way(one) == 1


def test_a_process_that_is_stopped_with_the_lock_does_not_stop_the_others(tmp_path: Path) -> None:
    """#277: Ctrl-Z at the wrong moment; the others go on with what they know."""
    path = tmp_path / "limits"
    one = SharedAdmission(path)
    ticket = sent(one, time.monotonic())
    code = """
one.request(time.monotonic(), 10)
one._file.lock()
print("ready", flush=True)
time.sleep(600)
"""
    with child(path, code):
        one.end(ticket)
        assert (one._file, under_way(one)) == (None, 0)
        sent(one, time.monotonic())
        one.close()


def test_no_count_is_lost_where_processes_write_at_once(tmp_path: Path) -> None:
    """Four processes, 300 requests each: the sum is what they have sent."""
    path = tmp_path / "limits"
    one = SharedAdmission(path)
    one.answered(0.0, sent(one, 0.0), SILENT, 10, 10)
    code = """
print("ready", flush=True)
for _ in range(300):
    one.end(one.request(time.monotonic(), 10))
one.close()
"""
    command = [sys.executable, "-c", CHILD + code, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    one.withdraw()
    assert one.request(time.monotonic(), 10)
    limits = one._process.limits
    assert (limits.requests.ended, limits.requests.under_way) == (1_201, 1)


def test_a_fork_is_a_process_of_its_own(tmp_path: Path) -> None:
    """Its copy of the parent's client counts alone, and a new one joins the group."""
    path = tmp_path / "limits"
    one = SharedAdmission(path)
    one.answered(0.0, sent(one, 0.0), SILENT, 10, 10)
    code = """
import os
one.request(time.monotonic(), 10)
if not os.fork():
    one.request(time.monotonic(), 10)
    other = SharedAdmission(Path(sys.argv[1]))
    other.request(time.monotonic(), 10)
    print("ready", flush=True)
sys.stdin.read()
"""
    with child(path, code):
        sent(one, time.monotonic())
        assert under_way(one) == 3  # one here, one in the child, one in its fork


def test_threads_of_one_process_are_members_of_their_own(tmp_path: Path) -> None:
    """Two clients in one program count each other's requests."""
    path = tmp_path / "limits"
    one = SharedAdmission(path)
    one.answered(0.0, sent(one, 0.0), SILENT, 10, 10)

    def work() -> None:
        other = SharedAdmission(path)
        for _ in range(200):
            other.end(sent(other, time.monotonic()))
        other.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent(one, time.monotonic())
    assert one._process.limits.requests.ended == 801


def test_a_group_that_is_gone_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    """#276: neither a file when it ends, nor a pause when it is killed."""
    path = tmp_path / "limits"
    one = SharedAdmission(path)
    sent(one, time.monotonic())
    one.close()
    assert not path.exists()
    code = """
one.request(time.monotonic(), 10)
one.pause_until(time.monotonic() + 1e6)
print("ready", flush=True)
time.sleep(600)
"""
    with child(path, code) as process:
        other = SharedAdmission(path)
        assert not isinstance(other.request(time.monotonic(), 10), Ticket)
        other.close()
        process.kill()
        process.wait()
    assert path.exists()
    sent(SharedAdmission(path), time.monotonic())


@pytest.mark.parametrize("size", [0, 7, 800, 100_000])
def test_a_file_that_is_no_state_counts_as_empty(tmp_path: Path, size: int) -> None:
    """#278: nothing in it can stop a run."""
    path = tmp_path / "limits"
    one, other = SharedAdmission(path), SharedAdmission(path)
    ticket = sent(one, time.monotonic())
    path.write_bytes(os.urandom(size))
    sent(other, time.monotonic())
    one.end(ticket)
    one.close()
    other.close()


def test_a_file_that_was_removed_splits_the_group_and_stops_nobody(tmp_path: Path) -> None:
    """#278: who is in stays with what was known, who comes starts anew."""
    path = tmp_path / "limits"
    one, other = SharedAdmission(path), SharedAdmission(path)
    ticket = sent(one, time.monotonic())
    path.unlink()
    sent(other, time.monotonic())
    one.end(ticket)
    one.close()
    other.close()


def endpoint(model: str = "m") -> Endpoint:
    provider = Provider(name="loopback", base_url="http://127.0.0.1:1/v1")
    return Endpoint(provider, "http://127.0.0.1:1/v1/embeddings", None, model)


def made(runtime: Path, key: str = KEY, model: str = "m") -> Any:
    return make_admission(endpoint(model), Secret(key), {"XDG_RUNTIME_DIR": str(runtime)})


def test_the_file_is_the_users_alone_and_says_nothing_of_the_key(tmp_path: Path) -> None:
    """#279: nor does its name, which differs from user to user for the same key."""
    tmp_path.chmod(0o700)
    one = made(tmp_path)
    sent(one, 1.0)
    other = tmp_path / "other"
    other.mkdir(0o700)
    names = {made(tmp_path)._path.name, made(other)._path.name}
    assert one._path.name in names
    assert len(names) == 2
    files = sorted(path for path in (tmp_path / "tovec").iterdir())
    assert [path.name for path in files] == [one._path.name, "salt"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "tovec").stat().st_mode & 0o777 == 0o700
    assert all(KEY.encode() not in path.read_bytes() for path in files)
    one.close()


def test_another_key_or_model_is_another_limit(tmp_path: Path) -> None:
    """Endpoints count by both."""
    tmp_path.chmod(0o700)
    paths = {made(tmp_path)._path, made(tmp_path, key="other")._path,
             made(tmp_path, model="large")._path}  # fmt: skip
    assert len(paths) == 3
    assert made(tmp_path)._path in paths


def test_a_directory_that_others_can_enter_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#279: another user's file, or link, in a place that anybody may write to."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.mkdir(0o700)
    theirs.mkdir(0o700)
    (mine / "tovec").mkdir()
    (mine / "tovec").chmod(0o755)
    assert isinstance(made(mine), ProcessAdmission)
    (mine / "tovec").rmdir()
    (mine / "tovec").symlink_to(theirs)
    assert isinstance(made(mine), ProcessAdmission)
    (mine / "tovec").unlink()
    one = made(mine)
    one._path.symlink_to(theirs / "target")
    sent(one, 1.0)
    assert one._file is None
    assert not (theirs / "target").exists()
    (mine / "tovec" / "salt").write_bytes(b"")
    assert isinstance(made(mine), ProcessAdmission)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert isinstance(made(mine), ProcessAdmission)


def test_a_run_with_a_key_shares_and_leaves_nothing_but_the_salt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: key, admission, request, close."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TOVEC_API_KEY", KEY)
    seen, close = list[int](), SharedAdmission.close

    def watch(one: SharedAdmission) -> None:
        seen.append(len(list((tmp_path / "tovec").glob("limits-*"))))
        close(one)

    monkeypatch.setattr(SharedAdmission, "close", watch)
    with Loopback(dimensions=8, key=KEY) as server:
        done = run("embed", "--base-url", server.base_url, "-m", "m", "hi")
    assert (done.code, seen) == (0, [1])
    assert [path.name for path in (tmp_path / "tovec").iterdir()] == ["salt"]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 900)), max_size=60))
def test_what_is_under_way_is_always_the_sum_of_its_members(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, int, int]]
) -> None:
    """Whoever sends, ends, learns, is refused, leaves or comes, in whatever order."""
    path = tmp_path_factory.mktemp("shared") / "limits"
    group = [SharedAdmission(path) for _ in range(3)]
    tickets: list[list[Ticket]] = [[] for _ in group]
    now, chance = 0.0, random.Random(1)
    for number, kind, tokens in events:
        one, now = group[number], now + chance.random()
        if kind in (0, 1):
            found = one.request(now, tokens)
            if isinstance(found, Ticket):
                tickets[number].append(found)
        elif kind == 2 and tickets[number]:
            said = Rates(600, 6_000, chance.randint(0, 600), chance.randint(0, 6_000), 30.0, 30.0)
            one.answered(now, tickets[number][0], said, tokens, tokens)
            one.end(tickets[number].pop(0))
        elif kind == 3 and tickets[number]:
            one.throttled(now, tickets[number][0], SILENT, 1.0)
            one.end(tickets[number].pop(0))
        elif kind == 4:
            one.withdraw()
        elif kind == 5:
            one.close()
            group[number], tickets[number] = SharedAdmission(path), []
        one.request(now, 10**9)  # more than there is ever room for, once limits are known
        one.withdraw()
    group[0].pause_until(now + 1)
    limits = group[0]._process.limits
    if group[0]._file is not None:
        numbers = group[0]._numbers
        start = shared_admission._MEMBERS
        assert limits.requests.under_way == pytest.approx(sum(numbers[start::5]))
        assert limits.tokens.under_way == pytest.approx(sum(numbers[start + 1 :: 5]))
    for one in group:
        one.close()
