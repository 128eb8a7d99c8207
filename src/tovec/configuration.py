"""What is in force and where it came from, and whether the endpoint works with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tovec.endpoint import credentials, providers, proxies
from tovec.endpoint.address import resolve, shown
from tovec.endpoint.diagnosis import Overheard, Step, rate_headers, reach
from tovec.errors import PersonError, UsageError
from tovec.events import Observer
from tovec.pipeline.connect import Connection, Hide, connect
from tovec.records import Request
from tovec.settings import Settings, default_path

IN_PROCESS = "in this process"
SHOWN = (
    "model",
    "dimensions",
    "encoding_format",
    "user",
    "prompt",
    "extra",
    "timeout",
    "max_retries",
    "give_up_after",
    "concurrency",
    "rpm",
    "tpm",
)


def effective(settings: Settings, environ: Mapping[str, str]) -> list[dict[str, object]]:
    """Return every setting in force as rows: setting, value, origin. Keys only as set or not."""
    rows = [_row("config file", _file(settings, environ), "")]
    address = settings.base_url or settings.url
    table = providers.load(settings.providers)
    try:
        provider = providers.choose(settings.provider, address, environ, table)
    except UsageError as error:
        rows.append(_row("provider", None, error.what))
        return rows + [_chosen(settings, name) for name in SHOWN]
    origin = settings.origins.get("provider") or (
        "--base-url" if address else f"{provider.key_env} is set"
    )
    rows.append(_row("provider", provider.name, origin))
    rows += _reached(settings, provider, environ)
    for name in SHOWN:
        row = _chosen(settings, name)
        if name == "model" and settings.model is None and provider.default_model:
            row = _row(name, provider.default_model, f"provider {provider.name}")
        rows.append(row)
    return rows


def _reached(
    settings: Settings, provider: providers.Provider, environ: Mapping[str, str]
) -> list[dict[str, object]]:
    """Return the rows of the address, the proxy on the way to it, and the key that it gets."""
    if provider.in_process:
        origin = f"provider {provider.name}"
        return [_row("address", IN_PROCESS, origin), _row("key", "none needed", origin)]
    try:
        url = resolve(provider, settings._replace(model="any")).url
    except UsageError as error:
        return [_row("address", None, error.what)]
    origins = settings.origins
    origin = origins.get("base_url") or origins.get("url") or f"provider {provider.name}"
    rows = [_row("address", shown(url), origin)]
    if proxy := proxies.proxy_for(url):
        rows.append(_row("proxy", proxy.shown, proxy.variable))
    return [*rows, _key(provider, url, environ)]


def _row(setting: str, value: object, origin: str) -> dict[str, object]:
    return {"setting": setting, "value": value, "origin": origin}


def _chosen(settings: Settings, name: str) -> dict[str, object]:
    value = getattr(settings, name)
    if name == "extra":
        value = dict(value) or None
    return _row(name, value, settings.origins.get(name, "" if value is None else "default"))


def _file(settings: Settings, environ: Mapping[str, str]) -> str:
    named = {origin for origin in settings.origins.values() if origin.endswith(".toml")}
    if named:
        return min(named)
    place = environ.get("TOVEC_CONFIG") or str(default_path() or "there is no home directory")
    return f"{place} (nothing is set there)"


def _key(provider: providers.Provider, url: str, environ: Mapping[str, str]) -> dict[str, object]:
    source = credentials.key_source(provider, url, environ)
    match source.kind:
        case "variable":
            return _row("key", "set", source.name)
        case "command":
            return _row("key", "from a command", f"key_command of {provider.name}")
        case "file":
            return _row("key", "from a file", source.name)
    if not provider.key_required:
        return _row("key", "none needed", f"provider {provider.name}")
    return _row("key", "missing", credentials.missing_key(provider, url).what)


def check(
    settings: Settings,
    environ: Mapping[str, str],
    observer: Observer,
    hide: Hide,
    *,
    vectors: bool = False,
) -> Iterator[Step]:
    """Try the endpoint with one tiny request, a step at a time; with `vectors`, with some more.

    Raises what makes the endpoint unusable, worded as in every other command.
    """
    once = settings if settings.max_retries is not None else settings._replace(max_retries=0)
    overheard: list[Overheard] = []

    def listen(transport: Any) -> Overheard:
        overheard.append(Overheard(transport))
        return overheard[0]

    with connect(once, environ, observer, hide, listen) as connection:
        yield from _steps(connection, overheard)
        where = shown(connection.client.endpoint.url)
    if vectors:
        yield from _vector_steps(once, environ, observer, hide, where)


def _vector_steps(
    settings: Settings, environ: Mapping[str, str], observer: Observer, hide: Hide, where: str
) -> Iterator[Step]:
    """Try whether a text gets the same vector however it is asked for.

    Raises PersonError naming how it does not.
    """
    from tovec.pipeline.vector_trials import trials

    def open_connection(encoding: str | None) -> Connection:
        asked = settings if encoding is None else settings._replace(encoding_format=encoding)
        return connect(asked, environ, observer, hide)

    differing = []
    for trial in trials(open_connection):
        result = {True: "ok", False: "differs", None: "skipped"}[trial.same]
        yield Step("vectors", result, f"{trial.name}: {trial.detail}")
        if trial.same is False:
            differing.append(trial.name)
    if differing:
        raise PersonError(
            f"the same texts get other vectors {', '.join(differing)}",
            where=where,
            hint="such vectors cannot be compared with each other: update the server or change "
            "how it computes; -d, -m and --concurrency 1 narrow it down",
        )


def _steps(connection: Connection, overheard: Sequence[Overheard]) -> Iterator[Step]:
    endpoint = connection.client.endpoint
    place = IN_PROCESS if connection.provider.in_process else shown(endpoint.url)
    yield Step("settings", "ok", f"{connection.provider.name}, {place}")
    if not connection.provider.in_process:
        yield from reach(endpoint.url, proxies.proxy_for(endpoint.url))
    started = time.monotonic()
    answer = connection.run(connection.dispatcher.embed(Request(["hello"], 1)))
    took = time.monotonic() - started
    if not len(answer.vectors):
        raise PersonError(
            f"the endpoint refuses a plain text: {answer.refused[0][1]}", where=shown(endpoint.url)
        )
    yield Step("auth", "ok", "the key is accepted" if connection.has_key else "no key was sent")
    yield Step("model", "ok", f"{answer.model} (asked for: {endpoint.model})")
    yield Step("dimensions", "ok", str(answer.vectors.shape[1]))
    (heard,) = overheard
    coded = heard.in_base64()
    yield Step(
        "base64", "ok" if coded else "skipped", "yes" if coded else "the endpoint sends numbers"
    )
    yield Step("latency", "ok", f"{1000 * took:.1f} ms for one short text")
    rates = rate_headers(heard.reply) if heard.reply is not None else ""
    yield Step("rate limits", "ok" if rates else "skipped", rates or "the answer states none")
