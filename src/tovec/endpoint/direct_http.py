"""Direct connections: httpx's transport interface over the standard library's http.client.

httpcore copies each response six times, which was a quarter of a bulk run's CPU. Here the event
loop connects, and a worker thread then carries one request and its response. A body of known
length goes from the kernel straight into the one buffer that the caller gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar, cast

import httpx

from tovec.endpoint.address import PORTS, Origin
from tovec.endpoint.transport import Phase, Progress
from tovec.endpoint.trust import trusted
from tovec.wording import count_phrase

ADDRESS_SECONDS = 2.0  # for each address of a host but the last: a dead one must not use up all
BUFFER_BYTES = 1 << 16
PIECE_BYTES = 1 << 18
TLS_ALERT = b"\x15\x03"  # how a server that speaks TLS begins its answer to anything else
T = TypeVar("T")


class SpeaksTLS(http.client.HTTPException):
    """The server answers plain HTTP with a TLS alert."""


class DirectTransport(httpx.AsyncBaseTransport):
    """Connections without a proxy, kept open for later requests for `keep_alive` seconds.

    A request's extension "progress" (a `Progress`) is kept up to date. A body of known length is
    read whole once its stream is read: look at its length first. Raises httpx.TransportError;
    ConnectError and WriteError where the request was not sent whole.
    """

    def __init__(self, trusted: ssl.SSLContext | None, *, keep_alive: float, threads: int) -> None:
        if trusted is not None:  # a server that prefers HTTP/2 must know that this is not it
            trusted.set_alpn_protocols(["http/1.1"])
        self._trusted = trusted
        self._keep_alive = keep_alive
        self._threads = ThreadPoolExecutor(threads, "http")
        self._idle: list[tuple[float, _Connection]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return its response, whose body is still to be read."""
        url = request.url
        if url.scheme not in PORTS:
            raise httpx.UnsupportedProtocol(f"not an HTTP address: {url.scheme}://")
        origin = Origin(url.scheme, url.raw_host.decode(), url.port or PORTS[url.scheme])
        await request.aread()
        progress = request.extensions.setdefault("progress", Progress())
        connection = self._take_idle(origin)
        progress.reused = connection is not None
        connection = connection or await self._connect(origin, request)
        try:
            head = await self.in_thread(connection, partial(connection.ask, request, progress))
        except BaseException:
            connection.close()
            raise
        body = _Body(self, connection, head)
        return httpx.Response(head.status, headers=head.headers.items(), stream=body)

    async def aclose(self) -> None:
        """Close idle connections. A request under way ends when its task is cancelled."""
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def keep(self, connection: _Connection) -> None:
        """Keep a connection open for a later request."""
        self._idle.append((time.monotonic() + self._keep_alive, connection))

    async def in_thread(self, connection: _Connection, work: Callable[[], T]) -> T:
        """Return what `work` returns; when cancelled, close its connection, which wakes it."""
        connection.busy = True
        try:
            running = self._threads.submit(work)
        except RuntimeError as error:  # no thread can be started
            connection.set_idle()
            raise httpx.ConnectError(str(error)) from error
        running.add_done_callback(connection.set_idle)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            connection.close()
            raise

    def _take_idle(self, origin: Origin) -> _Connection | None:
        """Return the connection that was used last, if it still can be; close those that cannot."""
        while self._idle:
            expires, connection = self._idle.pop()
            fresh = connection.origin == origin and time.monotonic() < expires
            if fresh and connection.is_quiet():
                return connection
            connection.close()
        return None

    async def _connect(self, origin: Origin, request: httpx.Request) -> _Connection:
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("connect")):
                connection = _Connection(origin, await _open_socket(origin))
                if origin.scheme == "https":
                    secure = partial(connection.secure, self._trusted or trusted())
                    await self.in_thread(connection, secure)
                return connection
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error


async def _open_socket(origin: Origin) -> socket.socket:
    """Return a socket connected to the first of the host's addresses that answers."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    failed = OSError("the host has no address")
    for left, (family, kind, protocol, _, address) in enumerate(found, 1 - len(found)):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setblocking(False)
            async with asyncio.timeout(ADDRESS_SECONDS if left else None):
                await loop.sock_connect(opened, address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setblocking(True)
            return opened
        except OSError as error:  # TimeoutError is one
            opened.close()
            failed = error
        except BaseException:
            opened.close()
            raise
    raise failed


class _Connection:
    """One connection, used by one thread at a time; its reader lives as long as it does."""

    def __init__(self, origin: Origin, opened: socket.socket) -> None:
        self.origin = origin
        self.busy = False  # whether a thread uses it
        self._closing = False
        self._socket = opened
        self._reader = _Reader(socket.SocketIO(opened, "r"), BUFFER_BYTES)

    def secure(self, trusted: ssl.SSLContext) -> None:
        """Begin TLS, and check the server's certificate. Raises ssl.SSLError and OSError."""
        try:
            self._socket.getpeername()  # raises after a reset; wrap_socket would leak the socket
            self._socket = secured = trusted.wrap_socket(
                self._socket, server_hostname=self.origin.host, do_handshake_on_connect=False
            )
            if self._closing:  # while the socket was being wrapped: nothing would wake this thread
                raise ConnectionAbortedError("closed")
            secured.do_handshake()
            self._reader = _Reader(socket.SocketIO(secured, "r"), BUFFER_BYTES)
        except BaseException:
            self.close()
            raise

    def ask(self, request: httpx.Request, progress: Progress) -> http.client.HTTPResponse:
        """Send a request and read the head of its response."""
        progress.phase = Phase.SENDING
        unsent = self._send(request)
        progress.phase = Phase.SENDING if unsent else Phase.WAITING
        response = _Response(cast(socket.socket, self), method=request.method)
        try:
            with _httpx_errors():
                response.begin()
        except httpx.TransportError:
            if unsent is not None:  # the server stopped listening, and did not say why
                raise httpx.WriteError(str(unsent)) from unsent
            raise
        return response

    def read_into(self, room: bytearray) -> None:
        """Fill `room` with the next bytes of a response's body."""
        with _httpx_errors():
            received = self._reader.readinto(room)
            if received < len(room):
                raise http.client.HTTPException(
                    f"{received:,} of {count_phrase(len(room), 'byte')} were received"
                )

    @staticmethod
    def read_piece(response: http.client.HTTPResponse) -> bytes:
        """Return some bytes of a body whose length is not known, b"" at its end."""
        with _httpx_errors():
            return response.read(PIECE_BYTES)

    def is_quiet(self) -> bool:
        """Return whether the connection is open and holds no byte that was not asked for.

        Such a byte would pass for the response to the next request, with vectors of other texts.
        """
        self._socket.setblocking(False)
        try:
            more = self._reader.peek(1) or self._socket.recv(1)  # b"" at the end
            return more is None
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            self._socket.setblocking(True)

    def close(self) -> None:
        """Close without a TLS farewell. A thread that uses the connection fails and closes it."""
        self._closing = True
        with contextlib.suppress(OSError):  # it was not connected any more
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        if not self.busy:
            self._socket.close()

    def set_idle(self, _done: object = None) -> None:
        """Note that no thread uses the connection any more."""
        self.busy = False
        if self._closing:
            self._socket.close()

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the connection's one reader; http.client asks each socket for one."""
        return self._reader

    def _send(self, request: httpx.Request) -> OSError | None:
        """Send a request; return what kept it from being sent whole.

        A server that stops listening may still have said why.
        """
        sender = http.client.HTTPConnection(self.origin.host)
        sender.sock = self._socket
        try:
            target = request.url.raw_path.decode("ascii")
            sender.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.raw:
                sender.putheader(name, value)
            sender.endheaders(request.content)
        except (ValueError, http.client.InvalidURL) as error:
            self.close()
            raise httpx.LocalProtocolError(str(error)) from error
        except OSError as error:
            return error
        return None


class _Body(httpx.AsyncByteStream):
    """The body of a response. Its connection is kept if the body was read to its end."""

    def __init__(
        self, owner: DirectTransport, connection: _Connection, response: http.client.HTTPResponse
    ) -> None:
        self._owner, self._connection, self._response = owner, connection, response
        self._whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection, length = self._connection, self._response.length
        if length is None or self._response.chunked:
            read = partial(connection.read_piece, self._response)
            while piece := await self._owner.in_thread(connection, read):
                yield piece
        else:
            # Allocated here: malloc reuses the main thread's large blocks, but not a worker's,
            # which costs a third more page faults.
            room = bytearray(length)
            await self._owner.in_thread(connection, partial(connection.read_into, room))
            yield cast(bytes, room)
        self._whole = True

    async def aclose(self) -> None:
        """Keep the connection for the next request, or close it."""
        if self._whole and not self._response.will_close and self._connection.is_quiet():
            self._owner.keep(self._connection)
        else:
            self._connection.close()


@contextlib.contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise what goes wrong while a response is read as httpx's errors."""
    try:
        yield
    except OSError as error:  # http.client.RemoteDisconnected is one
        raise httpx.ReadError(str(error)) from error
    except http.client.HTTPException as error:
        raise httpx.RemoteProtocolError(str(error)) from error


class _Reader(io.BufferedReader):
    def close(self) -> None:
        """Do nothing: http.client closes its reader after each response, with all it holds."""

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return a line. Raises HTTPException for one that is cut off: "0" may begin a number."""
        line = super().readline(size)
        if line and not line.endswith(b"\n") and len(line) != size:
            raise http.client.HTTPException("the connection was closed in the middle of a line")
        return line


class _Response(http.client.HTTPResponse):
    def begin(self) -> None:
        """Read the head, after any 1xx responses. Raises HTTPException for an invalid one."""
        if self.fp.peek(len(TLS_ALERT)).startswith(TLS_ALERT):
            raise SpeaksTLS("a TLS alert")
        super().begin()
        while 102 <= self.status < 200:  # http.client itself skips 100 alone
            self.headers = None  # type: ignore[assignment]  # "not begun"
            super().begin()
        lengths = set(self.headers.get_all("content-length", []))
        valid = len(lengths) <= 1 and all(one.isascii() and one.isdecimal() for one in lengths)
        valid &= self.headers.get("transfer-encoding", "chunked").lower() == "chunked"
        if not valid or self.status == 101 or any("\0" in one for one in self.headers.values()):
            raise http.client.HTTPException("the response's head is not valid HTTP/1.1")
