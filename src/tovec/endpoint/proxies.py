"""Which proxy the environment names for an address, by the rules of urllib (and so of curl).

One decision for the requests, for `tovec config check` and for messages, so that they agree.
"""

from __future__ import annotations

import os
import urllib.request
from typing import NamedTuple
from urllib.parse import urlsplit

from tovec.endpoint.address import is_loopback

SCHEMES = ("http", "https", "socks5", "socks5h")


class Proxy(NamedTuple):
    """A proxy: `url` may hold a password, `shown` does not."""

    url: str
    shown: str
    variable: str  # what names it


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that requests to an address go through; None where they go directly.

    This machine's own addresses are always asked directly.
    """
    if is_loopback(url):
        return None
    parts = urlsplit(url)
    named = urllib.request.getproxies()  # of the environment, or of the system's settings
    for scheme in (parts.scheme, "all"):
        address = named.get(scheme, "")
        if address and not urllib.request.proxy_bypass(parts.netloc):
            address = address if "://" in address else f"http://{address}"
            names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
            variable = next((name for name in names if os.environ.get(name)), names[-1])
            return Proxy(address, _redacted(address), variable)
    return None


def _redacted(address: str) -> str:
    """Return a proxy's scheme, host and port; nothing of an address that is not well formed."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if (
        not host
        or parts.scheme not in SCHEMES
        or "@" in address.removeprefix(f"{parts.scheme}://{parts.netloc}")
        or parts.netloc.count("@") > 1
    ):
        return "(an address that cannot be shown)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
