"""Group commit: answers become durable together, and only then are their requests' slots free.

While one group is on its way to the disk, the answers that arrive form the next: no timer, and one
sync for as many answers as came meanwhile (RELIABILITY d.4, step 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from tovec.batch.budget import Budget, Exchange, current_exchange
from tovec.records import Answer, Request
from tovec.store.job import Entry, Job

MAX_GROUP = 64  # answers


class _Waiting(NamedTuple):
    request: Request
    entries: list[Entry]
    stored: asyncio.Future[None]
    exchange: Exchange | None

    def is_stored(self) -> None:
        """Tell those who wait, and the budget, which may take longer than its request's task."""
        self.stored.set_result(None)
        if self.exchange is not None and any(one.vectors is not None for one in self.entries):
            self.exchange.store(self.request, sum(one.tokens or 0 for one in self.entries))


class GroupCommit:
    """Stores answers of requests that carry ordinals; the `keep` of an `endpoint.client.Client`.

    An answer for which the endpoint reports no usage is stored with what `budget` counts for it,
    which `on_estimate` is told. `rows` returns how many rows of the input are done.
    """

    def __init__(
        self,
        job: Job,
        budget: Budget,
        rows: Callable[[], int] = lambda: 0,
        on_estimate: Callable[[int], None] = lambda _tokens: None,
    ) -> None:
        self._job, self._budget = job, budget
        self._rows, self._on_estimate = rows, on_estimate
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(int)  # it is there before anything is paid for, or cannot be had
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, request: Request, answer: Answer) -> None:
        """Return when the answer survives a power cut; raises FileError where it cannot."""
        assert request.ordinals is not None
        one = _Waiting(
            request,
            self._entries(request, answer),
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

    async def note(self, name: str, value: Any) -> None:
        """Return when a fact of the job's survives a power cut; raises FileError as above."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._job.note, name, value)

    def _entries(self, request: Request, answer: Answer) -> list[Entry]:
        """Return what an answer adds to the store: its vectors, and its refusals."""
        assert request.ordinals is not None
        keys = self._job.index.keys(request.ordinals)
        found = []
        if len(answer.vectors):
            kept = range(len(request)) if answer.kept is None else answer.kept
            tokens, about = (
                answer.usage.prompt_tokens,
                {"model": answer.model, "rows": self._rows()},
            )
            if tokens is None:
                inputs = [request.inputs[i] for i in kept]
                tokens = self._budget.count(inputs)  # type: ignore[arg-type]
                about["estimated"] = True
                self._on_estimate(tokens)
            own = keys if answer.kept is None else keys[list(kept)]
            found.append(Entry(own, answer.vectors, (), tokens, about))
        if answer.refused:
            positions, reasons = zip(*answer.refused, strict=True)
            found.append(Entry(keys[list(positions)], None, tuple(reasons)))
        return found
