"""Group commit: answers become durable together, and only then are their requests' slots free.

While one group is on its way to the disk, the answers that arrive form the next: no timer, and one
sync for as many answers as came meanwhile (RELIABILITY d.4, step 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tovec.batch.budget import CountBatch, Exchange, current_exchange, token_counts
from tovec.records import Answer, Inputs, Request
from tovec.store.job import Entry, Job

MAX_GROUP = 64  # answers


class _Waiting(NamedTuple):
    part: Request
    entries: list[Entry]
    stored: asyncio.Future[None]
    exchange: Exchange | None

    def is_stored(self) -> None:
        """Tell those who wait, and the budget, which may take longer than its request's task."""
        self.stored.set_result(None)
        if self.exchange is not None and any(one.vectors is not None for one in self.entries):
            self.exchange.store(self.part, sum(one.tokens or 0 for one in self.entries))


class GroupCommit:
    """Stores answers, each under the ordinals of its inputs in the job's index.

    An answer for which the endpoint reports no usage is stored with the most tokens that `count`
    finds for it, which `on_estimate` is told. `rows` returns how many rows of the input are done.
    """

    def __init__(
        self,
        job: Job,
        count: CountBatch | None,
        rows: Callable[[], int] = lambda: 0,
        on_estimate: Callable[[int], None] = lambda _tokens: None,
    ) -> None:
        self._job, self._count = job, count
        self._rows, self._on_estimate = rows, on_estimate
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(int)  # it is there before anything is paid for, or cannot be had
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def store(
        self, ordinals: NDArray[np.int64], start: int, part: Request, answer: Answer
    ) -> None:
        """Return when the answer survives a power cut; raises FileError where it cannot.

        `part` is the part of a request that begins at its input `start`; `ordinals` are those of
        the whole request's inputs.
        """
        one = _Waiting(
            part,
            self._entries(ordinals[start : start + len(part)], part, answer),
            asyncio.get_running_loop().create_future(),
            current_exchange(),
        )
        self._waiting.append(one)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        # A request that is cancelled meanwhile has still been answered: its answer is stored.
        await asyncio.shield(one.stored)

    async def close(self) -> None:
        """Return when everything that was answered is stored, or could not be."""
        while self._writing is not None:
            await asyncio.wait({self._writing})
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
                flat = [entry for one in group for entry in one.entries]
                try:
                    places = await loop.run_in_executor(self._thread, self._job.append, flat)
                    self._job.enter(flat, places)
                except Exception as error:  # noqa: BLE001 - each of those who wait is told
                    for one in group:
                        one.stored.set_exception(error)
                        one.stored.exception()  # one who has stopped waiting does not ask for it
                else:
                    for one in group:
                        one.is_stored()
        finally:
            self._writing = None

    async def note_unanswered(self, tokens: int) -> None:
        """Return when it is stored how many tokens may be billed without an answer.

        Raises FileError where it cannot be.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._job.note, "unanswered", tokens)

    def _entries(self, ordinals: NDArray[np.int64], part: Request, answer: Answer) -> list[Entry]:
        """Return what an answer adds to the store: its vectors, and its refusals."""
        keys = self._job.index.keys(ordinals)
        found = []
        if len(answer.vectors):
            kept = range(len(part)) if answer.kept is None else answer.kept
            tokens, about = (
                answer.usage.prompt_tokens,
                {"model": answer.model, "rows": self._rows()},
            )
            if tokens is None:
                inputs: Inputs = [part.inputs[i] for i in kept]  # type: ignore[assignment]
                tokens = sum(token_counts(inputs, self._count))
                about["estimated"] = True
                self._on_estimate(tokens)
            own = keys if answer.kept is None else keys[list(kept)]
            found.append(Entry(own, answer.vectors, (), tokens, about))
        if answer.refused:
            positions, reasons = zip(*answer.refused, strict=True)
            found.append(Entry(keys[list(positions)], None, tuple(reasons)))
        return found
