"""What job.json says: what makes a job's vectors, and whether that is what a run asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import orjson

from tovec.errors import JobError
from tovec.store.content_keys import identity_digest
from tovec.store.durable import fail
from tovec.store.filesystem import REAL, FileSystem
from tovec.store.frames import FORMAT

DESCRIPTION = "job.json"


class DamagedDescriptionError(JobError):
    """job.json cannot be read."""


def read_description(path: str, fs: FileSystem = REAL) -> dict[str, Any] | None:
    """Return what job.json says; None where there is none.

    Raises JobError for one that a newer tovec wrote, or that is damaged.
    """
    text = read_small_file(f"{path}/{DESCRIPTION}", fs)
    if text is None:
        return None
    damaged = DamagedDescriptionError(
        f"{DESCRIPTION} is damaged", where=path, hint="tovec batch --repair writes a new one"
    )
    try:
        found = orjson.loads(text)
        version = found["format"]
    except (ValueError, KeyError, TypeError):
        raise damaged from None
    if version != FORMAT:
        raise JobError(
            f"the job was begun by another version of tovec (format {version}, this one has "
            f"{FORMAT})",
            where=path,
            hint="finish it with that version, or use another --job-dir",
        )
    digest = found.pop("digest", None)  # what earlier versions wrote has none
    if digest is not None and digest != identity_digest(found.get("identity", {})).hex():
        raise damaged
    return dict(found)


def read_small_file(path: str, fs: FileSystem) -> bytes | None:
    """Return a file's bytes; None where there is none. Raises FileError."""
    try:
        number = fs.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        fail(error, os.path.dirname(path))
    try:
        buffer = bytearray(fs.status(number).size)
        return bytes(memoryview(buffer)[: fs.read(number, buffer, 0)])
    except OSError as error:
        fail(error, os.path.dirname(path))
    finally:
        fs.close(number)


def check_identity(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str) -> None:
    """Raise JobError where the vectors in a job's directory are not made as a run asks for."""
    if theirs == ours:
        return
    if _lacks_address(theirs, ours):
        raise JobError(
            "the job was begun by an earlier tovec, which did not store the whole address: "
            "its vectors may be from another endpoint",
            where=path,
            hint="finish it with that version, or use another --job-dir; what is stored is kept",
        )
    raise JobError(
        f"the job directory holds vectors of another job: {_difference(theirs, ours)}",
        where=path,
        hint="use the same settings, or another --job-dir; what is stored is kept",
    )


def _lacks_address(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Return whether an identity is an earlier version's that may be equal or not.

    Such an identity lacks the query of the address, and fields of the request.
    """
    if "address" not in ours or "address" in theirs:
        return False
    return all(theirs.get(name) == ours[name] for name in ours if name not in ("address", "fields"))


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return the first difference between two identities, in words."""
    for name in dict.fromkeys([*ours, *theirs]):
        before, now = theirs.get(name), ours.get(name)
        if before == now:
            continue
        if name == "address":
            return f"the query or another part of the address {ours.get('endpoint')} is different"
        if name == "fields" and isinstance(before, Mapping) and isinstance(now, Mapping):
            return _difference(before, now)
        was, then = ("not set" if one is None else repr(one) for one in (before, now))
        return f"its {name} is {was}, now it is {then}"
    return "its settings differ"
