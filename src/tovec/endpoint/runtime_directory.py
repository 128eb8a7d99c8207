"""Where processes of one user meet: a directory of theirs alone, and a name that hides its key."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from tovec.endpoint.credentials import Secret

SALT_BYTES = 32


def private_path(name: str, environ: Mapping[str, str], url: str, model: str, key: Secret) -> Path:
    """Return the path at which all who send this key to this endpoint for this model meet.

    Raises OSError where no directory is this user's alone.
    """
    directory = _directory(environ)
    salt = _salt(directory)
    if len(salt) != SALT_BYTES:
        raise PermissionError("the salt is not whole")
    text = "\0".join((url, model, key.reveal())).encode(errors="surrogatepass")
    digest = blake2b(text, key=salt, digest_size=16).hexdigest()
    return directory / f"{name}-{digest}"


def _directory(environ: Mapping[str, str]) -> Path:
    """Return a directory of this user's alone, made if need be. Raises OSError if there is none."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if Path(runtime).is_absolute() and _is_private(Path(runtime)):
        directory = Path(runtime, "tovec")
    else:
        directory = Path("/tmp", f"tovec-{os.geteuid()}")  # noqa: S108 - checked below
    with contextlib.suppress(FileExistsError):
        directory.mkdir(0o700)
    if not _is_private(directory):
        raise PermissionError("other users have access to the directory")
    return directory


def _is_private(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_ours and not found.st_mode & 0o077


def _salt(directory: Path) -> bytes:
    """Return random bytes that are made once, so that a file's name says nothing of a key."""
    path = directory / "salt"
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    fresh = directory / f"salt.{os.getpid()}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, os.urandom(SALT_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # whole or not at all
    finally:
        os.close(descriptor)
        fresh.unlink()
    return path.read_bytes()
