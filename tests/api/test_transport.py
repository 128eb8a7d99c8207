"""The transport's guards: what httpx would let through or misname (faults 1 to 28, 53 to 57)."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import ssl
import subprocess
import tracemalloc
import zlib
from pathlib import Path

import pytest
from tests.servers.loopback import Fault, Loopback

from tovec.api.errors import TransportFailure
from tovec.api.interface import Call, Reply
from tovec.api.transport import HttpxTransport, _inflated

BODY = b'{"model":"m","input":["a"]}'


def call(url: str, *, deadline: float = 5.0, cap: int = 1 << 20) -> Call:
    return Call("POST", url, {"accept-encoding": "identity"}, BODY, deadline, cap)


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


def test_a_connection_is_used_again_and_nothing_compressed_is_asked_for() -> None:
    with Loopback(dimensions=4) as server:
        sent(address(server), times=3)
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
        (Fault("gzip_cut"), "ambiguous", "truncated"),
        (Fault("br"), "foreign", "encoding"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)  # fmt: skip
def test_a_failure_is_named_for_what_it_means(fault: Fault, kind: str, cause: str) -> None:
    with Loopback(dimensions=4, faults=[fault]) as server:
        found = failure(address(server), deadline=0.4)
    assert (found.kind, found.cause) == (kind, cause)


def test_a_connection_that_went_stale_while_idle_is_told_from_one_that_failed() -> None:
    with Loopback(dimensions=4, faults=[Fault("close", at=[2])]) as server:
        found = failure(address(server), times=2)
    assert (found.kind, found.cause) == ("stale", "reset")


def test_nobody_listening_is_surely_not_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = failure(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert (found.kind, found.cause) == ("not_sent", "connect")


def test_an_answer_beyond_its_cap_is_not_read_on() -> None:
    with Loopback(dimensions=4096) as server:
        found = failure(address(server), cap=10_000)
    assert (found.kind, found.cause) == ("foreign", "too large")


def test_a_compressed_bomb_is_refused_within_its_cap_of_memory() -> None:
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
    plain = b"x" * 10_000
    packed = zlib.compress(plain) if label == "deflate" else gzip.compress(plain)
    assert _inflated(packed, label, 1 << 20) == plain
    for damaged in (packed[:-1], packed[:-5] + b"00000", packed + b"more", b"", packed[5:]):
        with pytest.raises(TransportFailure):
            _inflated(damaged, label, 1 << 20)


def test_a_redirect_comes_back_as_what_it_is() -> None:
    fault = Fault("status", status=307, body=b"", headers={"location": "http://127.0.0.1:1/"})
    with Loopback(faults=[fault]) as server:
        [reply] = sent(address(server))
    assert (reply.status, reply.headers["location"]) == (307, "http://127.0.0.1:1/")


def test_no_proxy_stands_between_a_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
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
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "made.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=loopback",
               "-addext", "subjectAltName=IP:127.0.0.1",
               "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    made.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return made


def serving_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_vouches_for_needs_a_person(certificate: Path) -> None:
    with Loopback(dimensions=4, certificate=serving_tls(certificate)) as server:
        found = failure(address(server))
    assert (found.kind, found.cause) == ("fatal", "certificate")
    assert "self-signed" in found.detail
    assert server.ledger.entries == []


def test_a_certificate_named_by_the_environment_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Loopback(dimensions=4, certificate=serving_tls(certificate)) as server:
        assert sent(address(server))[0].status == 200


def test_https_to_a_port_that_does_not_speak_it_needs_a_person() -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def work() -> TransportFailure:
        listening = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        transport = HttpxTransport(url, concurrency=1)
        async with listening:
            with pytest.raises(TransportFailure) as caught:
                await transport.send(call(url))
        await transport.close()
        return caught.value

    found = asyncio.run(work())
    assert (found.kind, found.cause) == ("fatal", "tls")
