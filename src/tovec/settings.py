"""Settings: what a user has chosen, from flags, environment and config file, in that order.

The config file is TOML, at `--config`, else TOVEC_CONFIG, else the platform's place (for example
~/.config/tovec/config.toml). It is never looked for in the working directory: a file that someone
else left there must not choose where texts and keys go.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tovec.errors import UsageError

Table = Mapping[str, object]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Settings(NamedTuple):
    """The endpoint settings in force. None means "not chosen": the provider's default holds.

    `timeout` is in seconds for one attempt, `give_up_after` for trouble without any success, `rpm`
    and `tpm` are requests and tokens a minute.
    `origins` says for each chosen name where it came from ("--model", "TOVEC_PROVIDER", a path).
    """

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    url: str | None = None
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None
    extra: Table = _NOTHING
    timeout: float | None = None
    max_retries: int | None = None
    give_up_after: float | None = None
    concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    providers: Mapping[str, Table] = _NOTHING
    origins: Mapping[str, str] = _NOTHING

    def with_flags(self, flags: Mapping[str, object]) -> Settings:
        """Give these settings with the options that were given on the command line on top."""
        given = {name: value for name, value in flags.items() if value not in (None, {})}
        if "extra" in given:
            given["extra"] = {**self.extra, **dict(given["extra"])}  # type: ignore[call-overload]
        origins = {**self.origins, **{name: f"--{name.replace('_', '-')}" for name in given}}
        if "base_url" in given or "url" in given:
            # The address that a config file gives must not win over one typed here.
            given = {"base_url": None, "url": None, **given}
        changes: dict[str, Any] = {**given, "origins": origins}
        return self._replace(**changes)


def default_path() -> Path | None:
    """Give the platform's place for the config file, there or not; None without a home."""
    try:
        if sys.platform == "linux":  # the XDG rule, which platformdirs takes 9 ms to load for
            base = os.environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
            path = Path(base, "tovec", "config.toml").expanduser()
        else:
            import platformdirs

            path = platformdirs.user_config_path("tovec") / "config.toml"
    except RuntimeError:  # neither HOME nor an entry of passwd, as in containers (fault 140)
        return None
    return path if path.is_absolute() else None  # never in the current directory


def load(explicit: str | None, environ: Mapping[str, str]) -> Settings:
    """Read the config file, if there is one, and the environment.

    Raises UsageError for a file that was named and is not there, is not TOML, or has a field that
    tovec does not know: a typo must not silently mean "default".
    """
    named = explicit or environ.get("TOVEC_CONFIG")
    path = Path(named) if named else default_path()
    settings = Settings() if path is None else _from_file(path, required=bool(named))
    if provider := environ.get("TOVEC_PROVIDER"):
        origins = {**settings.origins, "provider": "TOVEC_PROVIDER"}
        settings = settings._replace(provider=provider, origins=origins)
    return settings


def _from_file(path: Path, *, required: bool) -> Settings:
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError("the config file is not there", where=str(path)) from None
        return Settings()
    except OSError as error:
        raise UsageError(
            f"the config file cannot be read: {error.strerror}", where=str(path)
        ) from None
    import tomllib

    try:
        table = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file is not TOML: {error}", where=str(path)) from None
    return from_table(table, str(path))


_TYPES: Mapping[str, tuple[type, ...]] = {
    "provider": (str,),
    "model": (str,),
    "base_url": (str,),
    "url": (str,),
    "dimensions": (int,),
    "encoding_format": (str,),
    "user": (str,),
    "extra": (dict,),
    "timeout": (int, float),
    "max_retries": (int,),
    "give_up_after": (int, float),
    "concurrency": (int,),
    "rpm": (int,),
    "tpm": (int,),
    "providers": (dict,),
}


def from_table(table: Mapping[str, object], where: str) -> Settings:
    """Give the settings that a config file's table holds, each field checked by name and type."""
    for name, value in table.items():
        wanted = _TYPES.get(name)
        if wanted is None:
            raise UsageError(
                f"the config file has a field that tovec does not know: {name}",
                where=where,
                hint=_suggestion(name),
            )
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise UsageError(
                f"the config field {name} must be {_TYPE_NAMES[wanted[-1]]}", where=where
            )
    found: dict[str, Any] = {**table, "origins": dict.fromkeys(table, where)}
    return Settings(**found)


_TYPE_NAMES = {str: "a string", int: "an integer", float: "a number", dict: "a table"}


def _suggestion(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, _TYPES, n=1)
    return f"did you mean {near[0]}?" if near else f"known fields: {', '.join(_TYPES)}"
