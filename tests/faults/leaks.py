"""What a long job holds open: descriptors, tasks and memory, looked at while it runs.

`python -m tests.faults.leaks 10000` runs a job of so many requests, with faults among them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.servers.loopback import Fault

from tovec.endpoint.address import Endpoint
from tovec.endpoint.client import Client
from tovec.endpoint.governor import Governor
from tovec.endpoint.http_transport import HttpxTransport
from tovec.endpoint.providers import Provider
from tovec.events import ignore
from tovec.pipeline.dispatch import Dispatcher
from tovec.records import Request

CONCURRENCY = 8
FAULTS = [
    Fault("status", status=500, every=31),
    Fault("reset", every=37),
    Fault("bye", every=11),
    Fault("cut", every=41),
    Fault("short", every=43),
    Fault("gzip", every=29),
    Fault("second", every=47),
]


class Held(NamedTuple):
    """What the process holds at one moment."""

    requests: int
    descriptors: int
    tasks: int
    objects: int
    bytes: int


def held(requests: int) -> Held:
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    size = pages * os.sysconf("SC_PAGE_SIZE")
    descriptors = len(os.listdir("/proc/self/fd"))
    return Held(requests, descriptors, len(asyncio.all_tasks()), len(gc.get_objects()), size)


def looked_at(requests: int, times: int, port_of: str) -> Iterator[Held]:
    """Send so many requests to a server, and look at equal distances."""
    where = Endpoint(Provider(name="own", base_url=port_of), f"{port_of}/embeddings", None, "m")

    async def work() -> list[Held]:
        governor = Governor(concurrency=CONCURRENCY, give_up_after=60)
        governor.backoff = lambda *_args, **_more: 0.001  # type: ignore[method-assign]
        client = Client(where, HttpxTransport(where.url, concurrency=CONCURRENCY), governor)
        dispatcher = Dispatcher(client, ignore)
        found = []
        numbers = iter(range(requests))

        async def sends() -> None:
            for number in numbers:
                texts = [f"text {number} {i}" for i in range(4)]
                answer = await dispatcher.embed(Request(texts, 8))
                assert len(answer.vectors) == 4
                if number % (requests // times) == requests // times - 1:
                    found.append(held(number + 1))

        try:
            await asyncio.gather(*(sends() for _ in range(CONCURRENCY)))
        finally:
            await client.close()
        return found

    yield from asyncio.run(work())


def main() -> None:
    """Run, and print what was held."""
    from tests.servers.loopback import running

    requests = int(sys.argv[1])
    faults = [json.dumps({"kind": one.kind, "every": one.every}) for one in FAULTS]
    words = [word for one in faults for word in ("--fault", one)]
    began = time.monotonic()
    with running("--dimensions", "256", *words) as server:
        for one in looked_at(requests, 10, server.base_url):
            print(f"{one.requests:>7,} requests: {one.descriptors} descriptors, {one.tasks} tasks, "
                  f"{one.objects:,} objects, {one.bytes >> 20} MiB")  # fmt: skip
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
