"""A terminal of our own for a process: type, wait for what it shows, look at what came."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

# The child takes the terminal as its own before it becomes the program: job control needs it.
_LEAD = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Console:
    """A process on a pseudo-terminal of the given size; `seen` is all that it wrote."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], rows: int = 24, columns: int = 80
    ) -> None:
        self._near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LEAD, *command],
            stdin=far,
            stdout=far,
            stderr=far,
            env=dict(env),
            start_new_session=True,
        )
        os.close(far)
        self.seen = b""

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._near)  # the program gets a SIGHUP, as from a window that is closed
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def type(self, keys: str) -> None:
        """Send what a person would type; Enter is "\\r", TAB "\\t", Ctrl-C "\\x03"."""
        os.write(self._near, keys.encode())

    def wait_for(self, text: bytes, since: int = 0, seconds: float = 60) -> float:
        """Read until `text` has come after byte `since`; give the time when it had.

        Raises AssertionError with what came instead.
        """
        until = time.monotonic() + seconds
        while text not in self.seen[since:]:
            if not self._read(max(0.0, until - time.monotonic())):
                raise AssertionError(f"{text!r} did not come; what came: {self.seen[since:]!r}")
        return time.perf_counter()

    def drain(self) -> None:
        """Read what is there by now."""
        while self._read(0):
            pass

    def end(self) -> int:
        """Read until the process has ended; give its exit code, negative for a signal."""
        while self._read(60):
            pass
        return self._process.wait(60)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._near], [], [], seconds)
        if not ready:
            return False
        try:
            part = os.read(self._near, 65536)
        except OSError:  # what Linux says when the last process has closed the other end
            return False
        self.seen += part
        return bool(part)
