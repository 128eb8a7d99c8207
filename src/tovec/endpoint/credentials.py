"""API keys: where they come from, and that they go nowhere but into the request.

A key comes from the provider's environment variable, from a command (its stdout is the key), or
from a file that nobody else may read. Never from the command line: other users can read it there.

It is bound to the origin (scheme, host and port) of the provider's own address, as the table or
[providers.NAME] in the config file gives it: a provider's key never goes to an address that came
from --base-url, --url or the top level of the config file, unless that has the same origin. Such an
address takes TOVEC_API_KEY.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from tovec.endpoint.address import origin, shown
from tovec.endpoint.providers import Provider, key_variables
from tovec.errors import PersonError

COMMAND_SECONDS = 10
MAX_FILE_BYTES = 64 << 10
ADDRESS_KEY = "TOVEC_API_KEY"  # the key for an address that is not a provider's own
MIN_SECRET_CHARACTERS = 4  # redacting a shorter one would spoil every text


class Secret:
    """A key that shows itself to nobody who does not ask by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the key itself, for the request's header."""
        return self._value

    def blot(self, text: str) -> str:
        """Return the text with the key taken out, also where it stands escaped or in base64."""
        import json
        from base64 import b64encode
        from urllib.parse import quote

        plain = self._value
        if len(plain) < MIN_SECRET_CHARACTERS:
            return text
        forms = {plain, quote(plain, safe=""), plain.encode().hex(), repr(plain)[1:-1]}
        forms |= {b64encode(plain.encode()).decode(), json.dumps(plain)[1:-1]}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text

    def __repr__(self) -> str:
        return "***"

    def __str__(self) -> str:
        return "***"

    def __format__(self, _spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


class KeySource(NamedTuple):
    """Where the key for an address comes from; `kind` is what `name` is the name of."""

    kind: str  # "variable", "command", "file", "nothing"
    name: str = ""
    advice: str = ""  # what to do where the endpoint does not accept the key


def is_own_address(provider: Provider, url: str) -> bool:
    """Return whether the provider's key may go to this address."""
    place = origin(url)
    if provider.base_url is not None:
        try:
            if origin(provider.base_url) == place:
                return True
        except ValueError:  # not well formed, and so nobody's
            return False
    elif provider.name == "custom":  # the provider of whatever address the user gives
        return True
    return (place.scheme, place.port) == ("https", 443) and any(
        place.host == host or (host.startswith(".") and place.host.endswith(host))
        for host in provider.key_hosts
    )


def key_source(provider: Provider, url: str, environ: Mapping[str, str]) -> KeySource:
    """Return where the key for this provider at this address comes from."""
    own = is_own_address(provider, url)
    if not own:
        return _variable(ADDRESS_KEY, environ)
    if provider.key_env and (provider.key_env in environ or not _has_other_source(provider)):
        return _variable(provider.key_env, environ)
    if provider.key_command:
        advice = f"check the key that key_command in [providers.{provider.name}] prints"
        return KeySource("command", provider.key_command[0], advice)
    if provider.key_file:
        return KeySource("file", provider.key_file, f"check the key in {provider.key_file}")
    return KeySource("nothing", "", f"no key was sent: name one in [providers.{provider.name}]")


def _has_other_source(provider: Provider) -> bool:
    return bool(provider.key_command or provider.key_file)


def _variable(name: str, environ: Mapping[str, str]) -> KeySource:
    if name in environ:
        return KeySource("variable", name, f"check the key in {name}")
    return KeySource("nothing", name, f"no key was sent: export {name}=...")


def find_key(
    provider: Provider, url: str, environ: Mapping[str, str], table: Mapping[str, Provider]
) -> Secret | None:
    """Return the key for this provider at this address, or None where it takes none.

    A command that gives it sees no key of any provider in `table`.
    Raises PersonError, never with the key in it, when there is none or it cannot be one.
    """
    source = key_source(provider, url, environ)
    match source.kind:
        case "variable":
            return _checked(environ[source.name], f"the environment variable {source.name}")
        case "command":
            return _checked(_from_command(provider, table), "the output of key_command")
        case "file":
            return _checked(_from_file(Path(source.name)), source.name)
    if not provider.key_required:
        return None
    raise missing_key(provider, url)


def missing_key(provider: Provider, url: str) -> PersonError:
    """Return the error for an address that needs a key and has none."""
    if is_own_address(provider, url):
        missing = f"{provider.key_env} is not set" if provider.key_env else "none is configured"
        first = f"export {provider.key_env}=..., " if provider.key_env else ""
        return PersonError(
            f"{provider.name} needs an API key, and {missing}",
            hint=f"{first}set key_command in the config, or work offline with -p local",
        )
    name = provider.key_env or ("key_command" if provider.key_command else "key_file")
    return PersonError(
        f"the key of {provider.name} ({name}) is for {_home(provider)} only, and {ADDRESS_KEY} is "
        "not set",
        where=shown(url),
        hint=f"export {ADDRESS_KEY}=... for this address; -p custom if it takes no key; "
        f"base_url in [providers.{provider.name}] if it is {provider.name}'s",
    )


def _home(provider: Provider) -> str:
    """Return where a provider's key may go, in words."""
    hosts = [f"https://*{host}" if host[0] == "." else f"https://{host}"
             for host in provider.key_hosts]  # fmt: skip
    if provider.base_url is not None:
        with contextlib.suppress(ValueError):  # of one that is not well formed nothing is said
            hosts.insert(0, str(origin(provider.base_url)))
    return " or ".join(hosts) or "its own address (it has none)"


def _checked(text: str, origin: str) -> Secret:
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise PersonError(f"the API key in {origin} is empty")
    if found := re.search(r"[^\x21-\x7e]", value):
        raise PersonError(
            f"the API key in {origin} has an invalid character at position {found.start() + 1}",
            hint="look for quotes, spaces or a line break copied along with it",
        )
    return Secret(value)


def child_environment(table: Mapping[str, Provider]) -> dict[str, str]:
    """Return the environment for a child process, without any variable that may hold a key.

    These are the variables of the providers in `table`, and of all that tovec knows.
    """
    hidden = {ADDRESS_KEY, *key_variables(table)}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in hidden and not name.endswith("_API_KEY")
    }


def _from_command(provider: Provider, table: Mapping[str, Provider]) -> str:
    import subprocess

    command = list(provider.key_command or ())
    environ = child_environment(table)
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PersonError(
            f"key_command did not end within {COMMAND_SECONDS} s", where=command[0]
        ) from None
    except OSError as error:
        raise PersonError(
            f"key_command cannot be started: {error.strerror}", where=command[0]
        ) from None
    if done.returncode:
        said = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", done.stderr.decode(errors="replace"))
        said = said.strip()[-300:]
        raise PersonError(
            f"key_command failed with exit status {done.returncode}: {said}", where=command[0]
        )
    return done.stdout.decode(errors="replace")


def _from_file(path: Path) -> str:
    path = path.expanduser()
    try:
        # Not to block: a pipe in the file's place must be an error, not a wait.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            os.close(number)
            raise PersonError("the key file is not a regular file", where=str(path))
        with os.fdopen(number, "rb") as file:
            if about.st_mode & 0o077:
                raise PersonError(
                    "other users can read the key file",
                    where=str(path),
                    hint=f"chmod 600 {path}",
                )
            if about.st_uid not in (os.geteuid(), 0):
                raise PersonError("the key file belongs to another user", where=str(path))
            if about.st_size > MAX_FILE_BYTES:
                raise PersonError("the key file is too large to hold a key", where=str(path))
            return file.read(MAX_FILE_BYTES).decode(errors="replace")
    except OSError as error:
        raise PersonError(
            f"the key file cannot be read: {error.strerror}", where=str(path)
        ) from None
