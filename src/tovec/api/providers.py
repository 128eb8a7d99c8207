"""The providers: who answers where, with what limits and habits.

Facts live in `providers.toml` with their source; a user's config adds or overrides rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tovec.errors import UsageError
from tovec.records import Limits

TABLE = Path(__file__).parent / "providers.toml"
WAYS_OUT = "-p local works offline without a key; -p NAME or OPENAI_API_KEY chooses an endpoint"


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
    default_model: str | None = None
    limits: Limits = Limits()
    base64: bool | None = None  # whether encoding_format=base64 is understood
    encoding_field: str | None = "encoding_format"  # None: the field is never sent
    dimensions_field: str | None = "dimensions"  # None: dimensions cannot be asked for
    token_inputs: bool | None = None  # whether arrays of token ids are understood
    query: Mapping[str, str] = MappingProxyType({})  # Azure's api-version
    in_process: bool = False  # the embedded model
    docs: str = ""
    verified: bool = False


_STRINGS = {
    "base_url",
    "path",
    "models_path",
    "key_env",
    "key_header",
    "key_prefix",
    "key_file",
    "default_model",
    "encoding_field",
    "dimensions_field",
    "docs",
    "source",
}
_FLAGS = {"key_required", "base64", "token_inputs", "verified"}
_LIMITS = set(Limits._fields)


def load(overrides: Mapping[str, Mapping[str, object]] | None = None) -> dict[str, Provider]:
    """Give the known providers by name, with the user's rows added or laid over them.

    Raises UsageError for a field that no provider has, or of the wrong type.
    """
    import tomllib

    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    table = {name: _row(Provider(name, None), row, shipped=True) for name, row in rows.items()}
    for name, changes in (overrides or {}).items():
        if not isinstance(changes, Mapping):
            raise UsageError(f"the config's providers.{name} must be a table")
        # A provider that the user adds may well take no key: it is not asked for unless named.
        bare = Provider(name, None, key_required="key_env" in changes)
        table[name] = _row(table.get(name, bare), changes, shipped=False)
    return table


def _row(base: Provider, row: Mapping[str, object], *, shipped: bool) -> Provider:
    changes: dict[str, Any] = {}
    for name, value in row.items():
        where = f"providers.{base.name}.{name}"
        if name in _STRINGS and isinstance(value, str):
            changes[name] = value or None  # an empty string takes a field away
        elif name in _FLAGS and isinstance(value, bool):
            changes[name] = value
        elif name == "limits" and isinstance(value, Mapping):
            changes[name] = _limits(base.limits, value, where)
        elif name == "query" and isinstance(value, Mapping):
            changes[name] = {str(key): str(item) for key, item in value.items()}
        elif name == "key_command" and isinstance(value, list) and value:
            changes[name] = tuple(map(str, value))
        elif name == "in_process" and shipped:
            changes[name] = bool(value)
        else:
            raise _mistake(name, where, _STRINGS | _FLAGS | {"limits", "query", "key_command"})
    changes.pop("source", None)
    return base._replace(**changes)


def _limits(base: Limits, row: Mapping[str, object], where: str) -> Limits:
    for name, value in row.items():
        if name not in _LIMITS or type(value) is not int or value < 0:
            raise _mistake(name, f"{where}.{name}", _LIMITS)
    return base._replace(**{name: value or None for name, value in row.items()})  # type: ignore[arg-type]


def _mistake(name: str, where: str, known: set[str]) -> UsageError:
    if name in known:
        return UsageError("a field of the config has the wrong type", where=where)
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return UsageError(
        f"the config has a provider field that tovec does not know: {name}",
        where=where,
        hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}",
    )


def choose(
    name: str | None, address: str | None, environ: Mapping[str, str], table: dict[str, Provider]
) -> Provider:
    """Give the provider that was named, or the one whose key is set, OpenAI's first.

    An address without a provider (`--base-url`) is a custom one, whose key is TOVEC_API_KEY: a
    key meant for one provider is never sent to another address. Never a silent choice among
    several.
    Raises UsageError with the ways out.
    """
    if name is not None:
        if name in table:
            return table[name]
        import difflib

        near = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(table)}"
        raise UsageError(f"there is no provider {name!r}", hint=hint)
    if address is not None:
        return Provider("custom", None, key_env="TOVEC_API_KEY", key_required=False)
    if "OPENAI_API_KEY" in environ:
        return table["openai"]
    ready = [one for one in table.values() if one.key_env and one.key_env in environ]
    if len(ready) == 1:
        return ready[0]
    if ready:
        names = ", ".join(one.name for one in ready)
        raise UsageError(
            f"keys of several providers are set: {names}", hint="choose one with -p NAME"
        )
    raise UsageError("no provider is chosen, and no known API key is set", hint=WAYS_OUT)
