"""Direct connections: whatever way an answer is framed and cut, it comes whole or not at all."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.servers import certificates
from tests.servers.sockets import listening

from tovec.endpoint.http_transport import HttpxTransport
from tovec.endpoint.refusal import TransportFailure
from tovec.endpoint.transport import Call, Reply

CAP = 16 << 20


class Server:
    """Answers each request with the same pieces, as long as its guest wants more."""

    def __init__(self, *pieces: bytes, closes: bool = False, secured: ssl.SSLContext | None = None):
        self.pieces, self.closes, self.secured = pieces, closes, secured
        self.connections = 0
        self.asked: list[bytes] = []

    def __call__(self, guest: socket.socket) -> None:
        self.connections += 1
        guest.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.secured is not None:
            guest = self.secured.wrap_socket(guest, server_side=True)
        with guest, guest.makefile("rb") as file:
            while head := self._head(file.readline):
                length = next(
                    int(line[15:]) for line in head if line.startswith(b"content-length:")
                )
                self.asked.append(head[0] + file.read(length))
                for piece in self.pieces:
                    guest.sendall(piece)
                if self.closes:
                    return

    @staticmethod
    def _head(line: Callable[[], bytes]) -> list[bytes]:
        return list(iter(lambda: line().lower().rstrip(b"\r\n"), b""))


def answers(server: Server, times: int = 1, *, body: bytes = b"{}") -> list[Reply]:
    """Ask a server, one request after the other."""

    async def work(url: str) -> list[Reply]:
        transport = HttpxTransport(url, concurrency=1)
        try:
            return [
                await transport.send(Call("POST", url, {}, body, 60.0, CAP)) for _ in range(times)
            ]
        finally:
            await transport.close()

    with listening(server) as port:
        scheme = "https" if server.secured else "http"
        return asyncio.run(work(f"{scheme}://127.0.0.1:{port}/v1/embeddings"))


def failure(server: Server) -> tuple[str, str]:
    with pytest.raises(TransportFailure) as caught:
        answers(server)
    return caught.value.kind, caught.value.cause


def told(body: bytes, *more: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *more]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    lines = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + lines + b"0\r\n\r\n"


def cut(whole: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % len(whole) for place in places), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(
    size=some.sampled_from([0, 1, 17, 5000, 1 << 18, 3_000_001]),
    places=some.lists(some.integers(0, 1 << 30), max_size=6),
    framing=some.sampled_from(["told", "chunked", "closed"]),
    heralds=some.integers(0, 2),
)
def test_an_answer_comes_whole_however_it_is_framed_and_cut(
    size: int, places: list[int], framing: str, heralds: int
) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    head = b"HTTP/1.1 100 Continue\r\n\r\n" * heralds
    if framing == "told":
        whole = told(body, b"x-request-id: r1")
    elif framing == "chunked":
        whole = chunked(body, 70_000)
    else:
        whole = b"HTTP/1.1 200 OK\r\n\r\n" + body
    server = Server(*cut(head + whole, places), closes=framing == "closed")
    replies = answers(server, times=2)
    assert [bytes(reply.body) for reply in replies] == [body, body]
    assert server.connections == (2 if framing == "closed" else 1)
    assert server.asked == [b"post /v1/embeddings http/1.1{}"] * 2


def test_a_large_request_goes_out_whole() -> None:
    server = Server(told(b"{}"))
    body = bytes(range(256)) * 40_000
    answers(server, body=body)
    assert server.asked == [b"post /v1/embeddings http/1.1" + body]


@pytest.mark.parametrize(
    "answer",
    [
        told(b"one", b"connection: close"),
        told(b"one", b"connection: keep-alive, Close"),
        told(b"one", b"connection: close", b"connection: x"),
        told(b"one").replace(b"HTTP/1.1", b"HTTP/1.0"),
        told(b"one") + b"t",
        told(b"one") + told(b"two"),
        chunked(b"one", 2) + b"t",
        chunked(b"one", 2) + chunked(b"two", 2),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_connection_that_is_not_to_be_used_again_is_not(answer: bytes, pieces: int) -> None:
    """Closed by its server's word, or more came than the answer (#21), at once or with its end."""
    end = answer.index(b"one" if b"one" in answer else b"\r\n2\r\non") + 2
    server = Server(*cut(answer, [end] * (pieces - 1)))
    assert [bytes(reply.body) for reply in answers(server, times=3)] == [b"one"] * 3
    assert server.connections == 3


def test_an_answer_that_says_that_it_has_no_body_has_none() -> None:
    server = Server(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n")
    assert [(one.status, bytes(one.body)) for one in answers(server, times=2)] == [(204, b"")] * 2
    assert server.connections == 1


@pytest.mark.parametrize("length", [CAP + 1, 10**15, 10**19])
def test_a_length_beyond_the_cap_is_not_even_made_room_for(length: int) -> None:
    server = Server(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n{}" % length)
    assert failure(server) == ("foreign", "too large")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n{}",
    ],
)
def test_a_head_that_cannot_be_believed_is_no_answer(answer: bytes) -> None:
    assert failure(Server(answer, closes=True)) == ("ambiguous", "reset")


@pytest.mark.parametrize("sent", [0, 1, 9_999])
def test_a_body_that_is_cut_off_is_no_answer(sent: int) -> None:
    answer = told(bytes(10_000))
    cut_off = Server(answer[: len(answer) - 10_000 + sent], closes=True)
    assert failure(cut_off) == ("ambiguous", "truncated")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.made(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("length", [0, 1, 100_000, 3_000_001])
def test_with_tls_too_an_answer_comes_whole_or_not_at_all(
    length: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secured = certificates.serving(certificate)
    body = bytes(length)
    for answer in (told(body), chunked(body, 70_000)):
        server = Server(*cut(answer, [40, 41, length // 2]), secured=secured)
        assert [bytes(one.body) for one in answers(server, times=2)] == [body, body]
        assert server.connections == 1
        more = Server(answer + b"x", secured=secured)
        assert [bytes(one.body) for one in answers(more, times=2)] == [body, body]
        assert more.connections == 2
        short = Server(answer[:-1], closes=True, secured=secured)
        if length:
            assert failure(short) == ("ambiguous", "truncated")


def answer_in_two_records(
    secured: ssl.SSLContext, answer: bytes, more: bytes, guest: socket.socket
):
    """Serve one request over TLS: the answer and what follows it reach the client together."""
    received, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = secured.wrap_bio(received, outgoing, server_side=True)

    def until_done(step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                done = None
            if outgoing.pending:
                guest.sendall(outgoing.read())
            if done is not None:
                return done
            received.write(guest.recv(1 << 16))

    until_done(lambda: tls.do_handshake() or True)
    asked = b""
    while not asked.endswith(b"{}"):
        asked += until_done(lambda: tls.read(1 << 16))
    tls.write(answer)
    if more:
        tls.write(more)
    guest.sendall(outgoing.read())
    guest.recv(1 << 16)


def test_a_byte_in_a_tls_record_of_its_own_is_seen_at_once(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#21: it would pass for the beginning of the next answer."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secured = certificates.serving(certificate)

    async def idle_connections(url: str) -> int:
        transport = HttpxTransport(url, concurrency=1)
        try:
            reply = await transport.send(Call("POST", url, {}, b"{}", 60.0, CAP))
            assert bytes(reply.body) == b"answer"
            return len(transport._client._transport._idle)  # type: ignore[attr-defined]
        finally:
            await transport.close()

    for more, kept in ((b"", 1), (b"x", 0)):
        serve = partial(answer_in_two_records, secured, told(b"answer"), more)
        with listening(serve) as port:
            assert asyncio.run(idle_connections(f"https://127.0.0.1:{port}/v1")) == kept


def test_tls_offers_http_1_1(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that prefers HTTP/2 decides by what the client offers in the handshake."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secured = certificates.serving(certificate)
    secured.set_alpn_protocols(["h2", "http/1.1"])
    agreed: list[str | None] = []

    class Asking(Server):
        def __call__(self, guest: socket.socket) -> None:
            with secured.wrap_socket(guest, server_side=True) as shielded:
                agreed.append(shielded.selected_alpn_protocol())
                asked = b""
                while not asked.endswith(b"{}"):
                    asked += shielded.recv(1 << 16)
                shielded.sendall(told(b"{}"))

    answers(Asking(secured=secured))
    assert agreed == ["http/1.1"]


def test_an_idle_connection_is_used_only_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tovec.endpoint.http_transport.KEEP_ALIVE_SECONDS", 0.0)
    server = Server(told(b"{}"))
    answers(server, times=3)
    assert server.connections == 3
