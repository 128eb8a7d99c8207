"""The transport's guards: what httpx would let through or misname.

A number such as #9 is that of the reliability notes' fault catalogue.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import gzip
import logging
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import orjson
import pytest
from tests.servers import certificates
from tests.servers.loopback import Fault, Loopback
from tests.servers.sockets import heard_out, listening

from tovec.endpoint import http_transport as transport_module
from tovec.endpoint.diagnosis import reach
from tovec.endpoint.direct_http import DirectTransport
from tovec.endpoint.http_transport import HttpxTransport, _failure, _inflated
from tovec.endpoint.proxies import proxy_for
from tovec.endpoint.refusal import TransportFailure, classify
from tovec.endpoint.transport import Call, Progress, Reply
from tovec.errors import PersonError

BODY = b'{"model":"m","input":["a"]}'
Reached = Callable[[Loopback], str]


def call(url: str, *, deadline: float = 5.0, cap: int = 1 << 20, body: bytes = BODY) -> Call:
    return Call("POST", url, {"accept-encoding": "identity"}, body, deadline, cap)


def sent(url: str, times: int = 1, pause: float = 0.0, **more: float) -> list[Reply]:
    async def work() -> list[Reply]:
        transport = HttpxTransport(url, concurrency=2)
        replies = []
        try:
            for i in range(times):
                if i:
                    await asyncio.sleep(pause)
                replies.append(await transport.send(call(url, **more)))  # type: ignore[arg-type]
        finally:
            await transport.close()
        return replies

    return asyncio.run(work())


def failure(url: str, **more: float) -> TransportFailure:
    with pytest.raises(TransportFailure) as caught:
        sent(url, **more)  # type: ignore[arg-type]
    return caught.value


def address(server: Loopback) -> str:
    return f"{server.base_url}/embeddings"


@pytest.fixture(params=["direct", "proxy"])
def reached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reached:
    """Give the address under which a server is asked: its own, or another's by way of itself."""
    if request.param == "direct":
        return address

    def by_itself(server: Loopback) -> str:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        return "http://endpoint.invalid/v1/embeddings"

    return by_itself


def test_a_connection_is_used_again_and_nothing_compressed_is_asked_for(
    reached: Reached,
) -> None:
    with Loopback(dimensions=4) as server:
        sent(reached(server), times=3)
    assert server.ledger.connections == 1
    assert {entry.headers["accept-encoding"] for entry in server.ledger.entries} == {"identity"}


@pytest.mark.parametrize(
    ("fault", "kind", "cause"),
    [
        (Fault("reset"), "ambiguous", "reset"),
        (Fault("close"), "ambiguous", "reset"),
        (Fault("cut", byte=5), "ambiguous", "truncated"),
        (Fault("raw", body=b"nonsense\r\n\r\n"), "ambiguous", "reset"),
        (Fault("raw", body=b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 2_000_000), "ambiguous",
         "reset"),
        (Fault("hang"), "ambiguous", "timeout"),
        (Fault("trickle", seconds=0.05), "ambiguous", "timeout"),
        (Fault("continue"), "ambiguous", "timeout"),
        (Fault("chunked_cut"), "ambiguous", "truncated"),
        (Fault("endless"), "foreign", "too large"),
        (Fault("raw", body=b"HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 2\r\n\r\n{}"), "ambiguous",
         "reset"),
        (Fault("gzip_cut"), "ambiguous", "truncated"),
        (Fault("br"), "foreign", "encoding"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)  # fmt: skip
def test_a_failure_is_named_for_what_it_means(
    fault: Fault, kind: str, cause: str, reached: Reached
) -> None:
    """#9 #10 #11 #13 #14 #16 #17 #20 #53 #54 #55 #56: none hangs, none passes for an answer."""
    with Loopback(dimensions=4, faults=[fault]) as server:
        found = failure(reached(server), deadline=1.0 if cause == "timeout" else 30.0)
    assert (found.kind, found.cause) == (kind, cause)


def test_a_connection_that_went_stale_while_idle_is_told_from_one_that_failed(
    reached: Reached,
) -> None:
    """#12: it is closed at once; an endpoint that dies over its work takes longer."""
    with Loopback(dimensions=4, faults=[Fault("close", at=[2])]) as server:
        found = failure(reached(server), times=2)
    assert (found.kind, found.cause) == ("stale", "reset")
    with Loopback(dimensions=4, faults=[Fault("reset", at=[2], wait=0.6)]) as server:
        found = failure(reached(server), times=2)
    assert (found.kind, found.cause) == ("ambiguous", "reset")


def test_nobody_listening_is_surely_not_sent() -> None:
    """#1"""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = failure(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert (found.kind, found.cause, found.detail) == ("not_sent", "connect", "connection refused")


def test_an_answer_beyond_its_cap_is_not_read_on(reached: Reached) -> None:
    with Loopback(dimensions=4096) as server:
        found = failure(reached(server), cap=10_000)
    assert (found.kind, found.cause) == ("foreign", "too large")


def test_a_compressed_bomb_is_refused_within_its_cap_of_memory() -> None:
    """#53"""
    bomb = gzip.compress(bytes(50_000_000), 1)
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        with pytest.raises(TransportFailure, match="exceeds"):
            _inflated(bomb, "gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] - before < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("label", ["gzip", "x-gzip", "deflate"])
def test_a_compressed_answer_is_checked_to_its_end(label: str) -> None:
    """#54"""
    plain = b"x" * 10_000
    packed = zlib.compress(plain) if label == "deflate" else gzip.compress(plain)
    assert _inflated(packed, label, 1 << 20) == plain
    for damaged in (packed[:-1], packed[:-5] + b"00000", packed + b"more", b"", packed[5:]):
        with pytest.raises(TransportFailure):
            _inflated(damaged, label, 1 << 20)


def test_a_redirect_comes_back_as_what_it_is(reached: Reached) -> None:
    """#57"""
    fault = Fault("status", status=307, body=b"", headers={"location": "http://127.0.0.1:1/"})
    with Loopback(faults=[fault]) as server:
        [reply] = sent(reached(server))
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/")
    assert "a redirect to http://127.0.0.1:1" in str(classify(reply))


def test_no_proxy_stands_between_a_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """#175"""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Loopback(dimensions=4) as server:
        assert sent(address(server))[0].status == 200


def test_a_proxy_from_the_environment_is_asked_for_other_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Loopback(dimensions=4) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        sent("http://endpoint.invalid/v1/embeddings")
    assert proxy.ledger.entries[0].path == "http://endpoint.invalid/v1/embeddings"


def test_addresses_do_not_reach_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Loopback(dimensions=4) as server:
        sent(address(server))
    assert str(server.port) not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and endpoint.invalid, with its key, in one file."""
    return certificates.made(tmp_path_factory.mktemp("tls"))


def test_a_certificate_that_nobody_vouches_for_needs_a_person(certificate: Path) -> None:
    """#5"""
    with Loopback(dimensions=4, certificate=certificates.serving(certificate)) as server:
        found = failure(address(server))
    assert (found.kind, found.cause) == ("fatal", "certificate")
    assert "self-signed" in found.detail
    assert server.ledger.entries == []


def test_a_certificate_named_by_the_environment_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Loopback(dimensions=4, certificate=certificates.serving(certificate)) as server:
        assert sent(address(server))[0].status == 200


def test_large_requests_and_answers_pass_whole_with_tls_and_without(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Megabytes come in many pieces, and more than may wait before the other side is paused."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    texts = [f"{i} " + "x" * 2500 for i in range(400)]
    body = orjson.dumps({"model": "m", "input": texts, "encoding_format": "base64"})
    bodies = []
    for secured in (certificates.serving(certificate), None):
        with Loopback(dimensions=3072, certificate=secured) as server:
            [one, two] = sent(address(server), times=2, body=body, cap=64 << 20, deadline=60.0)  # type: ignore[arg-type]
            assert one.body == two.body
            assert server.ledger.connections == 1
        bodies.append(one.body)
    assert len(bodies[0]) > 400 * 3072 * 4
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("url", "environment", "direct"),
    [
        ("https://endpoint.invalid/v1", {}, True),
        ("https://endpoint.invalid/v1", {"NO_PROXY": "other.invalid"}, True),
        ("https://endpoint.invalid/v1", {"HTTPS_PROXY": "http://127.0.0.1:9"}, False),
        ("https://endpoint.invalid/v1", {"all_proxy": "http://127.0.0.1:9"}, False),
        ("http://127.0.0.1/v1", {"HTTP_PROXY": "http://127.0.0.1:9"}, True),
    ],
)
def test_httpx_itself_connects_where_a_proxy_is_named(
    url: str, environment: dict[str, str], direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = HttpxTransport(url, concurrency=1)._client
    assert isinstance(client._transport, DirectTransport) == direct
    assert bool(client._mounts) != direct


def test_https_to_a_port_that_does_not_speak_it_needs_a_person() -> None:
    """#7"""

    def plain(guest: socket.socket) -> None:
        guest.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        heard_out(guest)

    with listening(plain) as port:
        found = failure(f"https://127.0.0.1:{port}/v1")
    assert (found.kind, found.cause) == ("fatal", "tls")


def test_a_name_that_nobody_knows_is_surely_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """#3"""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = failure("http://endpoint.invalid/v1")
    assert (found.kind, found.cause) == ("not_sent", "connect")
    assert "not known" in found.detail


def test_one_dead_address_of_two_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """#23"""
    real = socket.getaddrinfo

    def two(host: str, port: int, *more: object, **named: object) -> list[object]:
        if host not in ("endpoint.invalid", b"endpoint.invalid"):
            return real(host, port, *more, **named)  # type: ignore[arg-type,return-value]
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(socket.AF_INET6, *kind, ("::1", 1, 0, 0)),
                (socket.AF_INET, *kind, ("127.0.0.1", port))]  # fmt: skip

    with Loopback(dimensions=4) as server:
        monkeypatch.setattr(socket, "getaddrinfo", two)
        assert sent(f"http://endpoint.invalid:{server.port}/v1/embeddings")[0].status == 200


def test_a_connection_that_is_never_taken_is_given_up_and_surely_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """#4"""
    monkeypatch.setattr(transport_module, "CONNECT_SECONDS", 0.3)
    with contextlib.ExitStack() as waiting:
        door = waiting.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):  # more than wait at a door that nobody opens
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(door.getsockname())
        url = f"http://127.0.0.1:{door.getsockname()[1]}/v1"
        for deadline in (5.0, 0.1):  # the connection's own, and the call's
            found = failure(url, deadline=deadline)
            assert (found.kind, found.cause) == ("not_sent", "connect")


def reset(guest: socket.socket) -> None:
    """Hang up so that the other side is told that it is an error."""
    guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# CPython's wrap_socket drops a socket without closing it when the other side resets meanwhile.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("serve", [heard_out, lambda guest: None, reset, lambda g: g.recv(1)])
def test_a_handshake_that_ends_or_stalls_is_surely_not_sent(
    serve: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """#6"""
    monkeypatch.setattr(transport_module, "CONNECT_SECONDS", 0.3)
    with listening(serve) as port:
        found = failure(f"https://127.0.0.1:{port}/v1")
    assert found.kind == "not_sent"
    gc.collect()


def test_a_connection_that_is_reset_at_once_is_tried_again() -> None:
    """#8"""
    with listening(reset) as port:
        found = failure(f"http://127.0.0.1:{port}/v1")
    assert found.kind in ("not_sent", "ambiguous")
    assert found.cause in ("reset", "connect")


def test_a_request_that_nobody_reads_is_surely_not_sent() -> None:
    """#19"""
    with listening(lambda guest: time.sleep(1)) as port:
        found = failure(f"http://127.0.0.1:{port}/v1", deadline=0.4, body=bytes(64 << 20))  # type: ignore[arg-type]
    assert (found.kind, found.cause) == ("not_sent", "timeout")


def test_a_slow_answer_is_waited_for_and_asked_for_once() -> None:
    """#18"""
    with Loopback(dimensions=4, latency=0.7) as server:
        assert sent(address(server))[0].status == 200
    assert len(server.ledger.entries) == 1


def test_an_answer_nobody_asked_for_is_never_given_to_the_next_request(
    reached: Reached,
) -> None:
    """#21"""
    with Loopback(dimensions=4, faults=[Fault("second", at=[1])]) as server:
        replies = sent(reached(server), times=3, pause=0.05)
    assert len({bytes(reply.body) for reply in replies}) == 1


def test_an_endpoint_that_hangs_up_after_each_answer_costs_no_files(
    reached: Reached,
) -> None:
    """#26"""
    with Loopback(dimensions=4, faults=[Fault("bye")]) as server:
        sent(reached(server), times=5)
        before = len(os.listdir("/proc/self/fd"))
        replies = sent(reached(server), times=200)
        after = len(os.listdir("/proc/self/fd"))
    assert {reply.status for reply in replies} == {200}
    assert server.ledger.connections == 205
    assert after <= before + 3


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
def test_too_many_open_files_are_this_machines_fault_and_nothing_was_sent(number: int) -> None:
    """#27 #28"""
    error = httpx.ConnectError("all connection attempts failed")
    error.__cause__ = OSError(number, os.strerror(number))
    found = _failure(error, "http://127.0.0.1/", Progress(), late=False)
    assert (found.kind, found.cause) == ("not_sent", "files")


class Proxy:
    """An HTTP proxy that takes CONNECT, and connects to one place whatever is asked for."""

    def __init__(self, port: int, status: bytes = b"200 OK") -> None:
        self.port, self.status = port, status
        self.asked: list[bytes] = []

    def __call__(self, guest: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += guest.recv(4096)
        self.asked.append(head.split(b"\r\n")[0])
        guest.sendall(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
        if not self.status.startswith(b"200"):
            return
        with socket.create_connection(("127.0.0.1", self.port)) as there:
            back = threading.Thread(target=self._copy, args=(there, guest), daemon=True)
            back.start()
            self._copy(guest, there)
            back.join(5)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_https_goes_through_the_proxy_and_trusts_the_certificates_that_are_named(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#175: HTTPS_PROXY and SSL_CERT_FILE, as a company's network needs them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Loopback(dimensions=4, certificate=certificates.serving(certificate)) as server:
        proxy = Proxy(server.port)
        with listening(proxy) as port:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            assert sent("https://endpoint.invalid/v1/embeddings")[0].status == 200
    assert proxy.asked == [b"CONNECT endpoint.invalid:443 HTTP/1.1"]
    assert server.ledger.entries[0].path == "/v1/embeddings"


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        ("407 Proxy Authentication Required", "fatal", "credentials"),
        ("401 Unauthorized", "fatal", "credentials"),
        ("403 Forbidden", "fatal", "NO_PROXY"),
        ("404 Not Found", "fatal", "NO_PROXY"),
        ("429 Too Many Requests", "not_sent", "NO_PROXY"),
        ("502 Bad Gateway", "not_sent", "NO_PROXY"),
        ("503 Service Unavailable", "not_sent", "NO_PROXY"),
        ("504 Gateway Timeout", "not_sent", "NO_PROXY"),
    ],
)
def test_a_proxys_outage_passes_and_its_refusal_needs_a_person(
    status: str, kind: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#25 #196: cron and systemd repeat only what may pass."""
    with listening(Proxy(0, status.encode())) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:canary@127.0.0.1:{port}")
        found = failure("https://endpoint.invalid/v1/embeddings")
    assert (found.kind, found.cause) == (kind, "proxy")
    assert f"the proxy http://127.0.0.1:{port} answers {status[:3]}" in found.detail
    assert hint in found.hint and "HTTPS_PROXY" in found.hint
    assert "canary" not in found.detail + found.hint


@pytest.mark.parametrize("url", ["https://endpoint.invalid/v1", "http://endpoint.invalid/v1"])
def test_a_dead_proxy_is_named_and_the_endpoint_is_not_blamed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#196"""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("ALL_PROXY", f"http://me:canary@{place}")
        found = failure(url)
    assert (found.kind, found.cause) == ("not_sent", "proxy")
    assert found.detail == f"the proxy http://{place} cannot be reached: connection refused"
    assert "ALL_PROXY" in found.hint


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:canary@h.example:3128", "http://h.example:3128"),
        ("me:canary@h.example:3128", "http://h.example:3128"),
        ("socks5://me:canary@h.example", "socks5://h.example"),
        ("http://me:can@ary@h.example", "(an address that cannot be shown)"),
        ("http//me:canary@h", "(an address that cannot be shown)"),
        ("http://me:canary", "(an address that cannot be shown)"),
        ("ftp://me:canary@h", "(an address that cannot be shown)"),
    ],
)
def test_a_proxys_password_is_not_shown(
    address: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#196"""
    monkeypatch.setenv("https_proxy", address)
    found = proxy_for("https://endpoint.invalid/v1")
    assert found is not None and (found.shown, found.variable) == (shown, "https_proxy")


@pytest.fixture
def systems(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The certificate as the only one that this system trusts."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    paths = ssl.get_default_verify_paths()._replace(
        openssl_cafile=str(certificate), openssl_capath="/nonexistent"
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    return certificate


def accepted(url: str) -> tuple[bool, bool]:
    """Return whether a request, and whether `config check`, accepts the server's certificate."""
    try:
        sent(url)
        by_request = True
    except TransportFailure as refused:
        assert refused.cause == "certificate"
        assert "SSL_CERT_FILE" in refused.hint and "SSL_CERT_DIR" in refused.hint
        by_request = False
    try:
        by_check = "tls" in [step.step for step in reach(url, None)]
    except PersonError as error:
        assert "SSL_CERT_FILE" in error.hint and "SSL_CERT_DIR" in error.hint
        by_check = False
    return by_request, by_check


def test_requests_and_config_check_trust_the_same_authorities(
    systems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """#197: the system's, and instead of them those that the environment names."""
    other = certificates.made(tmp_path)
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    (hashed / "a.pem").write_bytes(systems.read_bytes().partition(b"-----BEGIN PRIVATE")[0])
    subprocess.run(["openssl", "rehash", str(hashed)], check=True)
    with Loopback(dimensions=4, certificate=certificates.serving(systems)) as server:
        url = address(server)
        assert accepted(url) == (True, True)
        for name, value, right in (
            ("SSL_CERT_FILE", other, False),
            ("SSL_CERT_FILE", systems, True),
            ("SSL_CERT_FILE", "", True),  # as if it were not set
            ("SSL_CERT_DIR", hashed, True),
        ):
            monkeypatch.setenv(name, str(value))
            assert accepted(url) == (right, right), (name, value)
            monkeypatch.delenv(name)


def test_plain_http_to_a_port_of_tls_is_told_to_use_https(certificate: Path) -> None:
    """#7 #198"""
    with Loopback(dimensions=4, certificate=certificates.serving(certificate)) as server:
        found = failure(address(server).replace("https://", "http://"))
        assert "use https://" in found.detail + found.hint

    def alert(guest: socket.socket) -> None:
        guest.recv(4096)
        guest.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
        heard_out(guest)

    with listening(alert) as port:
        found = failure(f"http://127.0.0.1:{port}/v1")
    assert (found.kind, found.cause, found.hint) == ("fatal", "tls", "use https://")


WORDS = {
    "the reply is not valid HTTP",
    "the reply's headers are too long",
    "the server closed the connection without a reply",
    "connection reset by peer",
    "the connection closed in the middle of the reply",
}


@pytest.mark.parametrize(
    "reply",
    [
        b"nonsense\r\n\r\n",
        b"\x00\x01\x02",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000,
        b"",
    ],
    ids=range(10),
)
def test_no_words_of_the_libraries_below_reach_a_user(reply: bytes, reached: Reached) -> None:
    """#198: h11 speaks of its states, `_SWITCH_UPGRADE event without a pending proposal`."""
    with Loopback(dimensions=4, faults=[Fault("raw", body=reply)]) as server:
        assert failure(reached(server)).detail.partition(" (")[0] in WORDS


@pytest.mark.parametrize("exception", ["endpoint.invalid", ".invalid", "*"])
def test_no_proxy_names_hosts_that_are_asked_directly(
    exception: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _host, *more, **named: real("127.0.0.1", *more, **named)
    )
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", exception)
    with Loopback(dimensions=4) as server:
        url = f"http://endpoint.invalid:{server.port}/v1/embeddings"
        assert sent(url)[0].status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://[::1"),
        ("ALL_PROXY", "ftp://user:secret@127.0.0.1"),
        ("SSL_CERT_FILE", "/nowhere/secret.pem"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_an_environment_that_cannot_be_used_is_an_error_with_a_next_step(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(PersonError) as caught:
        HttpxTransport("https://endpoint.invalid/v1", concurrency=1)
    assert name.split("_")[0] in caught.value.hint
    assert "user:" not in str(caught.value)
