"""Streaming in order: the window of rows, and what may overtake what."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tovec import formats
from tovec.errors import LaterError, Stopped
from tovec.pipeline import network_stream
from tovec.pipeline.background import BackgroundLoop
from tovec.pipeline.network_stream import embed_over_network
from tovec.pipeline.packing import TARGET_ITEMS, Packer
from tovec.pipeline.reorder import Assembly, Finished, Prepared
from tovec.pipeline.stream import Embedder, Work
from tovec.records import Answer, Block, Limits, Request

CONCURRENCY = 4
ROOM = (network_stream.WINDOW_REQUESTS + CONCURRENCY) * TARGET_ITEMS  # rows


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


@contextlib.contextmanager
def embedding(
    blocks: Iterator[Block], items: int, embedder: Embedder, *, keep_partial: bool = False
) -> Iterator[Iterator[Finished]]:
    """Embed blocks in requests of so many items."""
    packer = Packer(lambda: Limits(items=items))
    work = Work(blocks, as_they_are, packer, embedder, Assembly(), keep_partial)
    background = BackgroundLoop()
    try:
        with contextlib.closing(embed_over_network(work, background, CONCURRENCY)) as embedded:
            yield embedded
    finally:
        background.close(asyncio.sleep(0))


def streamed(rows: int, items: int, meanwhile: int) -> list[int]:
    """Embed rows in requests of so many items; return the rows that come."""
    blocks: Iterator[Block] = formats.from_texts([f"text {i}" for i in range(rows)])
    with embedding(blocks, items, Slow(meanwhile)) as embedded:
        return [row for finished in embedded for row in finished.rows.index]


def test_small_requests_overtake_one_that_is_late_as_far_as_memory_goes() -> None:
    assert streamed(20_000, items=32, meanwhile=ROOM // 32) == list(range(20_000))


def test_tiny_requests_do_not_become_tasks_without_number() -> None:
    assert streamed(5_000, items=1, meanwhile=ROOM // network_stream.MIN_ROWS) == list(range(5_000))


def test_a_request_larger_than_the_window_goes_alone() -> None:
    async def work() -> None:
        window = network_stream._Window(10)
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
    [(lost, LaterError), (lambda: os.kill(os.getpid(), signal.SIGTERM), Stopped)],
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

    with pytest.raises(error), embedding(in_blocks(), items, client, keep_partial=True) as embedded:
        for finished in embedded:
            written.extend(finished.rows.index)
    assert written == client.prefix


class Answering:
    """A client that answers at once, and counts the requests."""

    def __init__(self) -> None:
        self.asked = 0

    async def embed(self, request: Request) -> Answer:
        self.asked += 1
        return Answer(np.ones((len(request), 2), np.float32), "m")


def test_a_reader_that_takes_nothing_does_not_keep_a_run_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """#215: a pager that shows its first page, and Ctrl-C: the run waited for the reader."""
    monkeypatch.setattr(network_stream, "LAST_WRITE_SECONDS", 0.05)
    readable, full = os.pipe()
    blocks = formats.from_texts([f"text {i}" for i in range(10)])
    with pytest.raises(Stopped), embedding(blocks, 1, Answering()) as embedded:
        for _ in embedded:
            signal.raise_signal(signal.SIGTERM)
            os.write(full, bytes(1 << 20))  # which nobody reads
    os.close(readable)
    os.close(full)


def test_a_write_under_way_is_finished_when_a_signal_comes() -> None:
    """#214: rows that were answered are written, the first of them whole."""
    client, written = Answering(), list[int]()
    blocks = formats.from_texts([f"text {i}" for i in range(10)])
    with pytest.raises(Stopped), embedding(blocks, 10, client) as embedded:
        for finished in embedded:
            signal.raise_signal(signal.SIGTERM)
            written.extend(finished.rows.index)
    assert written == list(range(10))


def test_a_second_signal_ends_the_run_wherever_it_is() -> None:
    blocks = formats.from_texts(["text"])
    with pytest.raises(Stopped), embedding(blocks, 1, Answering()) as embedded:
        for _ in embedded:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the second signal did not end it")


def test_nothing_is_asked_for_once_the_loop_over_the_rows_fails() -> None:
    """#214: what comes after a gap would be taken for the whole, and what is asked for is paid."""
    client = Failing(10**9, [9], lost)
    endless = (block for i in itertools.count() for block in formats.from_texts([f"text {i}"]))
    with pytest.raises(OSError, match="no space"), embedding(endless, 1, client) as embedded:
        for _ in embedded:
            raise OSError("no space")
    asked = len(client.answered)
    assert asked <= 2 * ROOM
    assert len(client.answered) == asked


def test_the_handlers_of_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with embedding(formats.from_texts(["text"]), 1, Answering()) as embedded:
        assert len(list(embedded)) == 1
    assert signal.getsignal(signal.SIGTERM) == before
