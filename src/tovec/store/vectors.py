"""What vectors a job holds, by content key: its log, and the index of what the log holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tovec.store.content_keys import Keys
from tovec.store.filesystem import REAL, FileSystem
from tovec.store.frames import Head, Kind
from tovec.store.index import ASKED, REFUSED, WAITING, Index, Ordinals
from tovec.store.log import Log

MAX_WAITING_ANSWERS = 128  # answers of the log that are entered together, which is faster

Places = NDArray[np.int64]


class Found(NamedTuple):
    """Keys in a store: their ordinals, the positions of those to be asked for, and a mask of those
    whose vectors an earlier run stored.
    """

    ordinals: Ordinals
    wanted: NDArray[np.int64]
    inherited: NDArray[np.bool_]


class StoredVectors:
    """Vectors, and reasons of refused inputs, by key. `open_log` comes first.

    Not thread-safe, except that `log.append` may run beside lookups.
    """

    log: Log

    def __init__(self) -> None:
        self.index = Index()
        self.refused: dict[int, str] = {}
        self.inherited = 0  # vectors that were there when the log was opened
        self._waiting: list[tuple[Keys, Places]] = []

    def open_log(
        self,
        directory: str,
        on_head: Callable[[Head], None],
        fs: FileSystem = REAL,
        *,
        read_only: bool = False,
    ) -> None:
        """Open the log and enter all that it holds; `on_head` is called after each frame."""

        def enter_frame(head: Head, place: int) -> None:
            self._enter_frame(head, place)
            on_head(head)

        self.log = Log(directory, enter_frame, fs, read_only=read_only)
        self._enter_waiting()
        self.inherited = len(self.log)

    def look_up(self, keys: Keys) -> Found:
        """Find keys; those to be asked for count as asked from now on.

        Of equal keys the first is asked for.
        """
        ordinals, _ = self.index.add(keys)
        places = self.index.places(ordinals)
        wanted = np.flatnonzero(places == WAITING)
        _, firsts = np.unique(ordinals[wanted], return_index=True)
        wanted = wanted[np.sort(firsts)]
        self.index.set_places(ordinals[wanted], ASKED)
        return Found(ordinals, wanted, places < self.inherited)

    def read(
        self, ordinals: Ordinals
    ) -> tuple[NDArray[np.float32], dict[int, str], NDArray[np.int64]]:
        """Return the stored vectors: float32 (n, dimensions), zeros where there is none.

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

    def enter(self, keys: Keys, places: Places) -> None:
        """Add stored vectors to the index; the first durable vector of a key is its vector."""
        ordinals, _ = self.index.add(keys)
        new = np.flatnonzero(self.index.places(ordinals) >= ASKED)[::-1]  # what is set last stays
        self.index.set_places(ordinals[new], places[new])

    def enter_refused(self, keys: Keys, reasons: Sequence[str]) -> None:
        """Add inputs that the endpoint refused, and why."""
        ordinals, _ = self.index.add(keys)
        self.index.set_places(ordinals, REFUSED)
        self.refused.update(zip(ordinals.tolist(), reasons, strict=True))

    def forget_refused(self) -> None:
        """Let refused inputs be asked for again."""
        refused = np.fromiter(self.refused, np.int64, len(self.refused))
        if len(refused):
            self.index.set_places(refused, WAITING)
        self.refused.clear()

    def _enter_frame(self, head: Head, place: int) -> None:
        """Enter a frame of the log; answers wait until there are many, or another kind comes."""
        if head.kind is Kind.ANSWER:
            self._waiting.append((head.keys, place + np.arange(len(head.keys))))
            if len(self._waiting) >= MAX_WAITING_ANSWERS:
                self._enter_waiting()
            return
        self._enter_waiting()
        if head.kind is Kind.REFUSED:
            self.enter_refused(head.keys, tuple(orjson.loads(head.text)))

    def _enter_waiting(self) -> None:
        if self._waiting:
            keys, places = zip(*self._waiting, strict=True)
            self.enter(np.concatenate(keys), np.concatenate(places))
            self._waiting.clear()
