"""Settings: what a user has chosen, from flags, environment and config file, in that order.

The config file is TOML, at `--config`, else TOVEC_CONFIG, else the platform's place (for example
~/.config/tovec/config.toml). It is never looked for in the working directory: a file that someone
else left there must not choose where texts and keys go.
"""

from __future__ import annotations

import math
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Never

from tovec.errors import PersonError, UsageError
from tovec.suggest import did_you_mean

Table = Mapping[str, object]
_NOTHING: Mapping[str, Never] = MappingProxyType({})
MAX_BYTES = 1 << 20  # of a config file
MAX_JSON_DEPTH = 100  # levels of a value of `extra`; the JSON writer takes 254


class Range(NamedTuple):
    """The values that a number may have, both ends included."""

    minimum: float
    maximum: float
    whole: bool = True

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.minimum <= value <= self.maximum  # NaN is in no range

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.minimum:,} to {self.maximum:,}"


RANGES: Mapping[str, Range] = {
    "dimensions": Range(1, 65_536),
    "timeout": Range(0.001, 86_400, whole=False),  # a day
    "max_retries": Range(0, 1_000_000),
    "give_up_after": Range(0, 31_536_000, whole=False),  # a year
    "concurrency": Range(1, 10_000),
    "rpm": Range(1, 10**12),
    "tpm": Range(1, 10**12),
}
"""The one declaration of the numbers' ranges, for the command line and the config file alike."""

ENCODINGS = ("base64", "float")


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
    prompt: str | None = None
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
        """Return these settings with the options of the command line on top.

        Raises UsageError for a value that cannot be meant.
        """
        given = {name: value for name, value in flags.items() if value not in (None, {})}
        for name, value in given.items():
            check_value(name, value, f"--{name.replace('_', '-')}")
        if "base_url" in given and "url" in given:
            raise UsageError(
                "--base-url and --url exclude each other",
                hint="--base-url takes the server, --url the whole address of its embeddings",
            )
        if "extra" in given:
            given["extra"] = {**self.extra, **dict(given["extra"])}  # type: ignore[call-overload]
        origins = {**self.origins, **{name: f"--{name.replace('_', '-')}" for name in given}}
        if "base_url" in given or "url" in given:
            # The address that a config file gives must not win over one typed here.
            given = {"base_url": None, "url": None, **given}
        changes: dict[str, Any] = {**given, "origins": origins}
        return self._replace(**changes)


def default_path() -> Path | None:
    """Return the platform's place for the config file, there or not; None without a home."""
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


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe in the file's place must not be waited for


def _from_file(path: Path, *, required: bool) -> Settings:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError("the config file is not a regular file", where=str(path))
            text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                raise UsageError(
                    f"the config file is larger than {MAX_BYTES >> 20} MiB", where=str(path)
                )
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError("no such config file", where=str(path)) from None
        return Settings()
    except OSError as error:
        raise UsageError(
            f"the config file cannot be read: {error.strerror}", where=str(path)
        ) from None
    import tomllib

    try:
        table = tomllib.loads(text.decode())
    except RecursionError:
        raise UsageError("the config file is nested too deeply", where=str(path)) from None
    except ValueError as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise UsageError(f"the config file is not TOML: {error}", where=str(path)) from None
    if _names_a_command(table):
        _refuse_shared(path, status)
    return from_table(table, str(path))


def _names_a_command(table: Mapping[str, object]) -> bool:
    rows = table.get("providers")
    if not isinstance(rows, dict):
        return False
    return any(isinstance(row, dict) and "key_command" in row for row in rows.values())


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    """Raise PersonError for a config file with a command in it that somebody else can change."""
    hint = "a config file with key_command decides which program runs"
    if status.st_uid not in (os.geteuid(), 0):
        raise PersonError("the config file belongs to another user", where=str(path), hint=hint)
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o022:
        raise PersonError(
            "other users can write to the config file",
            where=str(path),
            hint=f"{hint}: chmod go-w {path}",
        )


_STRINGS = ("provider", "model", "base_url", "url", "encoding_format", "user", "prompt")
FIELDS = tuple(name for name in Settings._fields if name != "origins")


def from_table(table: Mapping[str, object], where: str) -> Settings:
    """Return the settings that a config file's table holds, each field checked.

    Raises UsageError for an unknown field, a wrong type, or a value outside its range.
    """
    for name, value in table.items():
        if name not in FIELDS:
            raise UsageError(
                f"the config file has an unknown field: {name}",
                where=where,
                hint=_suggestion(name),
            )
        check_value(name, value, f"the config field {name}", where)
    if "base_url" in table and "url" in table:
        raise UsageError(
            "the config fields base_url and url exclude each other",
            where=where,
            hint="base_url takes the server, url the whole address of its embeddings",
        )
    found: dict[str, Any] = {**table, "origins": dict.fromkeys(table, where)}
    return Settings(**found)


def check(settings: Settings) -> None:
    """Raise UsageError for a setting that cannot be meant, wherever it came from."""
    for name in FIELDS:
        value = getattr(settings, name)
        if value is not None:
            named, where = named_by(settings, name)
            check_value(name, value, named, where)


def named_by(settings: Settings, name: str) -> tuple[str, str]:
    """Return how a message names a setting, and the file that it stands in ("" for none)."""
    origin = settings.origins.get(name, "")
    if not origin or origin.startswith("--"):
        return f"--{name.replace('_', '-')}", ""
    return (origin, "") if origin == "TOVEC_PROVIDER" else (f"the config field {name}", origin)


def check_value(name: str, value: object, named: str, where: str = "") -> None:
    """Raise UsageError where a field cannot have this value.

    `named` and `where` are what the message calls it. The value itself is repeated only where it
    is a number: an address may hold a password.
    """
    if name in RANGES:
        if value not in RANGES[name]:
            raise UsageError(f"{named} must be {RANGES[name]}{_instead(value)}", where=where)
    elif name in _STRINGS:
        if not isinstance(value, str):
            raise UsageError(f"{named} must be a string", where=where)
        if not value:
            raise UsageError(f"{named} is empty", where=where, hint="leave it out")
        if problem := text_problem(value):
            raise UsageError(f"{named} {problem}", where=where)
        if name == "encoding_format" and value not in ENCODINGS:
            raise UsageError(f"{named} takes base64 or float, not {value!r}", where=where)
    elif not isinstance(value, Mapping):
        raise UsageError(f"{named} must be a table", where=where)
    elif name == "extra":
        for field, content in value.items():
            if problem := text_problem(str(field)) or json_problem(content):
                raise UsageError(f"{named}: {str(field)!r} {problem}", where=where)


def _instead(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return ", not a number that large"
    return f", not {value:.15g}"


def text_problem(text: str) -> str:
    """Return why a text cannot be sent as a field or a header; "" where it can."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "holds a control character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return ""


def json_problem(value: object, depth: int = 0) -> str:
    """Return why a value cannot be sent as JSON, unchanged; "" where it can."""
    if depth > MAX_JSON_DEPTH:
        return "is nested too deeply"
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, int):
        return "" if -(1 << 63) <= value < 1 << 64 else "is an integer beyond 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is not a finite number"
    if isinstance(value, Mapping):
        inside = [*map(str, value), *value.values()]
    elif isinstance(value, list):
        inside = value
    else:
        return "is a date or a time, which JSON does not have"
    return next(filter(None, (json_problem(one, depth + 1) for one in inside)), "")


def _suggestion(name: str) -> str:
    return did_you_mean(name, FIELDS, f"known fields: {', '.join(FIELDS)}")
