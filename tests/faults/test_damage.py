"""A job whose log a disk has damaged: `tovec batch --repair` pays for the damaged answers alone."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.inside import Done, run
from tests.faults.injection import DIMENSIONS, ITEMS, TEXTS
from tests.servers.loopback import Loopback

from tovec.store import frames
from tovec.store.filesystem import RealFileSystem

DAMAGES = 24


class Kept:
    """A finished job with its log kept, to be damaged and run again, in this process."""

    def __init__(self, place: Path, server: Loopback) -> None:
        self.place, self.server = place, server
        self.out, self.job = place / "out.jsonl", place / "out.jsonl.tovec"
        self.log = self.job / "00000001.log"
        rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
        (place / "rows.jsonl").write_text(rows)
        limits = f"limits = {{ items = {ITEMS} }}"
        (place / "config.toml").write_text(
            f'[providers.mine]\nbase_url = "{server.base_url}"\n{limits}\n'
        )
        assert self.run("--concurrency", 1).code == 0
        self.expected = self.out.read_bytes()
        self.whole = self.log.read_bytes()
        shutil.copytree(self.job, place / "copy")

    def damage(self, data: bytes) -> None:
        shutil.rmtree(self.job, ignore_errors=True)
        shutil.copytree(self.place / "copy", self.job)
        self.log.write_bytes(data)
        self.out.unlink(missing_ok=True)

    def run(self, *options: Any) -> Done:
        arguments = ["batch", self.place / "rows.jsonl", "-o", self.out, "--keep-job", "-p", "mine"]
        return run(*arguments, "-m", "m", "--config", self.place / "config.toml", *options)

    @property
    def asked(self) -> int:
        """How many inputs the server has been asked for."""
        return sum(self.server.ledger.paid.values())

    def frames(self) -> Iterator[bytes]:
        at = 0
        while at < len(self.whole):
            fields = frames.header(self.whole[at:])
            assert fields is not None
            yield self.whole[at : at + fields.frame_bytes]
            at += fields.frame_bytes


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with (
        pytest.MonkeyPatch.context() as patch,
        Loopback(dimensions=DIMENSIONS) as server,
    ):
        patch.setattr(RealFileSystem, "sync", lambda *_args, **_more: None)  # takes the time
        yield Kept(tmp_path_factory.mktemp("kept"), server)


@pytest.mark.parametrize("kind", ["bit", "cut", "zeros"])
def test_a_repaired_job_asks_for_the_damaged_rows_alone(kept: Kept, kind: str) -> None:
    """#247: and its output is the same to the byte."""
    chance = random.Random(kind)
    repaired = 0
    for _ in range(DAMAGES):
        at, size = chance.randrange(len(kept.whole)), chance.randint(1, 300)
        data = bytearray(kept.whole)
        if kind == "bit":
            data[at] ^= 1 << chance.randrange(8)
        else:
            data[at : at + size] = bytes(size if kind == "zeros" else 0)
        lost = sum(one not in data for one in kept.frames())
        kept.damage(bytes(data))
        before = kept.asked
        plain = kept.run()
        if plain.code == 8:
            repaired += 1
            assert b"--repair" in plain.err
            assert not kept.out.exists()
            done = kept.run("--repair")
            assert done.code == 0, done.err
            assert b"the job's log was repaired" in done.err
        else:  # the last frame, taken for a torn tail, or a byte that pads
            assert plain.code == 0, plain.err
        assert kept.out.read_bytes() == kept.expected
        assert kept.asked - before <= lost * ITEMS
    assert repaired > DAMAGES // 2


def test_a_repair_of_a_whole_log_changes_nothing_and_says_so(kept: Kept) -> None:
    kept.damage(kept.whole)
    before = kept.asked
    done = kept.run("--repair")
    assert done.code == 0
    assert b"the job's log is not damaged, nothing to repair" in done.err
    assert kept.log.read_bytes().startswith(kept.whole)
    assert kept.asked == before
    assert kept.out.read_bytes() == kept.expected


@pytest.mark.parametrize("other", ["--status", "--dry-run"])
def test_a_repair_is_refused_where_nothing_is_to_change(kept: Kept, other: str) -> None:
    """#222"""
    kept.damage(kept.whole[:-200] + bytes(100) + kept.whole[-100:])
    before = {path.name: path.read_bytes() for path in kept.job.iterdir()}
    done = kept.run("--repair", other)
    assert done.code == 2
    assert b"--repair" in done.err
    assert {path.name: path.read_bytes() for path in kept.job.iterdir()} == before


def test_a_damaged_mark_of_a_finished_job_is_no_traceback(kept: Kept) -> None:
    """#248: the mark says that the output was written, so nothing is asked for."""
    for mark in (b"", b"[]", b"{\xff", b'"x"'):
        kept.damage(kept.whole)
        kept.out.write_bytes(kept.expected)
        (kept.job / "finished.json").write_bytes(mark)
        before = kept.asked
        done = kept.run()
        assert done.code in (2, 7)
        assert b"the output exists" in done.err
        assert kept.asked == before
        assert kept.out.read_bytes() == kept.expected
