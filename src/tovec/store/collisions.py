"""What a run writes is never what it reads, and no two outputs of it are one file.

Files are compared by device and inode, so that symbolic links and other spellings of a path are
seen. A file that does not exist yet, or has several names, is compared by its directory and name:
an output replaces a name, and the other names of a file keep their content.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from tovec.errors import UsageError

Identity = tuple[int, int, str]


def check_collisions(
    writes: Mapping[str, str | None], reads: Iterable[str], directory: str | None = None
) -> None:
    """Raise UsageError where two paths of a run are one file.

    `writes` has a path for each output by the name that users know it by (None: not written),
    `reads` are the inputs. Nothing else may be in `directory`, which is the job's own.
    """
    seen: dict[Identity, str] = {}
    reads = list(reads)
    for path in reads:
        if found := _identity(path):
            seen[found] = f"the input {path}"
    written = {name: path for name, path in writes.items() if path is not None}
    for name, path in written.items():
        if not (found := _identity(path)):
            continue
        if found in seen:
            raise UsageError(f"{name} would replace {seen[found]}", where=path)
        seen[found] = f"{name} {path}"
    if directory is not None:
        _check_inside(directory, [*reads, *written.values()])


def _check_inside(directory: str, paths: Iterable[str]) -> None:
    home = os.path.realpath(directory)
    for path in paths:
        if os.path.realpath(path).startswith(home + os.sep):
            raise UsageError(
                "the job directory is tovec's own: nothing else may be in it",
                where=path,
                hint="name another with --job-dir",
            )


def _identity(path: str) -> Identity | None:
    """Return what tells a file from any other; None for stdin, stdout and devices."""
    if path == "-":
        return None
    whole = os.path.realpath(path)
    try:
        found = os.stat(whole)
    except OSError:
        pass  # it does not exist yet
    else:
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            return None
        if found.st_nlink == 1:  # also where a file system ignores case
            return found.st_dev, found.st_ino, ""
    try:
        parent = os.stat(os.path.dirname(whole))
    except OSError:
        return None  # writing there will say what is wrong
    return parent.st_dev, parent.st_ino, os.path.basename(whole)
