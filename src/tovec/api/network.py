"""The bytes below HTTP: TCP and TLS on asyncio, read in the pieces in which the kernel has them.

httpcore's own streams hand an answer on in pieces of 64 KiB, each through three layers of timeouts
and cancel scopes: for an answer of 17 MB that is most of its cost. Here is what httpcore asks of a
network backend (its documented interface) and no more: a read gives everything that has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import httpcore

HELD = 1 << 20  # bytes that may wait to be read before the other side is made to wait
RECORDS = 1 << 18  # bytes that TLS is asked for at once; it gives a record's, at most 16 KiB
HAPPY_EYEBALLS = 0.25  # seconds that an address has before the next one is tried (RFC 8305)

_OVER = (ssl.SSLEOFError, ssl.SSLZeroReturnError)

T = TypeVar("T")


class Network(httpcore.AsyncNetworkBackend):
    """Opens connections. Raises httpcore's ConnectError and ConnectTimeout."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the host's addresses that answers."""
        loop = asyncio.get_running_loop()
        with _named(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                transport, protocol = await loop.create_connection(
                    _Protocol,
                    host,
                    port,
                    local_addr=(local_address, 0) if local_address else None,
                    # With a single address, a race that is cancelled would leave a socket behind.
                    happy_eyeballs_delay=HAPPY_EYEBALLS if len(found) > 1 else None,
                )
        for option in socket_options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        return _Stream(transport, protocol)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _Protocol(asyncio.Protocol):
    """What a connection has received and not yet handed on, and how it ended."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.ended = False
        self.error: Exception | None = None
        self._held = 0
        self._transport: asyncio.Transport | None = None
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # A write that is done is with the kernel: what was not sent must not pass for sent.
        transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)
        self._held += len(data)
        if self._held > HELD and self._transport is not None:
            self._transport.pause_reading()
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
            self._reading = asyncio.get_running_loop().create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        if not self.parts:
            if self.error is not None:
                raise self.error
            return b""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        if self._held > HELD and not self.ended and self._transport is not None:
            self._transport.resume_reading()
        self._held = 0
        return data

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


class _Stream(httpcore.AsyncNetworkStream):
    """One connection."""

    def __init__(self, transport: asyncio.Transport, protocol: _Protocol) -> None:
        self._transport, self._protocol = transport, protocol

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Give everything that has come; `max_bytes` is httpcore's wish, not a limit of h11's."""
        del max_bytes
        with _named(httpcore.ReadTimeout, httpcore.ReadError):
            if timeout is None:
                return await self._protocol.received()
            async with asyncio.timeout(timeout):
                return await self._protocol.received()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Hand everything over to the kernel."""
        if not buffer:
            return
        with _named(httpcore.WriteTimeout, httpcore.WriteError):
            self._transport.write(buffer)
            async with asyncio.timeout(timeout):
                await self._protocol.drained()

    async def aclose(self) -> None:
        """Close, without waiting for the other side."""
        self._transport.abort()
        await asyncio.sleep(0)  # the loop closes the socket at its next turn

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Give the connection with TLS on it; one that fails its handshake is closed."""
        secured = _Secured(self, ssl_context, server_hostname)
        try:
            with _named(httpcore.ConnectTimeout, httpcore.ConnectError):
                async with asyncio.timeout(timeout):
                    await secured.handshake()
        except BaseException:
            await self.aclose()
            raise
        return secured

    def get_extra_info(self, info: str) -> Any:
        """Give what httpcore asks: `is_readable` of an idle connection means that it is over."""
        if info == "is_readable":
            return self._protocol.ended or bool(self._protocol.parts)
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))


class _Secured(httpcore.AsyncNetworkStream):
    """TLS on a connection; what is written is with the kernel when `write` returns, here too."""

    def __init__(self, below: _Stream, context: ssl.SSLContext, hostname: str | None) -> None:
        self._below = below
        self._come, self._go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._come, self._go, server_hostname=hostname)

    async def handshake(self) -> None:
        """Agree on keys, and check the certificate. Raises ssl.SSLError."""
        await self._done(self._tls.do_handshake)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Give everything that has come; nothing at the end, which need not be announced."""
        del max_bytes
        with _named(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                try:
                    parts = [await self._done(partial(self._tls.read, RECORDS))]
                    with contextlib.suppress(ssl.SSLWantReadError, *_OVER):  # the next read says so
                        while parts[-1]:
                            parts.append(self._tls.read(RECORDS))
                except _OVER:
                    return b""
        return b"".join(parts)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Hand everything over to the kernel."""
        with _named(httpcore.WriteTimeout, httpcore.WriteError):
            async with asyncio.timeout(timeout):
                await self._done(partial(self._tls.write, buffer))

    async def _done(self, step: Callable[[], T]) -> T:
        """Give what a step of TLS gives, bringing and taking away what it needs for that."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._below.write(self._go.read())
                if data := await self._below.read(HELD):
                    self._come.write(data)
                else:
                    self._come.write_eof()
            else:
                await self._below.write(self._go.read())
                return result

    async def aclose(self) -> None:
        """Close, without a farewell."""
        await self._below.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Give what httpcore asks."""
        return self._tls if info == "ssl_object" else self._below.get_extra_info(info)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


@contextlib.contextmanager
def _named(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Raise what the network raises by httpcore's names."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:  # ssl.SSLError is one too
        raise failed(str(error)) from error
