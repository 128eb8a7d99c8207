"""Streaming in order: the window of rows, and what may overtake what."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np

from tovec import formats
from tovec.jobs import stream
from tovec.jobs.assembly import Finished, Prepared
from tovec.jobs.packing import TARGET_ITEMS, Packer
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


def streamed(rows: int, items: int, meanwhile: int) -> list[int]:
    """Embed rows in requests of so many items; give the rows as written."""
    written = list[int]()

    def prepared(block: Block) -> Prepared:
        return Prepared(block.inputs, block.rows, block.source, np.asarray(block.lines, np.int64))

    def write(finished: Finished) -> None:
        written.extend(finished.rows.index)

    async def work() -> None:
        blocks: Iterator[Block] = formats.from_texts([f"text {i}" for i in range(rows)])
        packer = Packer(lambda: Limits(items=items))
        await stream.over_network(blocks, prepared, packer, Slow(meanwhile), write, CONCURRENCY)

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
