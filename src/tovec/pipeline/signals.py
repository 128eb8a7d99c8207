"""Signals that end a run, taken by its event loop: between two steps, and never in one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def handle_signals(call: Callable[[int], object]) -> Iterator[None]:
    """Have `call` take the signals that end a run, except those that are ignored (nohup).

    Outside of the main thread, which alone can take signals, they stay with whoever has them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    try:
        for number in taken:
            loop.add_signal_handler(number, call, number)
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])
