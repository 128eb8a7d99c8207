"""Group commit: answers become durable together, and only then are their requests' slots free.

While one group is on its way to the disk, the answers that arrive form the next: no timer, and one
sync for as many answers as came meanwhile (RELIABILITY d.4, step 4).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tovec.records import Answer, Request
from tovec.store.job import Entry, Job

MOST = 64  # answers in a group


class _Waiting(NamedTuple):
    entries: list[Entry]
    stored: asyncio.Future[None]


class GroupCommit:
    """Stores answers of requests that carry ordinals; the `keep` of an `api.client.Client`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(int)  # it is there before anything is paid for, or cannot be had
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, request: Request, answer: Answer) -> None:
        """Return when the answer survives a power cut; raises FileError where it cannot."""
        assert request.ordinals is not None
        one = _Waiting(
            entries(self._job, request, answer), asyncio.get_running_loop().create_future()
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
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
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
                        one.stored.set_result(None)
        finally:
            self._writing = None


def entries(job: Job, request: Request, answer: Answer) -> list[Entry]:
    """Give what an answer adds to the store: its vectors, and its refusals."""
    assert request.ordinals is not None
    keys = job.index.keys(request.ordinals)
    found = []
    if len(answer.vectors):
        kept = keys if answer.kept is None else keys[list(answer.kept)]
        about = {"model": answer.model}
        found.append(Entry(kept, answer.vectors, (), answer.usage.prompt_tokens, about))
    if answer.refused:
        positions, reasons = zip(*answer.refused, strict=True)
        found.append(Entry(keys[list(positions)], None, tuple(reasons)))
    return found
