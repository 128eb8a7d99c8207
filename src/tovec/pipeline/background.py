"""An event loop in a thread of its own, for callers that are not written for one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

END_SECONDS = 1.0  # that a loop has to end what is under way

T = TypeVar("T")


class BackgroundLoop:
    """An event loop that runs in a daemon thread until it is closed.

    Raises RuntimeError where no thread can be started.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            if tasks:  # a lookup of a host's name, in a thread of its own, is not waited for
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=END_SECONDS))
            self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns, or raise what it raises; for any thread but the loop's.

        It is cancelled when a signal's handler raises in the waiting thread.
        """
        running = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, cancel what is under way, and end the thread: within a second each."""
        running = asyncio.run_coroutine_threadsafe(last, self.loop)
        with contextlib.suppress(TimeoutError):
            running.result(END_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(END_SECONDS)
