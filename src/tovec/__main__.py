"""`python -m tovec` and the `tovec` script."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

# Seconds for which a thread keeps the interpreter while another wants it. One that writes wants it
# for every MiB: with Python's 5 ms, a seventh of its time was waiting.
SHARE = 1e-4


class _Without:
    """Keeps out of the process what libraries import, where it is installed, and can do without.

    pyarrow imports pandas with its first array, to look for objects of its that never come here:
    0.2 s of each run. httpx imports its own command line, and rich and click for it: 0.05 s.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Say that these are not there; others are to be asked about everything else."""
        if name in ("pandas", "httpx._main"):
            raise ModuleNotFoundError(f"tovec does without {name}", name=name)


def main() -> NoReturn:
    """Run tovec's command line."""
    sys.meta_path.insert(0, _Without)
    sys.setswitchinterval(SHARE)
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:  # it may be ignored: nohup, a job in background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a traceback of imports helps nobody
    from tovec.cli.app import main

    signal.signal(signal.SIGINT, interrupted)
    main()


if __name__ == "__main__":
    main()
