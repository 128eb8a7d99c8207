"""Streaming in order: the window of rows, and what may overtake what."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tovec import formats
from tovec.errors import LaterError, Stopped
from tovec.pipeline import stream
from tovec.pipeline.packing import TARGET_ITEMS, Packer
from tovec.pipeline.reorder import Finished, Prepared
from tovec.records import Answer, Block, Limits, Request

CONCURRENCY = 4
ROOM = (stream.WINDOW + CONCURRENCY) * TARGET_ITEMS  # rows


class Slow:
    """A client whose first answer comes only when `meanwhile` requests have been made."""

    def __init__(self, meanwhile: int) -> None:
        self.meanwhile, self.asked = meanwhile, 0
        self.enough = asyncio.Event()

    async def embed(self, request: Request) -> Answer:
        self.asked += 1
        if self.asked == self.meanwhile:
            self.enough.set()
        if self.asked == 1:
            await asyncio.wait_for(self.enough.wait(), 20)
            await asyncio.sleep(0.05)  # in which one more would be made, were there room
            assert self.asked == self.meanwhile
        return Answer(np.ones((len(request), 2), np.float32), "m")


def as_they_are(block: Block) -> Prepared:
    return Prepared(block.inputs, block.rows, block.source, np.asarray(block.lines, np.int64))


def streamed(rows: int, items: int, meanwhile: int) -> list[int]:
    """Embed rows in requests of so many items; give the rows as written."""
    written = list[int]()

    def write(finished: Finished) -> None:
        written.extend(finished.rows.index)

    async def work() -> None:
        blocks: Iterator[Block] = formats.from_texts([f"text {i}" for i in range(rows)])
        packer = Packer(lambda: Limits(items=items))
        await stream.over_network(blocks, as_they_are, packer, Slow(meanwhile), write, CONCURRENCY)

    asyncio.run(work())
    return written


def test_small_requests_overtake_one_that_is_late_as_far_as_memory_goes() -> None:
    assert streamed(20_000, items=32, meanwhile=ROOM // 32) == list(range(20_000))


def test_tiny_requests_do_not_become_tasks_without_number() -> None:
    assert streamed(5_000, items=1, meanwhile=ROOM // stream.LEAST) == list(range(5_000))


def test_a_request_larger_than_the_window_goes_alone() -> None:
    async def work() -> None:
        window = stream._Window(10)
        for _ in range(2):
            async with asyncio.timeout(10):
                await window.enter(1_000)
            window.leave(1_000)

    asyncio.run(work())


# What is written when something stops a run ------------------------------------------------------


class Failing:
    """A client whose answers come in any order; at the request from `row` on the run is stopped."""

    def __init__(self, row: int, turns: Sequence[int], stop: Callable[[], object]) -> None:
        self.row, self.turns, self.stop = row, turns, stop
        self.answered: set[int] = set()

    async def embed(self, request: Request) -> Answer:
        first = int(str(request.inputs[0]).removeprefix("text "))
        for _ in range(self.turns[first % len(self.turns)]):
            await asyncio.sleep(0)
        if first <= self.row < first + len(request):
            self.stop()
            await asyncio.Event().wait()
        self.answered |= {first + i for i in range(len(request))}
        return Answer(np.ones((len(request), 2), np.float32), "m")

    @property
    def prefix(self) -> list[int]:
        """The rows that were answered before the first that was not."""
        rows = itertools.takewhile(lambda row: row in self.answered, itertools.count())
        return list(rows)


def lost() -> None:
    raise LaterError("the endpoint is gone")


@pytest.mark.parametrize(
    ("stop", "error"),
    [(lost, LaterError), (lambda: signal.raise_signal(signal.SIGTERM), Stopped)],
    ids=["error", "signal"],
)
@given(
    blocks=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    items=st.integers(1, 7),
    row=st.integers(0, 30),
    turns=st.lists(st.integers(0, 9), min_size=1, max_size=7),
)
@settings(max_examples=60)
def test_a_run_that_stops_writes_every_answered_row_in_order(
    stop: Callable[[], object], error: type[BaseException],
    blocks: list[int], items: int, row: int, turns: list[int],
) -> None:  # fmt: skip
    """#214: 15 rows of 3 paid requests, and nothing was written: their block had more rows."""
    total = sum(blocks)
    client, written = Failing(min(row, total - 1), turns, stop), list[int]()

    def in_blocks() -> Iterator[Block]:
        (whole,) = formats.from_texts([f"text {i}" for i in range(total)])
        start = 0
        for size in blocks:
            places = range(start, start + size)
            yield replace(
                whole,
                inputs=[f"text {i}" for i in places],
                rows=whole.rows.take(places),
                index=list(places),
                lines=[i + 1 for i in places],
            )
            start += size

    async def work() -> None:
        await stream.over_network(
            in_blocks(), as_they_are, Packer(lambda: Limits(items=items)), client,
            lambda finished: written.extend(finished.rows.index), CONCURRENCY, keep_partial=True,
        )  # fmt: skip

    with pytest.raises(error):
        asyncio.run(work())
    assert written == client.prefix


def test_a_reader_that_takes_nothing_does_not_keep_a_run_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """#215: a pager that shows its first page, and Ctrl-C: the run waited for the reader."""
    monkeypatch.setattr(stream, "LAST_WRITE_SECONDS", 0.05)
    reads = threading.Event()
    written: list[object] = []

    def write(finished: object) -> None:
        reads.wait()
        written.append(finished)

    async def work() -> None:
        writer = stream._Writer(write)  # type: ignore[arg-type]
        blocked = asyncio.ensure_future(writer.write("first"))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        blocked.cancel()
        await writer.write_last(["second"])  # type: ignore[list-item]

    asyncio.run(work())
    assert not written
    reads.set()


def test_nothing_is_written_after_a_write_that_failed() -> None:
    """#214: what comes after a gap would be taken for the whole."""
    written: list[object] = []

    def write(finished: object) -> None:
        if finished == "bad":
            raise OSError("no space")
        written.append(finished)

    async def work() -> None:
        writer = stream._Writer(write)  # type: ignore[arg-type]
        with pytest.raises(OSError, match="no space"):
            await writer.write("bad")  # type: ignore[arg-type]
        await writer.write_last(["next"])  # type: ignore[list-item]

    asyncio.run(work())
    assert not written
