"""A bare socket that answers as a test says, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Hand each connection on 127.0.0.1 to `serve`, in a thread; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    guest, _ = door.accept()
                    threading.Thread(target=alone, args=(guest,), daemon=True).start()

        def alone(guest: socket.socket) -> None:
            with guest, contextlib.suppress(OSError):
                serve(guest)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def heard_out(guest: socket.socket) -> None:
    """Wait until the other side hangs up."""
    while guest.recv(1 << 16):
        pass
