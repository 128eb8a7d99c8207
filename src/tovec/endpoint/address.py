"""The endpoint that requests go to: address, model and fields, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from tovec.endpoint.providers import Provider
from tovec.errors import PersonError, UsageError
from tovec.settings import Settings, check, json_problem, named_by, text_problem

LOCAL_HOST = "tovec.invalid"  # stands in addresses for the embedded model; never resolved
MAX_SHOWN = 200  # characters of an address
LOCAL_PLACE = "the model in this process"


class Origin(NamedTuple):
    """What a key is bound to: two addresses of one origin lead to the same server."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == PORTS.get(self.scheme)
        return f"{self.scheme}://{host}" + ("" if usual else f":{self.port}")


PORTS = {"http": 80, "https": 443}


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
    key_advice: str = ""  # what to do where the endpoint does not accept the key


def resolve(provider: Provider, settings: Settings, default_model: str | None = None) -> Endpoint:
    """Return the endpoint that the provider's facts and the user's settings make together.

    Raises UsageError for an address or a field that cannot be meant.
    """
    check(settings)
    if provider.in_process:
        settings = _without_address(provider, settings)
    model = settings.model or default_model or provider.default_model
    if model is None:
        raise UsageError(
            "no model is chosen",
            hint="choose one with -m ID; `tovec models` lists known models",
        )
    if problem := text_problem(model):
        raise UsageError(f"the model's name {problem}")
    _check_extra(settings.extra)
    url, models_url = _addresses(provider, settings)
    return Endpoint(
        provider=provider,
        url=url,
        models_url=models_url,
        model=model,
        dimensions=settings.dimensions,
        encoding=settings.encoding_format,
        user=settings.user,
        extra=settings.extra,
    )


def sent_fields(
    endpoint: Endpoint, encoding: str | None, *, dimensions: bool = True
) -> dict[str, object]:
    """Return the fields of a request beside its inputs; None stands for one that is left out."""
    provider = endpoint.provider
    fields: dict[str, object] = {"model": endpoint.model}
    if dimensions and endpoint.dimensions is not None and provider.dimensions_field is not None:
        fields[provider.dimensions_field] = endpoint.dimensions
    if provider.encoding_field is not None:
        fields[provider.encoding_field] = encoding
    return {**fields, "user": endpoint.user, **endpoint.extra}


def identity(endpoint: Endpoint) -> dict[str, object]:
    """Return what makes a vector beside its text, to be compared and shown.

    It is the whole address with its query, and every field that is sent but `user`; of the
    encoding, what the user has chosen. The address is there as a digest, since its query may hold
    a secret, and once more as people may see it.
    """
    described: dict[str, object] = {
        "endpoint": shown(endpoint.url),
        "model": endpoint.model,
        "dimensions": endpoint.dimensions,
        "extra": dict(endpoint.extra),
    }
    if (
        endpoint.provider.in_process
    ):  # all that can differ; as jobs had it from the first version on
        return {**described, "endpoint": "local"}
    fields = sent_fields(endpoint, endpoint.encoding)
    del fields["user"]
    digest = blake2b(endpoint.url.encode(), digest_size=16).hexdigest()
    return {**described, "address": digest, "fields": fields}


def _without_address(provider: Provider, settings: Settings) -> Settings:
    """Return the settings without an address, which a model in this process does not have.

    One in the config file is for other providers. One typed beside it is a contradiction.
    """
    for name in ("base_url", "url"):
        named, file = named_by(settings, name)
        if getattr(settings, name) is not None and not file:
            raise UsageError(
                f"{named} names a server, but {provider.name} runs in this process",
                hint=f"leave {named} out, or name the server's provider: -p custom",
            )
    return settings._replace(base_url=None, url=None)


def _addresses(provider: Provider, settings: Settings) -> tuple[str, str | None]:
    """Return the address of the embeddings and that of the list of models."""
    if settings.url is not None:
        url = checked_url(settings.url, *named_by(settings, "url"))
        return _with_query(url, provider.query), None
    if settings.base_url is not None:
        named, where = named_by(settings, "base_url")
        base = checked_url(settings.base_url, named, where)
    elif provider.base_url is not None:
        named, where = f"the address of {provider.name}", f"providers.{provider.name}.base_url"
        base = checked_url(provider.base_url, named, where)
    else:
        raise UsageError(
            f"{provider.name} has no address of its own",
            hint=f"name it with --base-url URL, or as base_url in [providers.{provider.name}]",
        )
    paths = f"providers.{provider.name}"
    url = checked_url(_joined(base, provider.path), "the path", paths)
    models = None
    if provider.models_path:
        models = checked_url(_joined(base, provider.models_path), "the path of the models", paths)
        models = _with_query(models, provider.query)
    return _with_query(url, provider.query), models


_OWN_OPTIONS = ("model", "dimensions", "encoding_format", "user")


# The fields by which Voyage, Mistral, Cohere and Jina are asked for small integers and bits.
_NUMBER_TYPES = ("output_dtype", "embedding_types", "embedding_type")
_INTEGERS = ("int8", "uint8", "binary", "ubinary")


def _check_extra(extra: Mapping[str, object]) -> None:
    for name, value in extra.items():
        if name == "input" or name in _OWN_OPTIONS:
            option = "each text" if name == "input" else f"--{name.replace('_', '-')}"
            raise UsageError(f"--extra cannot set {name}", hint=f"{option} sets it")
        if problem := text_problem(name) or json_problem(value):
            raise UsageError(f"--extra: {name!r} {problem}")
        if name in _NUMBER_TYPES:
            _check_number_type(name, value)


def _check_number_type(name: str, value: object) -> None:
    """Raise UsageError for a field that has vectors answered as anything but floats.

    An answer does not say its type, and four int8 are as long as one float32.
    """
    asked = value if isinstance(value, list) else [value]
    if other := [one for one in asked if one in _INTEGERS]:
        raise UsageError(
            f"--extra {name} has the endpoint answer {other[0]}, and tovec reads floats",
            hint=f"leave it out: --dtype {other[0]} stores them so, and asks for floats",
        )


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


def checked_url(url: str, named: str = "the address", where: str = "") -> str:
    """Return the address, checked. Raises UsageError for one that cannot be meant.

    `named` and `where` say whose address it is. The message never repeats it: in an address that
    is not well formed, any part may be a password.
    """
    url = url.strip(" \t")
    hint = "for example --base-url http://127.0.0.1:8080/v1"
    if "@" in url:
        raise UsageError(
            f"{named} contains a user or a password (an @), which would be logged",
            where=where,
            hint="give a key by its environment variable; write an @ in a path as %40",
        )
    try:
        parts = urlsplit(url)
        has_port_0 = parts.port == 0
    except ValueError:
        raise UsageError(
            f"{named} is not an address: its host or its port cannot be read",
            where=where,
            hint=hint,
        ) from None
    if parts.scheme not in PORTS or not parts.hostname or has_port_0:
        raise UsageError(
            f"{named} must begin with https:// or http:// and name a host",
            where=where,
            hint=hint,
        )
    if "#" in url or "\\" in url or any(ord(c) <= 32 or ord(c) > 126 for c in url):
        raise UsageError(
            f"{named} contains a character that is not allowed in an address", where=where
        )
    return url


def origin(url: str) -> Origin:
    """Return the origin of a checked address."""
    parts = urlsplit(url)
    scheme = parts.scheme
    return Origin(scheme, parts.hostname or "", parts.port or PORTS.get(scheme, 0))


_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}")  # not 127.0.0.1.elsewhere.example


def is_loopback(url: str) -> bool:
    """Return whether the address is this machine's own."""
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
    """Return an address as it may be shown: without user, password, query and fragment.

    Of one that is not well formed nothing is shown, for any part of it may be a password.
    """
    try:
        parts = urlsplit(url.strip())
        place = str(origin(url.strip()))
    except ValueError:
        return "(an address that cannot be read)"
    if parts.hostname == LOCAL_HOST:
        return LOCAL_PLACE
    if parts.scheme not in PORTS or not parts.hostname or "@" in url:
        return "(an address that cannot be shown)"
    return f"{place}{parts.path}"[:MAX_SHOWN]
