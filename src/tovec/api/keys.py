"""API keys: where they come from, and that they go nowhere but into the request.

A key comes from the provider's environment variable, from a command (its stdout is the key), or
from a file that nobody else may read. Never from the command line: other users can read it there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from tovec.api.providers import Provider
from tovec.errors import PersonError

COMMAND_SECONDS = 10
FILE_BYTES = 64 << 10
SHORTEST = 4  # characters: a shorter "key" is no secret, and blotting it would spoil every text


class Secret:
    """A key that shows itself to nobody who does not ask by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the key itself, for the request's header."""
        return self._value

    def blot(self, text: str) -> str:
        """Give the text with the key taken out, also where it stands escaped or in base64."""
        import json
        from base64 import b64encode
        from urllib.parse import quote

        plain = self._value
        if len(plain) < SHORTEST:
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
        raise TypeError("a Secret is not written down")


def find_key(provider: Provider, environ: Mapping[str, str]) -> Secret | None:
    """Give the provider's key, or None where it takes none.

    Raises PersonError, never with the key in it, when there is none or it cannot be one.
    """
    if provider.key_env and provider.key_env in environ:
        return _checked(environ[provider.key_env], f"the environment variable {provider.key_env}")
    if provider.key_command:
        return _checked(_from_command(provider), "the output of key_command")
    if provider.key_file:
        return _checked(_from_file(Path(provider.key_file)), provider.key_file)
    if not provider.key_required:
        return None
    missing = f"{provider.key_env} is not set" if provider.key_env else "none is configured"
    first = f"export {provider.key_env}=..., " if provider.key_env else ""
    raise PersonError(
        f"{provider.name} needs an API key, and {missing}",
        hint=f"{first}set key_command in the config, or work offline with -p local",
    )


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """Give the text with every one of the keys taken out."""
    for secret in secrets:
        text = secret.blot(text)
    return text


def _checked(text: str, origin: str) -> Secret:
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise PersonError(f"the API key in {origin} is empty")
    if found := re.search(r"[^\x21-\x7e]", value):
        raise PersonError(
            f"the API key in {origin} has at place {found.start() + 1} a character no key has",
            hint="look for quotes, spaces or a line break that came along when it was copied",
        )
    return Secret(value)


def _from_command(provider: Provider) -> str:
    import subprocess

    command = list(provider.key_command or ())
    # The command must not learn a key that may stand in another variable.
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("_API_KEY") and name != provider.key_env
    }
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
                    "the key file can be read by others",
                    where=str(path),
                    hint=f"chmod 600 {path}",
                )
            if about.st_uid not in (os.geteuid(), 0):
                raise PersonError("the key file belongs to somebody else", where=str(path))
            if about.st_size > FILE_BYTES:
                raise PersonError("the key file is too large to hold a key", where=str(path))
            return file.read(FILE_BYTES).decode(errors="replace")
    except OSError as error:
        raise PersonError(
            f"the key file cannot be read: {error.strerror}", where=str(path)
        ) from None
