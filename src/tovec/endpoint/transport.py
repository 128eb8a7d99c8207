"""The seam between the client and whatever carries its calls: the network, or this process.

`transport.py` carries them with httpx; `tovec.local.in_process` answers them in process. Both see
the same bytes, so the embedded model is one more endpoint (the shape of httpx's own transports).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol


class Phase(IntEnum):
    """How far a call has come. Once the whole request is sent, the endpoint may bill it."""

    CONNECTING, SENDING, WAITING, READING = range(4)


class Progress:
    """A call's phase, and whether its connection had been idle; written by whoever carries it."""

    def __init__(self) -> None:
        self.phase = Phase.CONNECTING
        self.reused = True  # until a connection is opened


class Call(NamedTuple):
    """One HTTP request, complete. `deadline` seconds for all of it; `cap` bytes of answer."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    deadline: float
    cap: int


class Reply(NamedTuple):
    """One HTTP answer, read to its end. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes | bytearray


class Transport(Protocol):
    """Carries calls. Raises `endpoint.refusal.TransportFailure` and nothing else."""

    async def send(self, call: Call) -> Reply:
        """Carry one call to its end; never follows a redirect, never retries."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
