"""`python -m tovec` and the `tovec` script."""

from __future__ import annotations

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run tovec's command line."""
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:  # it may be ignored: nohup, a job in background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a traceback of imports helps nobody
    from tovec.startup import prepare_interpreter

    prepare_interpreter()
    from tovec.cli.app import main

    signal.signal(signal.SIGINT, interrupted)
    main()


if __name__ == "__main__":
    main()
