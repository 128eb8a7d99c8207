"""numpy without the threads that OpenBLAS starts along with it."""

from __future__ import annotations

import os

_THREADS = "OPENBLAS_NUM_THREADS"


def load_numpy() -> None:
    """Import numpy such that a product is computed by the thread that asks for it.

    OpenBLAS starts a thread a core, which looks for work for 0.1 s of CPU before it sleeps. What
    takes long here has no large products, or threads of its own that each compute one (a search).
    A user's own setting holds; ours is taken back, for it is no matter of programs that we start.
    """
    if _THREADS in os.environ:
        return
    os.environ[_THREADS] = "1"
    try:
        import numpy  # noqa: F401 - OpenBLAS looks at the environment when it is loaded
    finally:
        del os.environ[_THREADS]
