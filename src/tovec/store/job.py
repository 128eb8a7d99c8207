"""A job put together: its directory, its vectors, and what its log says of its runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.store.content_keys import Keys
from tovec.store.description import read_description
from tovec.store.directory import JobDirectory
from tovec.store.filesystem import REAL, FileSystem
from tovec.store.frames import Frame, Head, Kind
from tovec.store.index import Index, Ordinals
from tovec.store.log import Log
from tovec.store.removal import FinishedJob, remove_contents, remove_directory
from tovec.store.repair import Damage
from tovec.store.repair import repair as repair_log
from tovec.store.vectors import Found, StoredVectors


class Entry(NamedTuple):
    """What one answer adds: vectors for keys, or the reasons why the endpoint refuses them."""

    keys: Keys
    vectors: NDArray[np.float32] | None = None
    reasons: tuple[str, ...] = ()
    tokens: int | None = None
    about: Mapping[str, Any] = {}


class Job:
    """An open job, locked until `close`.

    Raises JobError where the directory belongs to another job or is damaged, LockedError where
    another run holds it, FileError for a disk that refuses.
    """

    def __init__(
        self,
        directory: str,
        identity: Mapping[str, Any],
        fs: FileSystem = REAL,
        *,
        read_only: bool = False,
        repair: bool = False,
    ) -> None:
        self.about: dict[str, Any] = {}  # of the first answer: the model's name
        self.notes: dict[str, Any] = {}
        self.published: list[Mapping[str, Any]] = []
        self.done: Mapping[str, Any] = {}  # what the last finished run said of itself
        # Since the last finished run:
        self.tokens = 0  # of stored answers
        self.tokens_estimated = 0  # those of them that we counted, where the endpoint did not
        self.tokens_unanswered = 0  # at most so many may have been billed without a stored answer
        self.rows = 0  # of the input that were done with the last answer, about
        self.requests = 0
        self.damage: Damage | None = None
        self._fs = fs
        self._vectors = StoredVectors()
        self.directory = JobDirectory(directory, identity, fs, read_only=read_only, repair=repair)
        try:
            if repair:
                self.damage = repair_log(self.directory.path, fs)
            path = self.directory.path
            self._vectors.open_log(path, self._count_frame, fs, read_only=read_only)
            if not read_only:
                self.log.reserve()
        except BaseException:
            self.directory.release()
            raise

    @classmethod
    def look(
        cls, directory: str, identity: Mapping[str, Any] | None = None, fs: FileSystem = REAL
    ) -> Job:
        """Open what a directory holds, if anything, as it is now; nothing is locked or changed."""
        if identity is None:
            identity = (read_description(directory, fs) or {}).get("identity", {})
        return cls(directory, identity, fs, read_only=True)

    def close(self) -> None:
        """Close the log and release the directory."""
        self.log.close()
        self.directory.release()

    # What is known --------------------------------------------------------------------------------

    @property
    def log(self) -> Log:
        """The log of answers."""
        return self._vectors.log

    @property
    def index(self) -> Index:
        """The index of the keys that the log holds, and of those that were looked up."""
        return self._vectors.index

    @property
    def digest(self) -> bytes:
        """The digest of the job's identity, which its content keys are made with."""
        return self.directory.digest

    @property
    def refused(self) -> Mapping[int, str]:
        """Why inputs were refused, by ordinal."""
        return self._vectors.refused

    def look_up(self, keys: Keys) -> Found:
        """Find keys in the store; those to be asked for count as asked from now on."""
        return self._vectors.look_up(keys)

    def vectors(
        self, ordinals: Ordinals
    ) -> tuple[NDArray[np.float32], dict[int, str], NDArray[np.int64]]:
        """Return vectors, why inputs were refused, and of which nothing is known; see `read`."""
        return self._vectors.read(ordinals)

    # What is added --------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """Store what answers gave; when this returns it survives a power cut. See `enter`."""
        return self.log.append([_frame(entry) for entry in entries])

    def enter(self, entries: Sequence[Entry], places: Sequence[int]) -> None:
        """Add to the index what `append` stored. Not thread-safe with lookups."""
        for entry, place in zip(entries, places, strict=True):
            if entry.reasons:
                self._vectors.enter_refused(entry.keys, entry.reasons)
            else:
                self._vectors.enter(entry.keys, place + np.arange(len(entry.keys)))
            self._count(entry.tokens, entry.about)

    def keep(self, entries: Sequence[Entry]) -> None:
        """Store what answers gave, and add it to the index."""
        self.enter(entries, self.append(entries))

    def note(self, name: str, value: Any) -> None:
        """Store a fact of the job's: a learned limit, the files about to be published."""
        text = orjson.dumps({name: value})
        self.log.append([Frame(Kind.NOTE, np.empty((0, 2), np.uint64), text)])
        self._apply_note(name, value)

    def _apply_note(self, name: str, value: Any) -> None:
        match name:
            case "published":  # a run that died before its names appeared left others there
                self.published.extend(value)
            case "done":
                self.published, self.done = list(value["published"]), value
                for past in ("run", "ended"):
                    self.notes.pop(past, None)
                self._begin_again()
            case "unanswered":
                self.tokens_unanswered = int(value)
            case _:
                if name == "run":
                    self.notes.pop("ended", None)  # the run before it
                self.notes[name] = value

    def _begin_again(self) -> None:
        """Count anew after a finished run: what was refused may be asked for again."""
        self.tokens = self.tokens_estimated = self.tokens_unanswered = self.requests = 0
        self.rows = 0
        self._vectors.forget_refused()

    def _count_frame(self, head: Head) -> None:
        """Count what a frame of the log says of itself."""
        match head.kind:
            case Kind.ANSWER:
                self._count(head.tokens, orjson.loads(head.text))
            case Kind.REFUSED:
                self._count(head.tokens, {})
            case Kind.NOTE:
                for name, value in orjson.loads(head.text).items():
                    self._apply_note(name, value)

    def _count(self, tokens: int | None, about: Mapping[str, Any]) -> None:
        self.tokens += tokens or 0
        self.tokens_estimated += (tokens or 0) if about.get("estimated") else 0
        self.rows = max(self.rows, about.get("rows", 0))
        self.requests += 1
        self.about = self.about or dict(about)

    # Its end --------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Return whether there is nothing in the directory that a later run could use.

        A log may hold what a run noted of itself, and yet no answer.
        """
        if self.directory.has_kept_input() or self.directory.has_damage_set_aside():
            return False
        if self.log.has_failed:  # what of its last group is whole is there for the next run
            return False
        known = len(self.log) or self.refused or self.tokens_unanswered or self.published
        return not known and not self.done

    def abandon(self) -> None:
        """Remove a directory in which nothing was stored."""
        with contextlib.suppress(OSError):
            self.log.close()
            remove_contents(self.directory.path, self._fs)
            remove_directory(self.directory.path, self._fs)

    def finish(self, *, keep: bool, record: Mapping[str, Any]) -> FinishedJob | None:
        """End the job after its output is visible; `record` says what was done.

        Returns None if its vectors are kept; else the directory, still whole and locked, which the
        caller removes when everything is said (see removal.py).
        """
        if keep:
            self.directory.remove_kept_input()
            self.note("done", dict(record))
            return None
        return FinishedJob(self.directory.path, self.directory.take_lock(), record, self._fs)


def _frame(entry: Entry) -> Frame:
    if entry.reasons:
        return Frame(Kind.REFUSED, entry.keys, orjson.dumps(entry.reasons), None, entry.tokens)
    return Frame(Kind.ANSWER, entry.keys, orjson.dumps(entry.about), entry.vectors, entry.tokens)
