"""An event loop whose time passes only by waiting: hours of limits and pauses in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Leap(selectors.SelectSelector):
    """Instead of waiting for files, moves the clock to when the loop wants to be woken."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and nothing will ever wake it"
            self.now += timeout
        return ready


def run_virtually(work: Callable[[Callable[[], float]], Coroutine[Any, Any, T]]) -> T:
    """Run `work(clock)` to its end in a loop of virtual time; `clock` gives its seconds."""
    leap = _Leap()
    loop = asyncio.SelectorEventLoop(leap)
    loop.time = lambda: leap.now  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(work(lambda: leap.now))
    finally:
        loop.close()
