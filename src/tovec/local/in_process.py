"""Calls answered in this process: a local model behind the seam where the network is.

A small call never suspends, so `send(None)` drives it to its end without an event loop, and
asyncio (40 ms to load) is not imported here. Under a running loop, larger calls go to a thread.
"""

from __future__ import annotations

import sys
from functools import partial
from urllib.parse import unquote, urlsplit

from tovec.endpoint.transport import Call, Reply
from tovec.local import responder
from tovec.local.request_body import ServedModel

INLINE_BYTES = 16 << 10  # of body: about 2 ms of work, less than a loop's other tasks would notice


class LocalTransport:
    """Answers calls with a model in this process: without a network nothing fails on the way.

    A call's deadline and cap do not matter: its work is bounded by the endpoint's limits.
    """

    def __init__(self, served: ServedModel | None = None) -> None:
        self._answer = partial(responder.answer, served=served)

    async def send(self, call: Call) -> Reply:
        """Answer one call, whatever host its URL names."""
        path = unquote(urlsplit(call.url).path)
        if len(call.body) <= INLINE_BYTES or not _loop_runs():
            return _unlogged(self._answer(call.method, path, call.headers, call.body))
        import asyncio

        return _unlogged(
            await asyncio.to_thread(self._answer, call.method, path, call.headers, call.body)
        )

    async def close(self) -> None:
        """Do nothing: there are no connections."""


def _unlogged(reply: Reply) -> Reply:
    """Return a reply without a request id: nobody keeps a log in which it could be looked up."""
    headers = {name: value for name, value in reply.headers.items() if name != "x-request-id"}
    return reply._replace(headers=headers)


def _loop_runs() -> bool:
    """Return whether an event loop is running; without asyncio imported there is none."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
