"""A damaged log: what --repair keeps, what it sets aside, and what a crash in the middle leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.simulated import Crash, SimulatedFileSystem

from tovec.errors import JobError
from tovec.store import frames
from tovec.store import log as logs
from tovec.store.content_keys import keys_of
from tovec.store.filesystem import REAL, FileSystem, RealFileSystem
from tovec.store.frames import Kind
from tovec.store.job import Entry, Job
from tovec.store.repair import repair

IDENTITY = {"model": "m"}
DIMENSIONS = 3
ROWS = 4  # an answer
TEXTS = [f"text {i}" for i in range(48)]


class Stored(NamedTuple):
    """A frame as it was written."""

    segment: int
    data: bytes
    texts: tuple[str, ...]


def vectors(texts: list[str]) -> np.ndarray:
    numbers = [int(text.split()[1]) for text in texts]
    return np.array([[n, n + 0.5, -n - 1] for n in numbers], np.float32)


def fill(directory: str, fs: FileSystem = REAL) -> None:
    """Write a log of several segments with every kind of frame."""
    job = Job(directory, IDENTITY, fs)
    for first in range(0, len(TEXTS), ROWS):
        texts = TEXTS[first : first + ROWS]
        job.keep([Entry(keys_of(texts, job.digest), vectors(texts), (), 5, {"model": "m-1"})])
        if first == 12:
            job.keep([Entry(keys_of(["rude"], job.digest), None, ("too rude",))])
        if first == 20:
            job.note("limits", [32, 8192, None, None])
    job.close()


def frames_of(number: int, data: bytes, digest: bytes) -> Iterator[Stored]:
    texts_of = {keys_of([text], digest).tobytes(): text for text in TEXTS}
    at = 0
    while at < len(data):
        fields = frames.header(data[at:])
        assert fields is not None
        head = frames.head(data[at : at + fields.head_bytes], fields, at)
        assert head is not None
        keys = [head.keys[i].tobytes() for i in range(head.rows)]
        texts = tuple(texts_of[key] for key in keys if head.kind is Kind.ANSWER)
        yield Stored(number, data[at : head.end], texts)
        at = head.end


class Logs:
    """An undamaged log, to be copied and damaged."""

    def __init__(self, place: Path) -> None:
        self.whole = place / "whole"
        self.place = place
        fill(str(self.whole))
        digest = Job.look(str(self.whole)).digest
        self.segments = sorted(path.name for path in self.whole.glob("*.log"))
        self.frames = [
            one
            for number, name in enumerate(self.segments)
            for one in frames_of(number, (self.whole / name).read_bytes(), digest)
        ]

    def damaged(self, content: list[bytes | None]) -> Path:
        path = self.place / "damaged"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.whole, path)
        for name, data in zip(self.segments, content, strict=True):
            (path / name).unlink()
            if data is not None:
                (path / name).write_bytes(data)
        return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "SEGMENT_BYTES", 900)
        patch.setattr(logs, "RESERVE_BYTES", 64)
        # Nothing is said here of a power cut, and a sync takes most of the time.
        patch.setattr(RealFileSystem, "sync", lambda *_args, **_more: None)
        made = Logs(tmp_path_factory.mktemp("logs"))
        assert len(made.segments) >= 3
        yield made


def known(directory: Path) -> set[str]:
    """Open a log as any run does; return the texts whose vectors it has, all of them right."""
    job = Job(str(directory), IDENTITY)
    try:
        ordinals = job.index.find(keys_of(TEXTS, job.digest))
        there = [text for text, ordinal in zip(TEXTS, ordinals, strict=True) if ordinal >= 0]
        found, _, unknown = job.vectors(ordinals[ordinals >= 0])
        assert not len(unknown)
        assert np.array_equal(found, vectors(there).reshape(found.shape))
        return set(there)
    finally:
        job.close()


def check_set_aside(directory: Path, content: list[bytes | None]) -> None:
    """See that every byte of the damaged log is in a frame, or in a file beside the log."""
    pieces: dict[int, list[tuple[int, int]]] = {}
    for path in directory.glob("*.damaged"):
        data = path.read_bytes()
        while data:
            line, _, data = data.partition(b"\n")
            place = orjson.loads(line)
            at, size = place["byte"], place["bytes"]
            segment = content[place["segment"] - 1]
            assert segment is not None
            assert data[: size + 1] == segment[at : at + size] + b"\n"
            data = data[size + 1 :]
            pieces.setdefault(place["segment"] - 1, []).append((at, at + size))
    for number, segment in enumerate(content):
        at, left = 0, pieces.get(number, [])
        while segment and left and at < len(segment):
            if at == left[0][0]:
                at = left.pop(0)[1]
                continue
            fields = frames.header(segment[at:])
            assert fields is not None
            at += fields.frame_bytes
        assert not left


DAMAGES = ("flip", "cut", "zero", "noise", "insert", "shorten", "repeat", "remove")


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, int, float, float, bytes]]:
    """Kinds of damage, each with a segment, a place and a length as shares, and some bytes."""
    share = st.floats(0, 1, exclude_max=True)
    one = st.tuples(
        st.sampled_from(DAMAGES), st.integers(0, 2), share, share, st.binary(min_size=1)
    )
    return draw(st.lists(one, min_size=1, max_size=3))


def damage(data: bytes, kind: str, at: int, size: int, noise: bytes) -> bytes | None:
    match kind:
        case "flip":
            return data[:at] + bytes([data[at] ^ (1 << size % 8)]) + data[at + 1 :]
        case "cut":
            return data[:at] + data[at + size :]
        case "zero":
            return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]
        case "noise":
            return data[:at] + noise + data[at + len(noise) :]
        case "insert":
            return data[:at] + noise + data[at:]
        case "shorten":
            return data[:at]
        case "repeat":  # as a write that went to the wrong place
            return data[:at] + data[size : size + 300] + data[at + 300 :]
    return None


@given(damages())
def test_a_repair_keeps_every_whole_frame_and_sets_the_rest_aside(
    whole: Logs, plan: list[tuple[str, int, float, float, bytes]]
) -> None:
    """#247: a bit, bytes, a piece, a segment; the log is then as sound as any other."""
    content: list[bytes | None] = [(whole.whole / name).read_bytes() for name in whole.segments]
    for kind, number, at, size, noise in plan:
        data = content[number]
        if data:
            where = int(at * len(data))
            content[number] = damage(data, kind, where, int(size * len(data)), noise)
    path = whole.damaged(content)
    wanted = {
        text
        for one in whole.frames
        for text in one.texts
        if one.data in (content[one.segment] or b"")
    }
    repair(str(path))
    assert known(path) >= wanted
    check_set_aside(path, content)
    found = known(path)
    again = repair(str(path))
    assert (again.pieces, again.rewritten, again.missing) == (0, 0, 0)
    assert known(path) == found


def test_each_bit_of_a_log_costs_one_frame_at_most(whole: Logs) -> None:
    """#247: of many bytes of heads and of vectors."""
    first = (whole.whole / whole.segments[1]).read_bytes()
    others: list[bytes | None] = [(whole.whole / name).read_bytes() for name in whole.segments]
    at = 0
    for one in whole.frames:
        if one.segment != 1:
            continue
        for byte in range(0, len(one.data), 9):
            bit = 1 << (at + byte) % 8
            data = bytearray(first)
            data[at + byte] ^= bit
            path = whole.damaged([others[0], bytes(data), *others[2:]])
            found = repair(str(path))
            lost = set(TEXTS) - known(path)
            assert lost in (set(), set(one.texts))
            assert found.pieces or not lost
        at += len(one.data)


def test_what_a_damaged_answer_cost_still_counts(whole: Logs) -> None:
    """#247: the head is sound, so its tokens are known, and they were paid for."""
    content: list[bytes | None] = [(whole.whole / name).read_bytes() for name in whole.segments]
    frame = next(one for one in whole.frames if one.texts)
    spoiled = frame.data[:-20] + bytes([frame.data[-20] ^ 1]) + frame.data[-19:]
    content[0] = (content[0] or b"").replace(frame.data, spoiled)
    path = whole.damaged(content)
    repair(str(path))
    before, after = Job.look(str(whole.whole)), Job.look(str(path))
    assert (after.tokens, after.requests) == (before.tokens, before.requests)
    assert len(after.log) == len(TEXTS) - ROWS
    before.close()
    after.close()


def test_without_a_repair_damage_ends_the_run_and_names_the_option(whole: Logs) -> None:
    content: list[bytes | None] = [(whole.whole / name).read_bytes() for name in whole.segments]
    content[1] = (content[1] or b"")[:-5]
    for damaged in (content, [content[0], None, *content[2:]]):
        with pytest.raises(JobError) as caught:
            known(whole.damaged(damaged))
        assert "--repair" in caught.value.hint


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[1]", b'{"format": "1"', None])
def test_a_description_that_cannot_be_read_is_written_anew(whole: Logs, text: bytes | None) -> None:
    """#248: the keys hold what makes a vector, so no other job's vector is ever found."""
    path = whole.damaged([(whole.whole / name).read_bytes() for name in whole.segments])
    if text is None:
        (path / "job.json").unlink()
    else:
        (path / "job.json").write_bytes(text)
    with pytest.raises(JobError) as caught:
        known(path)
    assert "--repair" in caught.value.hint
    Job(str(path), IDENTITY, repair=True).close()
    assert known(path) == set(TEXTS)
    if text is not None:
        (aside,) = path.glob("job.json-*.damaged")
        assert aside.read_bytes() == text
    (path / "job.json").write_bytes(b"")
    other = Job(str(path), {"model": "another"}, repair=True)
    assert (other.index.find(keys_of(TEXTS, other.digest)) < 0).all()
    other.close()


def test_a_flipped_bit_of_a_description_is_without_effect_or_found(whole: Logs) -> None:
    """#248: another job's is never taken for this one's, and a repair writes it anew."""
    content: list[bytes | None] = [(whole.whole / name).read_bytes() for name in whole.segments]
    path = whole.damaged(content)
    text = (path / "job.json").read_bytes()
    said = set()
    for bit in range(0, len(text) * 8, 7):
        data = bytearray(text)
        data[bit // 8] ^= 1 << bit % 8
        (path / "job.json").write_bytes(data)
        try:
            Job(str(path), IDENTITY).close()
        except JobError as error:
            said.add(error.what)
            if "another version" in error.what:  # which may have made the number itself
                continue
            Job(str(path), IDENTITY, repair=True).close()
        assert known(path) == set(TEXTS)
    assert "job.json is damaged" in said
    assert len([what for what in said if "another version" not in what]) == 1


@pytest.mark.parametrize("crash", ["kill", "power"])
def test_a_repair_crashed_at_any_operation_can_be_run_again(
    crash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#247: sound frames stay, and what is damaged is in the log or in a file beside it."""
    monkeypatch.setattr(logs, "SEGMENT_BYTES", 900)
    monkeypatch.setattr(logs, "RESERVE_BYTES", 64)
    after, crashed = 0, True
    while crashed:
        after += 1
        fs = SimulatedFileSystem(after)
        fill("/d/job", fs)
        spoiled = {}
        for name in ("00000001.log", "00000002.log"):
            data = fs.content(f"/d/job/{name}") or b""
            at = len(data) // 2
            fs.spoil(f"/d/job/{name}", at)
            spoiled[name] = (fs.content(f"/d/job/{name}") or b"")[at : at + 8]
        fs.crash_at = fs.operations + after
        try:
            repair("/d/job", fs)
            crashed = False
        except Crash:
            (fs.kill if crash == "kill" else fs.lose_power)()
        fs.crash_at = None
        repair("/d/job", fs)
        job = Job("/d/job", IDENTITY, fs)
        ordinals = job.index.find(keys_of(TEXTS, job.digest))
        assert (ordinals < 0).sum() <= 2 * ROWS
        found, _, _ = job.vectors(ordinals[ordinals >= 0])
        there = [text for text, ordinal in zip(TEXTS, ordinals, strict=True) if ordinal >= 0]
        assert np.array_equal(found, vectors(there))
        job.close()
        aside = [
            fs.content(f"/d/job/{name}") or b"" for name in fs.names("/d/job") if "dam" in name
        ]
        assert all(any(piece in data for data in aside) for piece in spoiled.values())
    assert after > 8
