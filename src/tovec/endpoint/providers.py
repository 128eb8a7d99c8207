"""The providers: who answers where, with what limits and habits.

Facts live in `providers.toml` with their source; a user's config adds rows, or lays fields over
these, under `[providers.NAME]`. A field that no provider has is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tovec.errors import UsageError
from tovec.records import Limits
from tovec.settings import Range, text_problem
from tovec.suggest import did_you_mean

TABLE = Path(__file__).parent / "providers.toml"
_OFFLINE = "-p local works offline without a key"
FOLDER_PROVIDERS = ("onnx", "model2vec")  # whose model, named by -m, is a folder
WAYS_OUT = f"{_OFFLINE}; -p NAME or OPENAI_API_KEY chooses an endpoint"


class Provider(NamedTuple):
    """One endpoint's facts. A field that is None is not known, unless it says otherwise."""

    name: str
    base_url: str | None  # None: the user gives it (azure, custom)
    path: str = "/embeddings"
    models_path: str | None = "/models"
    key_env: str | None = None  # None: takes no key
    key_required: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    key_command: tuple[str, ...] | None = None
    key_file: str | None = None
    key_hosts: tuple[str, ...] = ()  # where the key may go besides base_url; ".x" is any below x
    default_model: str | None = None
    limits: Limits = Limits()
    base64: bool | None = None  # whether encoding_format=base64 is understood
    encoding_field: str | None = "encoding_format"  # None: the field is never sent
    dimensions_field: str | None = "dimensions"  # None: dimensions cannot be asked for
    query: Mapping[str, str] = MappingProxyType({})  # Azure's api-version
    in_process: bool = False  # the embedded model
    docs: str = ""
    verified: bool = False
    by_key: bool = True  # whether its key in the environment is reason enough to choose it
    source: str = ""
    unverified: tuple[str, ...] = ()  # fields of this row that were seen in no source
    note: str = ""  # a habit that a user should know


_OPTIONAL = {  # strings that "" takes away
    *("base_url", "models_path", "key_env", "key_file", "default_model"),
    *("encoding_field", "dimensions_field"),
}
_STRINGS = {"path", "key_header", "key_prefix", "docs", "source", "note", *_OPTIONAL}
_FLAGS = {"key_required", "base64", "verified", "by_key"}
_LISTS = {"key_command", "key_hosts", "unverified"}
_KNOWN = _STRINGS | _FLAGS | _LISTS | {"limits", "query"}
_LIMITS = set(Limits._fields)
_KEY_SOURCES = ("key_env", "key_command", "key_file")
_LIMIT = Range(0, 10**12)
_PATHS = ("path", "models_path")
# The embedded model is in this process: it has no address to go to and takes no key.
_IN_PROCESS = {"default_model", "limits", "docs", "source", "note", "verified", "unverified"}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token of RFC 9110
_OURS = {"accept", "accept-encoding", "connection", "content-length", "content-type", "host",
         "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}  # fmt: skip
_HOST = re.compile(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)+")


def load(overrides: Mapping[str, Mapping[str, object]] | None = None) -> dict[str, Provider]:
    """Return the known providers by name, with the user's rows added or laid over them.

    Raises UsageError for a field that no provider has, of the wrong type, or of a value that
    cannot be meant.
    """
    import tomllib

    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    table = {
        name: _row(Provider(name, None, in_process=bool(row.pop("in_process", False))), row)
        for name, row in rows.items()
    }
    for name, changes in (overrides or {}).items():
        if not isinstance(changes, Mapping):
            raise UsageError(f"the config's providers.{name} must be a table")
        _check_in_process(table.get(name), changes)
        # A provider that the user adds may well take no key: it is asked for where one is named.
        needed = any(source in changes for source in _KEY_SOURCES)
        table[name] = _row(table.get(name) or Provider(name, None, key_required=needed), changes)
    return table


def key_variables(*tables: Mapping[str, Provider]) -> frozenset[str]:
    """Return the names of all environment variables that hold a key of some provider."""
    return frozenset(row.key_env for table in (load(), *tables) for row in table.values()
                     if row.key_env)  # fmt: skip


def _check_in_process(base: Provider | None, changes: Mapping[str, object]) -> None:
    """Raise UsageError for a field that cannot act on a model in this process."""
    if base is None or not base.in_process:
        return
    for name in changes:
        if name in _KNOWN - _IN_PROCESS:
            raise UsageError(
                f"{base.name} runs in this process: it has no {name}",
                where=f"providers.{base.name}.{name}",
                hint="give a server a name of its own: [providers.NAME]",
            )


def _row(base: Provider, row: Mapping[str, object]) -> Provider:
    changes: dict[str, Any] = {}
    for name, value in row.items():
        where = f"providers.{base.name}.{name}"
        if name not in _KNOWN:
            raise _unknown(name, where, _KNOWN)
        if name == "limits":
            changes[name] = _limits(base.limits, value, where)
        elif name in _STRINGS and isinstance(value, str):
            _check_text(name, value, where)
            changes[name] = None if not value and name in _OPTIONAL else value
        elif name in _FLAGS and isinstance(value, bool):
            changes[name] = value
        elif name in _LISTS and isinstance(value, list) and value and _strings(value):
            _check_list(name, value, where)
            changes[name] = tuple(value)
        elif name == "query" and isinstance(value, Mapping) and _strings(value.values()):
            for word in (*value, *value.values()):
                _refuse_if(text_problem(word), where)
            changes[name] = dict(value)
        else:
            raise _mistyped(where, name)
    return base._replace(**changes)


def _check_text(name: str, value: str, where: str) -> None:
    """Raise UsageError for a text that would break the request or the address it becomes part of.

    It is not repeated: an address may hold a password.
    """
    _refuse_if(text_problem(value), where)
    if name == "key_header":
        _refuse_if("" if _HEADER.fullmatch(value) else "is not the name of a header", where)
        _refuse_if("is a header that tovec sets itself" if value.lower() in _OURS else "", where)
    elif name == "key_prefix":
        _refuse_if("" if value.isascii() else "is not ASCII, as headers are", where)
    elif name in _PATHS and value:
        _refuse_if("" if value.startswith("/") else "does not begin with /", where)


def _check_list(name: str, values: list[str], where: str) -> None:
    for value in values:
        if name == "key_hosts":
            problem = "" if _HOST.fullmatch(value) else "holds something that is not a host"
            _refuse_if(problem, where)
        elif "\0" in value:
            _refuse_if("holds a NUL character", where)


def _refuse_if(problem: str, where: str) -> None:
    if problem:
        raise UsageError(f"a provider field in the config {problem}", where=where)


def _strings(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _limits(base: Limits, row: object, where: str) -> Limits:
    if not isinstance(row, Mapping):
        raise _mistyped(where, "limits")
    changes: dict[str, Any] = {}
    for name, value in row.items():
        if name not in _LIMITS:
            raise _unknown(name, f"{where}.{name}", _LIMITS)
        if value not in _LIMIT:
            raise _mistyped(f"{where}.{name}", "a limit")
        changes[name] = value or None
    return base._replace(**changes)


def _unknown(name: str, where: str, known: Iterable[str]) -> UsageError:
    hint = did_you_mean(name, known, f"known: {', '.join(sorted(known))}")
    if name in ("key", "api_key", "apikey", "token"):
        hint = f"the config never holds a key itself: use {', '.join(_KEY_SOURCES)}"
    return UsageError(f"the config has an unknown provider field: {name}", where=where, hint=hint)


def _mistyped(where: str, name: str) -> UsageError:
    wanted = {
        "limits": f"a table of {', '.join(sorted(_LIMITS))}",
        "a limit": f"{_LIMIT}, 0 for none",
        "query": "a table of strings",
        **dict.fromkeys(_LISTS, "a list of strings, not empty"),
        **dict.fromkeys(_FLAGS, "true or false"),
        **dict.fromkeys(_STRINGS, "a string"),
    }
    return UsageError(
        "a provider field in the config has the wrong type",
        where=where,
        hint=f"it must be {wanted[name]}",
    )


def choose(
    name: str | None,
    address: str | None,
    environ: Mapping[str, str],
    table: Mapping[str, Provider],
) -> Provider:
    """Return the provider that was named, or the one whose key is set, OpenAI's first.

    `name` comes from the flag, TOVEC_PROVIDER or the config, in that order (`tovec.settings`). An
    `address` without a provider (`--base-url`) is a custom one. Never a silent choice among
    several. Which key may go to which address is decided in `tovec.endpoint.credentials`.
    Raises UsageError with the ways out.
    """
    if name is not None:
        if name in table:
            return table[name]
        hint = (
            f"{did_you_mean(name.lower(), table)} `tovec models --providers` lists all; {_OFFLINE}"
        )
        raise UsageError(f"there is no provider {name!r}", hint=hint.strip())
    if address is not None:
        return table["custom"]
    ready = [one for one in table.values() if one.by_key and environ.get(one.key_env or "")]
    if environ.get("OPENAI_API_KEY"):
        return table["openai"]
    if len(ready) == 1:
        return ready[0]
    if ready:
        names = ", ".join(f"{one.name} ({one.key_env})" for one in ready)
        raise UsageError(
            f"keys of several providers are set: {names}",
            hint=f"-p NAME chooses one; {_OFFLINE}",
        )
    raise UsageError("no provider is chosen, and no known API key is set", hint=WAYS_OUT)
