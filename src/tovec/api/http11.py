"""HTTP/1.1 without a proxy, behind httpx's interface for transports.

h11 knows the grammar of both sides' heads, and of bodies that come in chunks or until the end. An
answer's body of known length, as large answers have, is received straight into its place: by way of
h11, httpcore and httpx it is copied six times, which was a quarter of a bulk run's CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import h11
import httpx

from tovec.api.network import Stream, connect

MOST_HEAD = 100 << 10  # bytes of an answer's head, as httpcore has it
_PORTS = {"http": 80, "https": 443}


class _Place(NamedTuple):
    """Where a connection leads."""

    scheme: str
    host: str
    port: int


class Direct(httpx.AsyncBaseTransport):
    """Connections to where a request's URL says, kept open for later requests.

    Tells httpcore's names of events to a request's `trace`. An answer's body of known length is
    taken into memory whole as its stream is read: whoever reads it has looked at the length.
    """

    def __init__(self, trusted: ssl.SSLContext | None, *, keep_alive: float) -> None:
        """`keep_alive` is the time in seconds after which an idle connection is not used again."""
        if trusted is not None:
            trusted.set_alpn_protocols(["http/1.1"])
        self._trusted = trusted
        self._keep_alive = keep_alive
        self._idle: list[tuple[float, _Place, Stream]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and receive the head of its answer. Raises httpx.TransportError."""
        url = request.url
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"{url.scheme}:// is not a scheme of HTTP")
        host = url.raw_host.decode("ascii")
        place = _Place(url.scheme, host, url.port or _PORTS[url.scheme])
        stream = self._kept(place) or await self._opened(place, request)
        exchange = _Exchange(self, place, stream)
        try:
            await exchange.ask(request)
            head = await exchange.head()
        except BaseException:
            stream.close()
            raise
        return httpx.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=exchange,
            extensions={
                "http_version": b"HTTP/" + head.http_version,
                "reason_phrase": bytes(head.reason),
            },
        )

    async def aclose(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop()[-1].close()
        await asyncio.sleep(0)  # for the loop to do so

    def keep(self, place: _Place, stream: Stream) -> None:
        """Take back a connection whose answer is read."""
        self._idle.append((time.monotonic() + self._keep_alive, place, stream))

    def _kept(self, place: _Place) -> Stream | None:
        """Give the connection that was used last, if it is open still; close those that are not."""
        now = time.monotonic()
        usable = [one for one in self._idle if one[0] > now and not one[-1].ended]
        over = [one for one in self._idle if one not in usable]
        found = next((one for one in reversed(usable) if one[1] == place), None)
        self._idle = [one for one in usable if one is not found]
        for *_, stream in over:
            stream.close()
        return found and found[-1]

    async def _opened(self, place: _Place, request: httpx.Request) -> Stream:
        await _tell(request, "connection.connect_tcp.started")
        trusted = self._trusted if place.scheme == "https" else None
        seconds = request.extensions.get("timeout", {}).get("connect")
        with _named(httpx.ConnectError, httpx.ConnectTimeout):
            async with asyncio.timeout(seconds):
                return await connect(place.host, place.port, trusted)


class _Exchange(httpx.AsyncByteStream):
    """One request and its answer, whose body this gives."""

    def __init__(self, owner: Direct, place: _Place, stream: Stream) -> None:
        self._owner, self._place, self._stream = owner, place, stream
        self._grammar = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        self._length: int | None = None  # of the body, where the head tells it
        self._may_stay = False
        self._whole = False

    async def ask(self, request: httpx.Request) -> None:
        """Send the request; what a server says that stops listening is still to be read."""
        try:
            head = h11.Request(
                method=request.method, target=request.url.raw_path, headers=request.headers.raw
            )
            assert isinstance(request.stream, httpx.AsyncByteStream)
            await _tell(request, "http11.send_request_headers.started")
            with contextlib.suppress(OSError):
                await self._send(head)
                async for data in request.stream:
                    await self._send(h11.Data(data=data))
                await self._send(h11.EndOfMessage())
                await _tell(request, "http11.send_request_body.complete")
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error

    async def head(self) -> h11.Response:
        """Receive the answer's head, past those that only say that it will come."""
        while not isinstance(event := await self._event(), h11.Response):
            if event is h11.PAUSED:
                raise httpx.RemoteProtocolError("the server speaks another protocol from here on")
        told = dict(event.headers)
        if b"transfer-encoding" not in told and event.status_code not in (204, 304):
            length = told.get(b"content-length")
            self._length = None if length is None else int(length)
        said = b",".join(value for name, value in event.headers if name == b"connection")
        words = {word.strip() for word in said.lower().split(b",")}
        self._may_stay = event.http_version >= b"1.1" and b"close" not in words
        return event

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._length is not None:
            yield await self._placed(self._length)
            return
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)
        states = {self._grammar.our_state, self._grammar.their_state}
        self._whole = states == {h11.DONE} and not self._grammar.trailing_data[0]

    async def aclose(self) -> None:
        """Let go of the connection: for the next request if the answer was read to its end."""
        if self._whole and self._may_stay and not self._stream.ended:
            self._owner.keep(self._place, self._stream)
        else:
            self._stream.close()

    async def _placed(self, length: int) -> bytes:
        """Receive the whole body into one buffer.

        It has room for a byte more: with that, what came is not this answer alone, and the rest
        would pass for the answer to the next request, with vectors of other texts.
        """
        begun = self._grammar.trailing_data[0][: length + 1]
        body = bytearray(length + 1)
        body[: len(begun)] = begun
        filled = len(begun)
        if filled < length:
            with (
                memoryview(body) as room,
                room[filled:] as rest,
                _named(httpx.ReadError, httpx.ReadTimeout),
            ):
                filled += await self._stream.fill(rest, length - filled)
        if filled < length:
            raise httpx.RemoteProtocolError(f"{filled} of {length} bytes came")
        self._whole = filled == length
        del body[length:]
        return body  # type: ignore[return-value]  # as good as bytes, and a copy less

    async def _send(self, event: h11.Event) -> None:
        await self._stream.send(self._grammar.send(event) or b"")

    async def _event(self) -> Any:
        """Give what comes next, by h11's names. Raises httpx.RemoteProtocolError."""
        try:
            while (event := self._grammar.next_event()) is h11.NEED_DATA:
                with _named(httpx.ReadError, httpx.ReadTimeout):
                    data = await self._stream.receive()
                if not data and self._grammar.their_state is h11.SEND_RESPONSE:
                    # Fed to h11, this would be an error about states.
                    raise httpx.RemoteProtocolError(
                        "the server disconnected without sending a response"
                    )
                self._grammar.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        return event


async def _tell(request: httpx.Request, event: str) -> None:
    trace = request.extensions.get("trace")
    if trace is not None:
        await trace(event, {})


@contextlib.contextmanager
def _named(failed: type[Exception], late: type[Exception]) -> Iterator[None]:
    """Raise what the network raises by httpx's names."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
