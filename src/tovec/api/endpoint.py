"""The endpoint that requests go to: address, model and fields, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from tovec.api.providers import Provider
from tovec.errors import PersonError, UsageError
from tovec.settings import Settings


class Endpoint(NamedTuple):
    """Where requests go and what they carry beside their inputs."""

    provider: Provider
    url: str
    models_url: str | None
    model: str
    dimensions: int | None = None
    encoding: str | None = None  # "base64" or "float"; None: found out
    user: str | None = None
    extra: Mapping[str, object] = MappingProxyType({})


def resolve(provider: Provider, settings: Settings, default_model: str | None = None) -> Endpoint:
    """Give the endpoint that the provider's facts and the user's settings make together.

    Raises UsageError for an address or a field that cannot be meant.
    """
    base = settings.base_url or provider.base_url
    model = settings.model or default_model or provider.default_model
    if base is None and settings.url is None:
        raise UsageError(
            f"{provider.name} has no address of its own", hint="name it with --base-url URL"
        )
    if model is None:
        raise UsageError(
            "no model is chosen",
            hint="name one with -m ID; `tovec models` lists those that tovec knows",
        )
    for name, value in (("--model", model), ("--user", settings.user or "")):
        if _has_control(value):
            raise UsageError(f"{name} holds a control character")
    _check_extra(settings.extra)
    if settings.encoding_format not in (None, "base64", "float"):
        raise UsageError(
            f"--encoding-format takes base64 or float, not {settings.encoding_format!r}"
        )
    address = checked_url(settings.url or str(base))
    models = None
    if settings.url is None:
        if provider.models_path:
            models = _with_query(_joined(address, provider.models_path), provider.query)
        address = _joined(address, provider.path)
    return Endpoint(
        provider=provider,
        url=_with_query(address, provider.query),
        models_url=models,
        model=model,
        dimensions=settings.dimensions,
        encoding=settings.encoding_format,
        user=settings.user,
        extra=settings.extra,
    )


_OWN_OPTIONS = ("model", "dimensions", "encoding_format", "user")


def _check_extra(extra: Mapping[str, object]) -> None:
    for name, value in extra.items():
        if name == "input" or name in _OWN_OPTIONS:
            option = "the texts themselves" if name == "input" else f"--{name.replace('_', '-')}"
            raise UsageError(f"--extra cannot set {name}", hint=f"that is for {option}")
        if any(_has_control(word) for word in (name, value) if isinstance(word, str)):
            raise UsageError("--extra holds a control character")


def _has_control(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def _joined(base: str, path: str) -> str:
    """Add the path, unless the user gave the whole address as the base."""
    parts = urlsplit(base)
    stem = parts.path.rstrip("/")
    if stem.endswith("/embeddings"):
        if path.endswith("/embeddings"):
            return urlunsplit(parts._replace(path=stem))
        stem = stem.removesuffix("/embeddings")
    return urlunsplit(parts._replace(path=stem + path))


def _with_query(url: str, query: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(query)]))))


def checked_url(url: str, query: Mapping[str, str] = MappingProxyType({})) -> str:
    """Give the address back with the provider's query; UsageError for one that cannot be meant."""
    url = url.strip(" \t")
    try:
        parts = urlsplit(url)
        _ = parts.port  # is a number, or raises
    except ValueError as error:
        raise UsageError(f"this is not an address: {error}", where=shown(url)) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            "the address must begin with https:// or http:// and name a host",
            where=shown(url),
            hint="for example --base-url http://127.0.0.1:8080/v1",
        )
    if parts.username or parts.password:
        raise UsageError(
            "the address holds a user or a password, which would be logged",
            where=parts.hostname,
            hint="give the key by the provider's environment variable",
        )
    if parts.fragment or any(ord(c) <= 32 or ord(c) > 126 for c in url):
        raise UsageError("the address holds a character that no address has", where=shown(url))
    return _with_query(url, query)


_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}")  # not 127.0.0.1.elsewhere.example


def is_loopback(url: str) -> bool:
    """Say whether the address is this machine's own."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or bool(_LOOPBACK.fullmatch(host))


def refuse_plain_http(url: str, *, has_key: bool) -> None:
    """Raise PersonError when a key would travel unencrypted to another machine."""
    if has_key and url.startswith("http://") and not is_loopback(url):
        raise PersonError(
            "the key would be sent unencrypted",
            where=shown(url),
            hint="use https://; plain http:// is for 127.0.0.1 and servers without a key",
        )


def shown(url: str) -> str:
    """Give the address as it may be shown: without user, password and query."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.split("?")[0].rpartition("@")[2][:100]
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}"[:200]
