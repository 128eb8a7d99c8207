"""Admission for all tovec processes of one user that use the same endpoint, model and key.

What one of them learns of the endpoint's limits, all know; what one sends, all count. A request
that must wait takes a turn: later ones, of whichever process, leave it its share. Until the first
answer shows the limits, all processes together send no more than one would. A process that dies
gives back its share. The user's own limits (--rpm, --tpm) are each process's own.

The state is a list of numbers in a `SharedFile`; clocks that count from the machine's start, as
`time.monotonic` does, are the same in all processes.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tovec.endpoint import shared_file
from tovec.endpoint.address import Endpoint
from tovec.endpoint.admission import (
    MAX_WAIT_SECONDS,
    RECHECK_SECONDS,
    Admission,
    LearnedLimits,
    ProcessAdmission,
    Ticket,
)
from tovec.endpoint.concurrency import START_CONCURRENCY
from tovec.endpoint.credentials import Secret
from tovec.endpoint.rate_headers import Rates
from tovec.endpoint.runtime_directory import private_path
from tovec.endpoint.shared_file import SharedFile

VERSION = 1  # of the layout below; it is part of the file's name
POLL_SECONDS = 0.02  # while the first answers are awaited
SWEEP_SECONDS = 0.5  # from one look for dead processes to the next
LATE_SECONDS = 2.0  # after which one that does not ask again, such as a stopped process, is passed
MARK = 1979.0316  # a file that does not begin with it was not written by us

# The numbers: a mark; whether there was an answer; the last turn given; the member, from 1, that
# wrote last, and need not read what it wrote; what was learned; and for each member its requests
# and tokens under way, its turn (0: it does not wait), the tokens of the request that waits, and
# until when the turn counts without being asked for again.
_MARK, _HAS_ANSWER, _LAST_TURN, _LAST_WRITER, _LIMITS = 0, 1, 2, 3, 4
_MEMBERS = _LIMITS + len(LearnedLimits().export())
_REQUESTS, _TOKENS, _TURN, _WANTED, _EXPIRES, _FIELDS = 0, 1, 2, 3, 4, 5


class SharedAdmission:
    """Admission for this process as a member of a group; alone where the file cannot be used."""

    def __init__(
        self,
        path: Path,
        rpm: float | None = None,
        tpm: float | None = None,
        max_pause: float = float("inf"),
    ) -> None:
        self._path = path
        self._max_pause = max_pause
        self._process = ProcessAdmission(rpm, tpm)
        self._file: SharedFile | None = None
        self._member = 0
        self._has_joined = False
        self._numbers = _fresh_numbers()
        self._swept_at = float("-inf")
        self._ended: dict[int, Ticket] = {}  # of requests that were answered, by identity

    @property
    def max_tokens(self) -> float | None:
        """The most tokens that any minute has room for, as last heard; None: not known."""
        return self._process.max_tokens

    def request(self, now: float, tokens: int) -> Ticket | float:
        """Return a ticket, or about how many seconds the request must wait for its turn."""
        self._join()
        process = self._process
        with self._locked():
            charged = process.charge(tokens)
            wait = process.own_wait(now, charged)
            if wait > 0:
                self._set(_TURN, 0)  # others need not wait for our own limit
                return wait
            wait = self._group_wait(now, charged)
            if wait > 0 and self._sweep(now):
                wait = self._group_wait(now, charged)
            if wait > 0:
                self._keep_turn(charged, now + RECHECK_SECONDS + LATE_SECONDS)
                return wait
            self._set(_TURN, 0)
            self._add_under_way(1, charged)
            return process.take(now, charged)

    def withdraw(self) -> None:
        """Give up the turn of the request that waits, if one does."""
        if self._get(_TURN):
            with self._locked():
                self._set(_TURN, 0)

    def end(self, ticket: Ticket) -> None:
        """Count a request as ended."""
        if self._ended.pop(id(ticket), None) is not None:
            return
        with self._locked():
            self._end(ticket)

    def answered(
        self, now: float, ticket: Ticket, rates: Rates, estimate: int, actual: int | None
    ) -> None:
        """Learn from an answer, and count its request as ended: the file is locked only once."""
        with self._locked():
            self._numbers[_HAS_ANSWER] = 1
            self._process.answered(now, ticket, rates, estimate, actual)
            self._end(ticket)
        self._ended[id(ticket)] = ticket

    def throttled(self, now: float, ticket: Ticket, rates: Rates, hint: float | None) -> int:
        """Learn from a 429; return how many bursts of them came in a row."""
        with self._locked():
            return self._process.throttled(now, ticket, rates, hint)

    def pause_until(self, then: float) -> None:
        """Admit nothing before `then`, in any process."""
        with self._locked():
            self._process.pause_until(then)

    def pause(self, now: float) -> float:
        """Return the seconds for which nothing is admitted, as last heard.

        A pause that is longer than we may obey, to which another process has agreed, does not
        count: we ask the endpoint, and it will tell us so.
        """
        pause = self._process.pause(now)
        return pause if pause <= self._max_pause else 0.0

    def close(self) -> None:
        """Leave the group; what is still under way counts as ended."""
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(OSError):
            self._numbers = _with_member(file.lock(), self._member)
            try:
                self._process.limits.restore(self._learned())
                self._remove(self._member)
                self._store_learned()
            finally:
                file.unlock(self._numbers)
            shared_file.leave(file, self._member)

    # Waiting in turn --------------------------------------------------------------------------

    def _group_wait(self, now: float, charged: float) -> float:
        """Return about how long it takes until there is room for it and for those before it."""
        turns = self._numbers[_MEMBERS + _TURN :: _FIELDS]
        ahead = array("d")
        if any(turns):
            mine = self._get(_TURN) or float("inf")
            wanted = self._numbers[_MEMBERS + _WANTED :: _FIELDS]
            expires = self._numbers[_MEMBERS + _EXPIRES :: _FIELDS]
            ahead.extend(
                tokens
                for turn, tokens, until in zip(turns, wanted, expires, strict=True)
                if 0 < turn < mine and now < until
            )
        limits = self._process.limits
        wait = limits.wait(now, charged + sum(ahead), 1 + len(ahead))
        wait = max(wait, self.pause(now))
        if self._numbers[_HAS_ANSWER]:
            return wait
        has_room = limits.requests.under_way + len(ahead) < START_CONCURRENCY
        return wait if has_room else max(wait, POLL_SECONDS)

    def _keep_turn(self, charged: float, until: float) -> None:
        if not self._get(_TURN):
            self._numbers[_LAST_TURN] += 1
            self._set(_TURN, self._numbers[_LAST_TURN])
        self._set(_WANTED, charged)
        self._set(_EXPIRES, until)

    def _sweep(self, now: float) -> bool:
        """Count what dead processes have left as ended; return whether there was any."""
        if self._file is None or now - self._swept_at < SWEEP_SECONDS:
            return False
        self._swept_at = now
        dead = [
            member
            for member in self._all_members()
            if any(self._fields(member)) and not self._file.is_alive(member)
        ]
        for member in dead:
            self._remove(member)
        return bool(dead)

    # The numbers ------------------------------------------------------------------------------

    def _join(self) -> None:
        """Become a member, once; alone where the file cannot be used."""
        if self._has_joined:
            return
        self._has_joined = True
        with contextlib.suppress(OSError):
            self._file, self._member, numbers = shared_file.join(self._path)
            self._numbers = _with_member(numbers, self._member)
            self._process.limits.restore(self._learned())
            self._remove(self._member)  # of a dead process that was this member before
            self._store_learned()
            self._file.unlock(self._numbers)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the numbers as they are now for all, and let all see what becomes of them."""
        file = self._file
        if file is not None:
            try:
                self._numbers = _with_member(file.lock(), self._member)
            except OSError:
                file = None
                self._go_on_alone()
            else:
                if self._numbers[_LAST_WRITER] != self._member + 1:
                    self._process.limits.restore(self._learned())
        try:
            yield
        finally:
            if file is not None:
                self._store_learned()
                try:
                    file.unlock(self._numbers)
                except OSError:
                    self._go_on_alone()

    def _go_on_alone(self) -> None:
        """Keep what is known, and count only what this process sends."""
        self._file = None
        for member in self._all_members():
            if member != self._member:
                self._remove(member)

    def _all_members(self) -> range:
        return range((len(self._numbers) - _MEMBERS) // _FIELDS)

    def _learned(self) -> list[float]:
        return list(self._numbers[_LIMITS:_MEMBERS])

    def _store_learned(self) -> None:
        self._numbers[_LIMITS:_MEMBERS] = array("d", self._process.limits.export())
        self._numbers[_LAST_WRITER] = self._member + 1

    def _end(self, ticket: Ticket) -> None:
        self._add_under_way(-1, -ticket.tokens)
        self._process.end(ticket)

    def _add_under_way(self, requests: float, tokens: float) -> None:
        start = _MEMBERS + _FIELDS * self._member
        self._numbers[start + _REQUESTS] += requests
        self._numbers[start + _TOKENS] += tokens

    def _remove(self, member: int) -> None:
        """Count what a member has under way as ended, and clear its numbers."""
        start = _MEMBERS + _FIELDS * member
        requests, tokens = self._numbers[start + _REQUESTS], self._numbers[start + _TOKENS]
        self._process.limits.end(requests, tokens)
        self._numbers[start : start + _FIELDS] = array("d", bytes(8 * _FIELDS))

    def _fields(self, member: int) -> array[float]:
        start = _MEMBERS + _FIELDS * member
        return self._numbers[start : start + _FIELDS]

    def _get(self, field: int) -> float:
        return self._numbers[_MEMBERS + _FIELDS * self._member + field]

    def _set(self, field: int, value: float) -> None:
        self._numbers[_MEMBERS + _FIELDS * self._member + field] = value


def make_admission(
    endpoint: Endpoint,
    key: Secret,
    environ: Mapping[str, str],
    rpm: float | None = None,
    tpm: float | None = None,
    max_pause: float = MAX_WAIT_SECONDS,
) -> Admission:
    """Return the admission that all who send this key share; where no file can be, our own.

    `max_pause` is the longest wait that this process obeys.
    """
    try:
        path = private_path(f"limits-{VERSION}", environ, endpoint.url, endpoint.model, key)
    except OSError:
        return ProcessAdmission(rpm, tpm)
    return SharedAdmission(path, rpm, tpm, max_pause)


def _fresh_numbers() -> array[float]:
    numbers = array("d", bytes(8 * (_MEMBERS + _FIELDS)))
    numbers[_MARK] = MARK
    numbers[_LIMITS:_MEMBERS] = array("d", LearnedLimits().export())
    return numbers


def _with_member(numbers: array[float], member: int) -> array[float]:
    """Return numbers that were read, with room for a member; fresh ones if they make no sense."""
    is_whole = len(numbers) >= _MEMBERS and (len(numbers) - _MEMBERS) % _FIELDS == 0
    if not is_whole or numbers[_MARK] != MARK:
        numbers = _fresh_numbers()
    missing = _MEMBERS + _FIELDS * (member + 1) - len(numbers)
    if missing > 0:
        numbers.frombytes(bytes(8 * missing))
    return numbers
