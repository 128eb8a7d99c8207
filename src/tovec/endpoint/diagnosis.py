"""Is an endpoint usable? One tiny request, and what it shows at each step of the way."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from tovec.endpoint.proxies import Proxy
from tovec.endpoint.transport import Call, Reply, Transport
from tovec.endpoint.trust import HINT, trusted
from tovec.errors import LaterError, PersonError

CONNECT_SECONDS = 10.0


class Step(NamedTuple):
    """One step that was tried, and what came of it."""

    step: str
    result: str  # "ok", "skipped"
    detail: str


class Overheard:
    """A transport that remembers its last reply, for the headers that the client passes over."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.reply: Reply | None = None

    async def send(self, call: Call) -> Reply:
        """Carry one call."""
        self.reply = await self._inner.send(call)
        return self.reply

    async def close(self) -> None:
        """Let go of connections."""
        await self._inner.close()

    def in_base64(self) -> bool:
        """Return whether the last reply's first embedding came as base64."""
        if self.reply is None:
            return False
        return isinstance(orjson.loads(self.reply.body)["data"][0]["embedding"], str)


def reach(url: str, proxy: Proxy | None) -> Iterator[Step]:
    """Look the host up, connect, and shake hands if it speaks TLS; a step at a time.

    Raises LaterError or PersonError, naming the step that fails.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if proxy is not None:
        yield Step("proxy", "ok", f"{proxy.shown}, named by {proxy.variable}")
        yield Step("dns", "skipped", "the proxy looks the host up and connects")
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LaterError(
            f"the host cannot be looked up: {error.strerror or error}",
            where=host,
            hint="check the address and the network",
        ) from None
    yield Step("dns", "ok", f"{host} is {', '.join(sorted({str(one[4][0]) for one in found}))}")
    started = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as connection:
            took = 1000 * (time.monotonic() - started)
            yield Step("connect", "ok", f"port {port} in {took:.1f} ms")
            if parts.scheme == "https":
                yield _handshake(connection, host)
            else:
                yield Step("tls", "skipped", "plain http")
    except ssl.SSLCertVerificationError as error:
        raise PersonError(
            f"the certificate is rejected: {error.verify_message}", where=host, hint=HINT
        ) from None
    except ssl.SSLError:
        raise PersonError(
            "the server does not speak TLS, which https:// needs",
            where=host,
            hint="use http:// for a server without TLS",
        ) from None
    except OSError as error:
        raise LaterError(
            f"no connection: {error.strerror or error}", where=f"{host}:{port}"
        ) from None


def _handshake(connection: socket.socket, host: str) -> Step:
    with trusted().wrap_socket(connection, server_hostname=host) as secured:
        certificate = secured.getpeercert() or {}
        named: Any = certificate.get("issuer", ())
        issuer = dict(pair[0] for pair in named)
        by = issuer.get("organizationName") or issuer.get("commonName", "?")
        return Step("tls", "ok", f"{secured.version()}, issued by {by}")


def rate_headers(reply: Reply) -> str:
    """Return the rate-limit headers of a reply, as they came."""
    return ", ".join(
        f"{name.removeprefix('x-ratelimit-')}={value[:40]}"
        for name, value in sorted(reply.headers.items())
        if "ratelimit" in name
    )
