"""Process-wide state, in one place: what a command line sets for its whole process.

Nothing of it is set on import. A library that uses tovec keeps its own.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from tovec.errors import Stopped

# The longest that a thread keeps the interpreter while another waits for it. The writer thread
# needs it for every MiB: with Python's 5 ms it spent a seventh of its time waiting.
SWITCH_SECONDS = 1e-4

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_M_ARENA_MAX = -8  # from glibc's malloc.h


class HiddenImports:
    """Import hook that hides modules which our libraries import if present but do not need.

    pyarrow imports pandas with its first array, to look for objects that never come here: 0.2 s
    of each run. httpx imports its own command line, and rich and click for it: 0.05 s.
    """

    NAMES = ("pandas", "httpx._main")

    @classmethod
    def find_spec(cls, name: str, _path: object = None, _target: object = None) -> None:
        """Raise ModuleNotFoundError for a hidden module; leave every other to the next finder."""
        if name in cls.NAMES:
            raise ModuleNotFoundError(f"tovec does without {name}", name=name)


def prepare_interpreter() -> None:
    """Hide unneeded imports, let threads take turns quickly, and collect no garbage for now."""
    sys.meta_path.insert(0, HiddenImports)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.disable()  # imports leave none: looking for it took 10 ms of each start


def collect_garbage() -> None:
    """Collect garbage from now on, but not among what the start has left."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def load_numpy() -> None:
    """Import numpy so that OpenBLAS computes a product in the calling thread.

    OpenBLAS starts one thread per core, and each spins for 0.1 s of CPU before it sleeps. Commands
    that take long have no large products, or compute one in each of their own threads (a search).
    A value set by the user wins; ours is removed again so that child processes do not inherit it.
    """
    is_set = _BLAS_THREADS in os.environ
    os.environ.setdefault(_BLAS_THREADS, "1")
    try:
        import numpy  # noqa: F401 - OpenBLAS reads the environment when it is loaded
    finally:
        if not is_set:
            del os.environ[_BLAS_THREADS]
    _share_one_heap()


def _share_one_heap() -> None:
    """Have glibc serve all threads from one heap, which reuses large blocks.

    A heap per thread returns them to the system, and an answer's pages are faulted in each time:
    4 % of the CPU of a bulk run. Threads seldom allocate at once: they share the interpreter.
    """
    import ctypes  # numpy has loaded it

    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def forbid_core_files() -> None:
    """Keep the process's memory out of core files: from now on it holds a secret."""
    import resource

    _, hard_limit = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard_limit))


def set_color(*, wanted: bool) -> None:
    """Turn colour on or off for everything that reads the usual variables, Rich among them."""
    if wanted:
        os.environ["FORCE_COLOR"] = "1"
        os.environ.pop("NO_COLOR", None)
    else:
        os.environ["NO_COLOR"] = "1"


def stop_on_signals() -> None:
    """Raise Stopped on SIGTERM and SIGHUP, except where they are ignored (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise_stopped)


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore the signals that stop a run, for acts that take no time and must not be cut in two."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _raise_stopped(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


def open_standard_files() -> None:
    """Open /dev/null on 0 to 2 where they are closed, so that no file of ours becomes stdout.

    On 1 it is open for reading only: data written to a closed stdout must not vanish silently.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
            if number == 1:  # unbuffered, so that the first write fails
                raw = io.FileIO(1, "w", closefd=False)
                sys.stdout = io.TextIOWrapper(raw, write_through=True)
