"""The one tree of errors, each leaf with the exit code that a scheduler acts on.

    TovecError
    ├── UsageError        2   the command line or the config says something impossible
    ├── LaterError        4   endpoint or network failed after all retries: run again
    ├── PersonError       5   key, permission, billing, quota, TLS trust, wrong endpoint or model
    ├── InputError        6   the input cannot be read as what it is said to be
    ├── FileError         7   local disk or file
    ├── JobError          8   the job directory belongs to another job or is damaged
    └── LockedError       9   another run holds the job

An error is worded for a user where its cause is known: what happened, where, what to do next.
`cli.app` turns it into at most three lines and the exit code, in one place.
"""

from __future__ import annotations


class TovecError(Exception):
    """Something a user can act on.

    `what` happened, `where` (file, line, field, URL; may be empty) and `hint`, the next step
    (may be empty). None of the three may hold a key or a whole input text.
    """

    exit_code = 70

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint


class UsageError(TovecError):
    """The command line or the config file asks for something impossible."""

    exit_code = 2


class LaterError(TovecError):
    """The endpoint or the network failed after all retries; running again can help."""

    exit_code = 4


class PersonError(TovecError):
    """Running again cannot help before a person has acted: key, billing, model, TLS trust."""

    exit_code = 5


class InputError(TovecError):
    """The input cannot be read as what it is said to be."""

    exit_code = 6


class FileError(TovecError):
    """A local disk or file refused: no space, no permission, an I/O error."""

    exit_code = 7


class JobError(TovecError):
    """The job directory belongs to another job, comes from a newer version, or is damaged."""

    exit_code = 8


class LockedError(TovecError):
    """Another run holds the job or the output."""

    exit_code = 9


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end.

    A KeyboardInterrupt, because an event loop lets nothing else out of every place where a
    signal may arrive: raised in a callback, any other exception would be logged and forgotten.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
