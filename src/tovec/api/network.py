"""The bytes below HTTP: TCP and TLS on asyncio, received where they are wanted.

What a connection has for an answer of known length goes from the kernel straight into its place;
all else is handed on as soon as it comes. Raises OSError, of which ssl.SSLError is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

PIECE = 1 << 18  # bytes taken from the kernel at once, where no place is given for them
HELD = 1 << 20  # bytes that may wait to be received before the other side is made to wait
RECORDS = 1 << 18  # bytes that TLS is asked for at once; it gives a record's, at most 16 KiB
HAPPY_EYEBALLS = 0.25  # seconds that an address has before the next one is tried (RFC 8305)

_OVER = (ssl.SSLEOFError, ssl.SSLZeroReturnError)

T = TypeVar("T")


async def connect(host: str, port: int, trusted: ssl.SSLContext | None) -> Stream:
    """Connect to the first of a host's addresses that answers; with TLS if certificates are given.

    A connection that fails its handshake is closed.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    transport, protocol = await loop.create_connection(
        _Protocol,
        host,
        port,
        # With a single address, a race that is cancelled would leave a socket behind.
        happy_eyeballs_delay=HAPPY_EYEBALLS if len(found) > 1 else None,
    )
    plain = Plain(transport, protocol)
    if trusted is None:
        return plain
    secured = Secured(plain, trusted, host)
    try:
        await secured.handshake()
    except BaseException:
        plain.close()
        raise
    return secured


class _Protocol(asyncio.BufferedProtocol):
    """What a connection has received and not yet handed on, and how it ended."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.ended = False
        self.error: Exception | None = None
        self._held = 0
        self._piece = memoryview(bytearray(PIECE))
        self._room: memoryview | None = None  # where what comes is wanted ...
        self._filled = self._least = 0  # ... how far it is filled, and from where on it will do
        self._transport: asyncio.Transport | None = None
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # A write that is done is with the kernel: what was not sent must not pass for sent.
        transport.set_write_buffer_limits(0)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._piece if self._room is None else self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._room is None:
            self._hold(bytes(self._piece[:nbytes]))
        else:
            self._filled += nbytes
            if self._filled < self._least:
                return
            self._room = None  # what comes from now on is more than was waited for
        _wake(self._reading)

    def eof_received(self) -> None:
        self.ended = True
        _wake(self._reading)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended, self.error, self._full = True, error, False
        _wake(self._reading)
        _wake(self._writing)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._writing)

    async def received(self) -> bytes:
        """Give what has come, as soon as there is something; nothing at the end."""
        if not self.parts and not self.ended:
            await self._more()
        if not self.parts and self.error is not None:
            raise self.error
        return self._taken()

    async def fill(self, room: memoryview, least: int) -> int:
        """Put what comes into `room`, until `least` bytes are there or no more will come."""
        data = self._taken()
        filled = min(len(data), len(room))
        room[:filled] = data[:filled]
        if len(data) > filled:
            self._hold(data[filled:])
        if filled < least and not self.ended:
            self._room, self._filled, self._least = room, filled, least
            try:
                await self._more()
            finally:
                self._room, filled = None, self._filled
        return filled

    async def drained(self) -> None:
        """Return when everything written is with the kernel."""
        if self._full:
            self._writing = asyncio.get_running_loop().create_future()
            try:
                await self._writing
            finally:
                self._writing = None
        if self.ended:
            raise self.error or ConnectionResetError("the connection was closed")

    async def _more(self) -> None:
        self._reading = asyncio.get_running_loop().create_future()
        try:
            await self._reading
        finally:
            self._reading = None

    def _hold(self, data: bytes) -> None:
        self.parts.append(data)
        self._held += len(data)
        if self._held > HELD and self._transport is not None:
            self._transport.pause_reading()

    def _taken(self) -> bytes:
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        if self._held > HELD and not self.ended and self._transport is not None:
            self._transport.resume_reading()
        self._held = 0
        return data


class Plain:
    """One connection."""

    def __init__(self, transport: asyncio.Transport, protocol: _Protocol) -> None:
        self._transport, self._protocol = transport, protocol

    @property
    def ended(self) -> bool:
        """Whether it is over: closed, or something has come that nobody asked for."""
        return self._protocol.ended or bool(self._protocol.parts)

    async def receive(self) -> bytes:
        """Give everything that has come, as soon as there is something; nothing at the end."""
        return await self._protocol.received()

    async def fill(self, room: memoryview, least: int) -> int:
        """Receive into `room`: at least `least` bytes, fewer at the end. Give how many."""
        return await self._protocol.fill(room, least)

    async def send(self, data: bytes) -> None:
        """Hand everything over to the kernel."""
        if data:
            self._transport.write(data)
            await self._protocol.drained()

    def close(self) -> None:
        """Close, without waiting for the other side; the loop does so at its next turn."""
        self._transport.abort()


class Secured:
    """TLS on a connection; what is sent is with the kernel when `send` returns, here too."""

    def __init__(self, below: Plain, trusted: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._come, self._go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trusted.wrap_bio(self._come, self._go, server_hostname=host)

    @property
    def ended(self) -> bool:
        """Whether it is over: closed, or something has come that nobody asked for."""
        return self._below.ended or self._tls.pending() > 0

    async def handshake(self) -> None:
        """Agree on keys, and check the certificate. Raises ssl.SSLError."""
        await self._done(self._tls.do_handshake)

    async def receive(self) -> bytes:
        """Give everything that has come; nothing at the end, which need not be announced."""
        try:
            parts = [await self._done(partial(self._tls.read, RECORDS))]
            with contextlib.suppress(ssl.SSLWantReadError, *_OVER):  # the next read says so
                while parts[-1]:
                    parts.append(self._tls.read(RECORDS))
        except _OVER:
            return b""
        return b"".join(parts)

    async def fill(self, room: memoryview, least: int) -> int:
        """Receive into `room`: at least `least` bytes, fewer at the end. Give how many."""
        filled = 0
        # ssl fills any buffer that it is given; typeshed knows of bytearrays alone.
        read: Callable[[int, Any], int] = self._tls.read  # type: ignore[assignment]
        try:
            while filled < least:
                filled += await self._done(partial(read, RECORDS, room[filled:]))
            filled += read(RECORDS, room[filled:]) if filled < len(room) else 0
        except (ssl.SSLWantReadError, *_OVER):
            pass  # nothing that has come is left, or it is the end
        return filled

    async def send(self, data: bytes) -> None:
        """Hand everything over to the kernel."""
        if data:
            await self._done(partial(self._tls.write, data))

    def close(self) -> None:
        """Close, without a farewell."""
        self._below.close()

    async def _done(self, step: Callable[[], T]) -> T:
        """Give what a step of TLS gives, bringing and taking away what it needs for that."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                pass  # what fails below did not fail because of this
            else:
                await self._below.send(self._go.read())
                return result
            await self._below.send(self._go.read())
            if data := await self._below.receive():
                self._come.write(data)
            else:
                self._come.write_eof()


Stream = Plain | Secured


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
