"""Signals that end a run: taken by an event loop, or by a loop over the blocks of one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from tovec.errors import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object] | int | None


@contextlib.contextmanager
def handle_signals(call: Callable[[int], object]) -> Iterator[None]:
    """Have `call` take the signals that end a run, in the running loop, between two of its steps.

    Except those that are ignored (nohup). Outside of the main thread, which alone can take
    signals, they stay with whoever has them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = _taken()
    try:
        for number in before:
            loop.add_signal_handler(number, call, number)
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_on_signals(call: Callable[[int], object], *, wanted: bool = True) -> Iterator[list[int]]:
    """Have `call` take the first signal that ends a run; the signals that came are in the list.

    A write under way is not broken off then. At the second, Stopped is raised wherever the main
    thread is. Ignored signals, and other threads, as above. Unless `wanted`, none is taken.
    """
    signals: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1:
            raise Stopped(signals[0])
        call(number)

    in_main = threading.current_thread() is threading.main_thread()
    before = _taken() if in_main and wanted else {}
    try:
        for number in before:
            signal.signal(number, handle)
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _taken() -> dict[signal.Signals, _Handler]:
    """Return the signals to take, and what takes them now."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    return {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
