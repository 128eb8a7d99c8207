"""A job's directory: its log and index, whose it is, and who holds it.

    OUTPUT.tovec/     0700, owned by the user
      lock            locked for the whole run, never unlinked while it goes on
      job.json        what makes its vectors: written once, before the first request
      00000001.log    what was received (log.py)
      reserve         space given up when the disk is full
      input           standard input as it came, so that it can be read again
      *.damaged       what a repair has set aside (repair.py)
      finished.json   the job is done and its directory is being removed

Vectors and digests, never a key and, but for `input`, never a text (DESIGN section 5).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.errors import FileError, JobError, LockedError
from tovec.store.content_keys import Keys, identity_digest
from tovec.store.durable import fail, own_directory, replace_file, sync_directory
from tovec.store.filesystem import REAL, FileSystem
from tovec.store.frames import FORMAT, Frame, Head, Kind
from tovec.store.index import ASKED, REFUSED, WAITING, Index, Ordinals
from tovec.store.log import Log, segments
from tovec.store.repair import Damage, free_name
from tovec.store.repair import repair as repair_log

TOGETHER = 128  # answers of the log that are entered at once

_JOB, _FINISHED, _LOCK, _SPOOL = "job.json", "finished.json", "lock", "input"

Places = NDArray[np.int64]

Published = Sequence[Mapping[str, Any]]
"""The files that a run has made visible: path, inode, size and time of change of each."""


class Entry(NamedTuple):
    """What one answer adds: vectors for keys, or the reasons why the endpoint refuses them."""

    keys: Keys
    vectors: NDArray[np.float32] | None = None
    reasons: tuple[str, ...] = ()
    tokens: int | None = None
    about: Mapping[str, Any] = {}


class DamagedDescriptionError(JobError):
    """What job.json says cannot be read."""


class Found(NamedTuple):
    """Keys in a store: their ordinals, the positions of those to be asked for, and a mask of those
    whose vectors an earlier run stored.
    """

    ordinals: Ordinals
    wanted: NDArray[np.int64]
    inherited: NDArray[np.bool_]


class Job:
    """An open job directory, locked until `close`.

    Raises JobError where it belongs to another job or is damaged, LockedError where another run
    holds it, FileError for a disk that refuses.
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
        # A link of the user's own may lead to another disk; another user's is refused here.
        directory = own_directory(directory, fs)
        self.directory = directory
        self.identity = dict(identity)
        self.digest = identity_digest(identity)
        self.index = Index()
        self.refused: dict[int, str] = {}
        self.about: dict[str, Any] = {}  # of the first answer: the model's name
        self.notes: dict[str, Any] = {}
        self.published: list[Mapping[str, Any]] = []
        self.done: Mapping[str, Any] = {}  # what the last finished run said of itself
        self._unentered: list[tuple[Keys, Places]] = []
        # Since the last finished run:
        self.tokens = 0  # of stored answers
        self.tokens_estimated = 0  # those of them that we counted, where the endpoint did not
        self.tokens_unanswered = 0  # at most so many may have been billed without a stored answer
        self.rows = 0  # of the input that were done with the last answer, about
        self.requests = 0
        self._fs = fs
        if read_only:
            self._lock = -1
            self.damage: Damage | None = None
            self.described = self._compared()
            self.log = self._opened(read_only=True)
            return
        self._lock = _locked(directory, fs)
        try:
            self.described = self._claimed(repair=repair)
            self.damage = repair_log(directory, fs) if repair else None
            self.log = self._opened(read_only=False)
            self.log.reserve()
        except BaseException:
            fs.close(self._lock)
            raise

    @classmethod
    def look(
        cls, directory: str, identity: Mapping[str, Any] | None = None, fs: FileSystem = REAL
    ) -> Job:
        """Give what a directory holds, or nothing, as it is now: nothing is locked or changed."""
        try:
            described = read_description(directory, fs)
        except OSError as error:
            fail(error, directory)
        if identity is None:
            identity = (described or {}).get("identity", {})
        return cls(directory, identity, fs, read_only=True)

    def is_held(self) -> bool:
        """Say whether a run is at work on the job."""
        try:
            number = self._fs.open(f"{self.directory}/{_LOCK}", os.O_RDWR)
        except OSError:
            return False
        try:
            self._fs.lock(number)
        except BlockingIOError:
            return True
        finally:
            self._fs.close(number)
        return False

    def close(self) -> None:
        """Let go of the directory."""
        self.log.close()
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                self._fs.close(self._lock)

    # What is known --------------------------------------------------------------------------------

    def look_up(self, keys: Keys) -> Found:
        """Find keys in the store; those to be asked for count as asked from now on.

        Of equal keys the first is asked for.
        """
        ordinals, _ = self.index.add(keys)
        places = self.index.places(ordinals)
        wanted = np.flatnonzero(places == WAITING)
        _, firsts = np.unique(ordinals[wanted], return_index=True)
        wanted = wanted[np.sort(firsts)]
        self.index.set_places(ordinals[wanted], ASKED)
        return Found(ordinals, wanted, places < self.inherited)

    def append(self, entries: Sequence[Entry]) -> list[int]:
        """Store what answers gave; when this returns it survives a power cut. See `enter`."""
        return self.log.append([_frame(entry) for entry in entries])

    def enter(self, entries: Sequence[Entry], places: Sequence[int]) -> None:
        """Make what `append` stored known; not while another thread looks anything up."""
        for entry, place in zip(entries, places, strict=True):
            if entry.reasons:
                self._enter_refused(entry.keys, entry.reasons)
            else:
                self._enter(entry.keys, place + np.arange(len(entry.keys)))
            self._count(entry.tokens, entry.about)

    def keep(self, entries: Sequence[Entry]) -> None:
        """Store what answers gave, and make it known."""
        self.enter(entries, self.append(entries))

    def note(self, name: str, value: Any) -> None:
        """Store a fact of the job's: a learned limit, the files about to be published."""
        text = orjson.dumps({name: value})
        self.log.append([Frame(Kind.NOTE, np.empty((0, 2), np.uint64), text)])
        self._learn({name: value})

    def _learn(self, notes: Mapping[str, Any]) -> None:
        for name, value in notes.items():
            if name == "published":  # a run that died before its names appeared left others there
                self.published.extend(value)
            elif name == "done":
                self.published, self.done = list(value["published"]), value
                for past in ("run", "ended"):
                    self.notes.pop(past, None)
                self._begin_again()
            elif name == "unanswered":
                self.tokens_unanswered = int(value)
            else:
                if name == "run":
                    self.notes.pop("ended", None)  # the run before it
                self.notes[name] = value

    def vectors(
        self, ordinals: Ordinals
    ) -> tuple[NDArray[np.float32], dict[int, str], NDArray[np.int64]]:
        """Give the stored vectors: float32 (n, dimensions), zeros where there is none.

        Also why inputs (by position) were refused, and the positions of which nothing is known.
        """
        places = self.index.places(ordinals)
        stored = places < ASKED
        if stored.all():
            return self.log.vectors(places), {}, np.empty(0, np.int64)
        found = np.zeros((len(places), self.log.dimensions or 0), np.float32)
        found[stored] = self.log.vectors(places[stored])
        refused = {
            int(i): self.refused[int(ordinals[i])] for i in np.flatnonzero(places == REFUSED)
        }
        return found, refused, np.flatnonzero((places == WAITING) | (places == ASKED))

    def _opened(self, *, read_only: bool) -> Log:
        """Open the log and enter all that it holds."""
        log = Log(self.directory, self._take, self._fs, read_only=read_only)
        self._enter_waiting()
        self.inherited = len(log)
        return log

    def _take(self, head: Head, place: int) -> None:
        """Enter a frame that the log holds; answers are entered many at once, which is faster."""
        if head.kind is Kind.ANSWER:
            self._unentered.append((head.keys, place + np.arange(len(head.keys))))
            self._count(head.tokens, orjson.loads(head.text))
            if len(self._unentered) >= TOGETHER:
                self._enter_waiting()
            return
        self._enter_waiting()
        if head.kind is Kind.REFUSED:
            self._enter_refused(head.keys, tuple(orjson.loads(head.text)))
            self._count(head.tokens, {})
        elif head.kind is Kind.NOTE:
            self._learn(orjson.loads(head.text))

    def _enter_waiting(self) -> None:
        if self._unentered:
            keys, places = zip(*self._unentered, strict=True)
            self._enter(np.concatenate(keys), np.concatenate(places))
            self._unentered.clear()

    def _begin_again(self) -> None:
        """After a finished run: what it paid is its own, what was refused may be asked again."""
        self.tokens = self.tokens_estimated = self.tokens_unanswered = self.requests = 0
        self.rows = 0
        refused = np.fromiter(self.refused, np.int64, len(self.refused))
        if len(refused):
            self.index.set_places(refused, WAITING)
        self.refused.clear()

    def _enter(self, keys: Keys, places: Places) -> None:
        """Make vectors known; the first durable one of a key is the one that counts."""
        ordinals, _ = self.index.add(keys)
        new = np.flatnonzero(self.index.places(ordinals) >= ASKED)[::-1]  # what is set last stays
        self.index.set_places(ordinals[new], places[new])

    def _enter_refused(self, keys: Keys, reasons: Sequence[str]) -> None:
        ordinals, _ = self.index.add(keys)
        self.index.set_places(ordinals, REFUSED)
        self.refused.update(zip(ordinals.tolist(), reasons, strict=True))

    def _count(self, tokens: int | None, about: Mapping[str, Any]) -> None:
        self.tokens += tokens or 0
        self.tokens_estimated += (tokens or 0) if about.get("estimated") else 0
        self.rows = max(self.rows, about.get("rows", 0))
        self.requests += 1
        self.about = self.about or dict(about)

    # Whose it is ----------------------------------------------------------------------------------

    def _claimed(self, *, repair: bool) -> dict[str, Any]:
        """Write down what makes the vectors, or compare it with what is written.

        With `repair`, a description that is damaged or gone is written anew: each key holds a
        digest of what makes its vector, so that no other job's vector is ever found.
        """
        try:
            found = self._compared()
        except DamagedDescriptionError:
            if not repair:
                raise
            found = None
        try:
            if found is not None:
                sync_directory(self.directory, self._fs)  # see finish_removal
                return found
            if repair and segments(self._fs, self.directory):
                self._set_description_aside()
            else:
                self._refuse_foreign()
            found = {"format": FORMAT, "identity": self.identity, "digest": self.digest.hex()}
            text = orjson.dumps(found, option=orjson.OPT_INDENT_2)
            replace_file(f"{self.directory}/{_JOB}", text, self._fs)
        except OSError as error:
            fail(error, self.directory)
        return found

    def _set_description_aside(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            name = free_name(self._fs, self.directory, _JOB)
            self._fs.rename(f"{self.directory}/{_JOB}", f"{self.directory}/{name}")

    def _compared(self) -> dict[str, Any] | None:
        try:
            described = read_description(self.directory, self._fs)
        except OSError as error:
            fail(error, self.directory)
        if described is None:
            return None
        theirs = described.get("identity", {})
        if theirs != self.identity:
            if _lacks_address(theirs, self.identity):
                raise JobError(
                    "the job was begun by an earlier tovec, which did not store the whole address: "
                    "its vectors may be from another endpoint",
                    where=self.directory,
                    hint="finish it with that version, or use another --job-dir; "
                    "what is stored is kept",
                )
            other = _difference(theirs, self.identity)
            raise JobError(
                f"the job directory holds vectors of another job: {other}",
                where=self.directory,
                hint="use the same settings, or another --job-dir; what is stored is kept",
            )
        return described

    def _refuse_foreign(self) -> None:
        if segments(self._fs, self.directory):
            raise JobError(
                f"the job directory holds vectors, but {_JOB} is missing",
                where=self.directory,
                hint="restore it, or let tovec batch --repair write a new one",
            )
        names = [one for one in self._fs.names(self.directory) if not one.endswith(".tmp")]
        other = sorted(
            one for one in names if one not in (_LOCK, "reserve") and not one.startswith(_SPOOL)
        )
        if other:
            raise JobError(
                f"not a job directory: it contains {other[0]}",
                where=self.directory,
                hint="name a new one with --job-dir",
            )

    # Input and end --------------------------------------------------------------------------------

    @property
    def spool(self) -> str:
        """The path where standard input is kept."""
        return f"{self.directory}/{_SPOOL}"

    def kept_input(self) -> bool:
        """Say whether standard input was kept."""
        return any(name.startswith(_SPOOL) for name in self._fs.names(self.directory))

    def is_empty(self) -> bool:
        """Return whether there is nothing in the directory that a later run could use.

        A log may hold what a run noted of itself, and yet no answer.
        """
        names = self._fs.names(self.directory)
        if self.kept_input() or any(name.endswith(".damaged") for name in names):
            return False
        known = len(self.log) or self.refused or self.tokens_unanswered or self.published
        return not known and not self.done

    def abandon(self) -> None:
        """Remove a directory in which nothing was stored."""
        with contextlib.suppress(OSError):
            self.log.close()
            self._remove()

    def finish(self, *, keep: bool, finished: Mapping[str, Any]) -> None:
        """End the job after its output is visible: keep its vectors, or remove everything."""
        for name in self._fs.names(self.directory):
            if name.startswith(_SPOOL):
                self._fs.unlink(f"{self.directory}/{name}")
        if keep:
            self.note("done", dict(finished))
            return
        try:
            replace_file(f"{self.directory}/{_FINISHED}", orjson.dumps(finished), self._fs)
            self.log.close()
            self._remove()
        except OSError as error:
            fail(error, self.directory)

    def _remove(self) -> None:
        _removed(self.directory, self._fs)


def finish_removal(directory: str, fs: FileSystem = REAL) -> dict[str, Any] | None:
    """Go on where the removal of a finished job was interrupted; give what the job had done.

    Raises LockedError where another run is at it.
    """
    directory = own_directory(directory, fs)
    try:
        text = _whole(f"{directory}/{_FINISHED}", fs)
        if text is None:
            return None
        lock = _locked(directory, fs)
        sync_directory(directory, fs)  # a kill may have left it unsynced: a power cut would undo it
        try:
            _removed(directory, fs)
        finally:
            fs.close(lock)
    except OSError as error:
        fail(error, directory)
    found: object = None
    with contextlib.suppress(ValueError):
        found = orjson.loads(text)
    # One that is damaged still says, by being there, that the output was written.
    return found if isinstance(found, dict) else {}


def _removed(directory: str, fs: FileSystem) -> None:
    """Remove the directory; finished.json, which says so, goes last."""
    for name in sorted(set(fs.names(directory)) - {_FINISHED, _LOCK}):
        fs.unlink(f"{directory}/{name}")
    sync_directory(directory, fs)
    for name in (_LOCK, _FINISHED):
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(f"{directory}/{name}")
    with contextlib.suppress(OSError):  # another run has begun in it
        fs.rmdir(directory)


def _frame(entry: Entry) -> Frame:
    if entry.reasons:
        return Frame(Kind.REFUSED, entry.keys, orjson.dumps(entry.reasons), None, entry.tokens)
    return Frame(Kind.ANSWER, entry.keys, orjson.dumps(entry.about), entry.vectors, entry.tokens)


def _made(directory: str, fs: FileSystem) -> None:
    """Make the directory, or check that the one there is the user's own and closed to others."""
    try:
        fs.mkdir(directory, 0o700)
    except FileExistsError:
        found = fs.status(directory)
        if not stat.S_ISDIR(found.mode):
            raise JobError(
                "a file has the job directory's name",
                where=directory,
                hint="name another with --job-dir",
            ) from None
        if found.owner != os.geteuid() or found.mode & 0o022:
            raise FileError(
                "other users could write to the job directory",
                where=directory,
                hint="name another with --job-dir"
                + ("" if found.owner != os.geteuid() else f", or chmod 700 {directory}"),
            ) from None
    # Also for one that is there: a run killed just after it made it may not have synced it.
    with contextlib.suppress(PermissionError):  # of a parent that the user may not read
        sync_directory(os.path.dirname(directory) or ".", fs)


def _locked(directory: str, fs: FileSystem) -> int:
    """Make the directory where there is none, and take its lock; give the lock's descriptor."""
    try:
        _made(directory, fs)
        number = fs.open(f"{directory}/{_LOCK}", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        fail(error, directory)
    try:
        fs.lock(number)
        if fs.status(number).links == 0:  # the run that held it has just removed it
            fs.close(number)
            return _locked(directory, fs)
        # Words for the message of a second run; nothing is judged by them.
        words = f"process {os.getpid()} on {socket.gethostname()}".encode()
        fs.truncate(number, 0)
        fs.write(number, [words], 0)
    except BlockingIOError:
        holder = bytearray(200)
        size = fs.read(number, holder, 0)
        fs.close(number)
        raise LockedError(
            f"another run is using this job: {holder[:size].decode(errors='replace')}",
            where=directory,
            hint="wait for it to end; tovec batch --status shows what it has done",
        ) from None
    except OSError as error:
        fs.close(number)
        fail(error, directory)
    return number


def read_description(directory: str, fs: FileSystem = REAL) -> dict[str, Any] | None:
    """Give what job.json says; None where there is none.

    Raises JobError for one that a newer tovec wrote, or that is damaged.
    """
    text = _whole(f"{directory}/{_JOB}", fs)
    if text is None:
        return None
    damaged = DamagedDescriptionError(
        f"{_JOB} is damaged", where=directory, hint="tovec batch --repair writes a new one"
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
            where=directory,
            hint="finish it with that version, or use another --job-dir",
        )
    digest = found.pop("digest", None)  # what earlier versions wrote has none
    if digest is not None and digest != identity_digest(found.get("identity", {})).hex():
        raise damaged
    return dict(found)


def _whole(path: str, fs: FileSystem) -> bytes | None:
    try:
        number = fs.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        buffer = bytearray(fs.status(number).size)
        return bytes(memoryview(buffer)[: fs.read(number, buffer, 0)])
    finally:
        fs.close(number)


def _lacks_address(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Return whether an identity is an earlier version's that may be equal or not: it lacks the
    query of the address, and fields of the request.
    """
    known = {name for name in ours if name not in ("address", "fields")}
    return "address" in ours and "address" not in theirs and all(
        theirs.get(name) == ours[name] for name in known
    )  # fmt: skip


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
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
