"""Calls over the network with httpx, behind the guards that no client gives by itself.

No redirect is followed (a key or a text must not end up elsewhere), nothing compressed is asked
for, an answer has a byte cap and the whole attempt a deadline. Without a proxy, `direct_http.py`
carries them below httpx; with one, httpx itself does.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
import time
import zlib
from functools import partial
from typing import Any

import httpx

from tovec.endpoint.address import shown
from tovec.endpoint.direct_http import DirectTransport, SpeaksTLS
from tovec.endpoint.proxies import Proxy, proxy_for
from tovec.endpoint.refusal import FailureKind, TransportFailure
from tovec.endpoint.transport import Call, Phase, Progress, Reply
from tovec.endpoint.trust import HINT, trusted
from tovec.errors import PersonError
from tovec.wording import count_phrase

CONNECT_SECONDS = 10.0
STALE_SECONDS = 0.5  # that a connection had been closed shows within a round trip
KEEP_ALIVE_SECONDS = 3.0  # below the 5 s after which common servers hang up
_NO_FILES = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL)  # or ports

# httpx logs whole addresses at INFO; nothing of ours may reach a log unasked.
logging.getLogger("httpx").setLevel(logging.WARNING)


class HttpxTransport:
    """One pool of connections for all requests of a process."""

    def __init__(self, url: str, *, concurrency: int) -> None:
        """Raises PersonError for certificates or a proxy in the environment that cannot be used."""
        self._proxy = proxy_for(url)
        secure_proxy = self._proxy is not None and self._proxy.url.startswith("https://")
        # Certificates take 20 ms to load; plain http has no use for them.
        context = trusted() if url.startswith("https://") or secure_proxy else None
        carrier = (
            None
            if self._proxy
            else DirectTransport(context, keep_alive=KEEP_ALIVE_SECONDS, threads=concurrency)
        )
        try:
            self._client = httpx.AsyncClient(
                transport=carrier,
                proxy=self._proxy
                and httpx.Proxy(self._proxy.url, ssl_context=context if secure_proxy else None),
                follow_redirects=False,
                verify=context or False,  # False only where nothing speaks TLS
                trust_env=False,
                limits=httpx.Limits(
                    max_connections=concurrency,
                    max_keepalive_connections=concurrency,
                    keepalive_expiry=KEEP_ALIVE_SECONDS,
                ),
                timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # the deadline is `send`'s
            )
        except (ValueError, httpx.InvalidURL, ImportError):
            # Not its words: a proxy's address may hold a password.
            raise PersonError(
                "the proxy that the environment names cannot be used",
                where=self._proxy.variable if self._proxy else "",
                hint="HTTPS_PROXY and ALL_PROXY take http://HOST:PORT; NO_PROXY names exceptions",
            ) from None

    async def send(self, call: Call) -> Reply:
        """Carry one call; TransportFailure when no whole answer comes."""
        progress, began = Progress(), time.monotonic()
        try:
            async with asyncio.timeout(call.deadline):
                request = self._client.build_request(
                    call.method, call.url, headers=dict(call.headers), content=call.body
                )
                request.extensions |= {"progress": progress, "trace": partial(_follow, progress)}
                response = await self._client.send(request, stream=True)
                progress.phase = Phase.READING
                try:
                    body = await _body(response, call.cap)
                finally:
                    await response.aclose()
                return Reply(response.status_code, _headers(response), body)
        except TimeoutError:
            kind, cause, what = _TOO_LATE[progress.phase]
            raise TransportFailure(kind, cause, f"no {what} within {call.deadline:g} s") from None
        except httpx.HTTPError as error:
            late = time.monotonic() - began > STALE_SECONDS
            raise _failure(error, call.url, progress, late=late, proxy=self._proxy) from None
        except (httpx.InvalidURL, UnicodeError):
            raise TransportFailure("fatal", "address", "the address cannot be used") from None

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()


async def _body(response: httpx.Response, cap: int) -> bytes:
    told = response.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > cap:
        raise _too_large(cap)
    parts: list[bytes] = []  # joined once: what grows is copied again and again
    size = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for part in response.stream:
        parts.append(part)
        size += len(part)
        if size > cap:
            raise _too_large(cap)
    _part_if_more_came(response)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    return body if encoding in ("identity", "") else _inflated(body, encoding, cap)


def _part_if_more_came(response: httpx.Response) -> None:
    """Keep a connection from being used again on which more came than the answer (#21).

    It would pass for the answer to the next request, with vectors of other texts. `direct_http.py`
    checks this itself. Behind a proxy there is no other way than through private attributes of
    httpx 0.28 and httpcore 1, which a test pins.
    """
    inner: Any = response.stream
    for name in ("_stream", "_httpcore_stream", "_stream", "_connection", "_h11_state"):
        inner = getattr(inner, name, None)
    if inner is not None and inner.trailing_data[0]:
        inner.send_failed()  # it is closed then, instead of going back to the pool


def _inflated(body: bytes, encoding: str, cap: int) -> bytes:
    """Decode an answer that is compressed although that was not asked for, bounded and whole."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise TransportFailure("foreign", "encoding", f"the answer is encoded as {encoding[:40]}")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: gzip or zlib, by the header
    try:
        plain = inflate.decompress(body, cap)
    except zlib.error as error:
        raise TransportFailure("ambiguous", "truncated", f"damaged compression: {error}") from None
    if inflate.unconsumed_tail:
        raise _too_large(cap)
    if not inflate.eof or inflate.unused_data:
        raise TransportFailure("ambiguous", "truncated", "the compressed answer is incomplete")
    return plain


def _too_large(cap: int) -> TransportFailure:
    return TransportFailure(
        "foreign", "too large", f"the answer exceeds {count_phrase(cap, 'byte')}"
    )


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


_TOO_LATE: dict[Phase, tuple[FailureKind, str, str]] = {  # kind, cause, and what did not come
    Phase.CONNECTING: ("not_sent", "connect", "connection"),
    Phase.SENDING: ("not_sent", "timeout", "whole request could be sent"),
    Phase.WAITING: ("ambiguous", "timeout", "whole answer"),
    Phase.READING: ("ambiguous", "timeout", "whole answer"),
}

_PHASES = {  # what httpcore tells of a call behind a proxy
    "http11.send_request_headers.started": Phase.SENDING,
    "http11.send_request_body.complete": Phase.WAITING,
}


async def _follow(progress: Progress, event: str, _info: object) -> None:
    progress.phase = _PHASES.get(event, progress.phase)
    if event == "connection.connect_tcp.started":
        progress.reused = False


def _failure(
    error: httpx.HTTPError,
    url: str,
    progress: Progress,
    *,
    late: bool,
    proxy: Proxy | None = None,
) -> TransportFailure:
    """Return what kind of failure an exception of httpx is: sent or not, fatal or passing."""
    if found := _tls_failure(error, url):
        return found
    if isinstance(error, httpx.ProxyError):
        return _proxy_failure(str(error), proxy)
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.PoolTimeout):
        return _no_connection(error, proxy)
    if isinstance(error, httpx.UnsupportedProtocol):
        return TransportFailure("fatal", "address", "not an HTTP address")
    if _in_chain(error, SpeaksTLS):
        return TransportFailure("fatal", "tls", "the server speaks TLS", "use https://")
    if isinstance(error, httpx.LocalProtocolError):
        return TransportFailure(
            "fatal", "request", "the request holds a header that HTTP does not allow"
        )
    if progress.phase is Phase.READING:
        return TransportFailure(
            "ambiguous", "truncated", "the connection closed in the middle of the reply"
        )
    lost = isinstance(error, httpx.ReadError | httpx.WriteError)
    silent = lost or "without sending" in str(error)
    if silent and not late and progress.reused:
        return TransportFailure("stale", "reset", "the server had closed an idle connection")
    if progress.phase < Phase.WAITING:
        return TransportFailure("not_sent", "reset", "the connection was lost while sending")
    words = _protocol_words(error)
    if words == _NO_REPLY and url.startswith("http://") and not late:
        words += " (if it speaks TLS, use https://)"
    return TransportFailure("ambiguous", "reset", words)


def _tls_failure(error: httpx.HTTPError, url: str) -> TransportFailure | None:
    if found := _in_chain(error, ssl.SSLCertVerificationError):
        reason = getattr(found, "verify_message", "") or "it is not trusted"
        what = f"the certificate of {shown(url)} is rejected: {reason}"
        return TransportFailure("fatal", "certificate", what, HINT)
    if _in_chain(error, ssl.SSLEOFError):
        return TransportFailure(
            "not_sent", "tls", "the connection was closed during the TLS handshake"
        )
    if _in_chain(error, ssl.SSLError) and isinstance(error, httpx.ConnectError):
        what = f"{shown(url)} does not speak TLS, which https:// needs"
        return TransportFailure("fatal", "tls", what, "use http:// for a server without TLS")
    return None


_NO_REPLY = "the server closed the connection without a reply"
PASSING_PROXY_STATUSES = ("408", "425", "429", "500", "502", "503", "504")


def _proxy_failure(words: str, proxy: Proxy | None) -> TransportFailure:
    """Return what a proxy's answer to CONNECT means; httpx gives its status and reason."""
    name = f"the proxy {proxy.shown}" if proxy else "the proxy"
    status, _, reason = words.partition(" ")
    if not (status.isdecimal() and len(status) == 3):
        return TransportFailure("fatal", "proxy", f"{name} cannot be used")
    what = f"{name} answers {status}" + (f" ({reason[:100]})" if reason else "")
    if status in PASSING_PROXY_STATUSES:
        return TransportFailure("not_sent", "proxy", what, _proxy_hint(proxy))
    if status in ("401", "407"):
        variable = proxy.variable if proxy else "HTTPS_PROXY"
        hint = f"it asks for credentials: {variable}=http://USER:PASSWORD@HOST:PORT"
        return TransportFailure("fatal", "proxy", what, hint)
    return TransportFailure("fatal", "proxy", what, _proxy_hint(proxy))


def _proxy_hint(proxy: Proxy | None) -> str:
    variable = proxy.variable if proxy else "HTTPS_PROXY"
    return f"{variable} names this proxy; NO_PROXY names hosts to reach without it"


def _no_connection(error: httpx.HTTPError, proxy: Proxy | None) -> TransportFailure:
    cause = _in_chain(error, OSError)
    if isinstance(cause, OSError) and cause.errno in _NO_FILES:
        return TransportFailure(
            "not_sent", "files", "too many open files or connections on this machine"
        )
    if isinstance(error, httpx.ConnectTimeout):
        words = f"no connection in {CONNECT_SECONDS:.0f} s"
    else:
        words = _reason(cause) or "connection refused"
    if proxy is None:
        return TransportFailure("not_sent", "connect", words)
    return TransportFailure(
        "not_sent", "proxy", f"the proxy {proxy.shown} cannot be reached: {words}",
        _proxy_hint(proxy),
    )  # fmt: skip


def _protocol_words(error: httpx.HTTPError) -> str:
    """Return why no reply came, in our own words: h11 speaks of its states."""
    said = str(error).lower()
    if "without sending" in said or "without response" in said:
        return _NO_REPLY
    if isinstance(error, httpx.ReadError | httpx.WriteError):
        return _reason(_in_chain(error, OSError)) or "the connection was lost"
    if "too long" in said or "got more than" in said:
        return "the reply's headers are too long"
    return "the reply is not valid HTTP"


def _reason(cause: BaseException | None) -> str:
    """Return in the system's words why there is no connection; asyncio's name functions."""
    if not isinstance(cause, OSError) or not cause.errno:
        return ""
    unknown = isinstance(cause, socket.gaierror)  # its numbers are not the system's
    words = str(cause.strerror) if unknown else os.strerror(cause.errno)
    return words[:1].lower() + words[1:]


def _in_chain(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
