"""Rates a minute: the user's own limit, and a mirror of the endpoint's from its headers.

Both return how long a request must wait, and count what is sent. Neither knows of the other, of
concurrency or of retries: `admission.py` combines them. Source: the reliability notes, (a3).
"""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.5  # a minute, and a little: not all requests take equally long to arrive
PACE_SECONDS = 1.1  # a second, for the same reason
MAX_RESET_SECONDS = 60.0  # to wait for a window that is used up; a longer reset is not believed
SETTLE_SECONDS = 1.0  # until later answers have confirmed what the first ones said
OTHERS_SECONDS = 2.0  # over which it is measured what other programs take


class OwnRate:
    """The user's limit: never more in any minute, whatever the endpoint would allow."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.is_paced = False  # no more than a second's worth in any second
        self._entries: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Return the seconds until so much may be sent."""
        if self.limit is None:
            return 0.0
        while self._entries and self._entries[0][0] <= now - WINDOW_SECONDS:
            self._sum -= self._entries.popleft()[1]
        over = self._sum + min(amount, self.limit) - self.limit
        if over <= 1e-6:
            return self._pace(now, amount) if self.is_paced else 0.0
        for at, spent in self._entries:
            over -= spent
            if over <= 1e-6:
                return at + WINDOW_SECONDS - now
        return WINDOW_SECONDS

    def _pace(self, now: float, amount: float) -> float:
        """Return the seconds until so much fits into one second (endpoints that count so: #95)."""
        assert self.limit is not None
        room = max(self.limit / 60, amount) - amount
        for at, spent in reversed(self._entries):
            if at <= now - PACE_SECONDS:
                break
            room -= spent
            if room < -1e-6:
                return at + PACE_SECONDS - now
        return 0.0

    def take(self, now: float, amount: float) -> None:
        """Count what is sent; a negative amount corrects what was counted before."""
        if self.limit is not None:
            self._entries.append((now, amount))
            self._sum += amount


class EndpointRate:
    """The endpoint's limit, as its headers let us compute what it has counted.

    If `reset` is the time until a steadily refilled bucket is full (OpenAI's), we treat the limit
    as such a bucket; else as a window that ends then. Requests under way, which no answer shows
    yet, are known here. What other programs take shows in how much faster than expected the
    remainder shrinks.
    """

    def __init__(self) -> None:
        self.limit: float | None = None
        self.is_paced = False  # no more than a second's worth at once
        self.under_way = 0.0
        self.ended = 0.0  # answered or lost, in total
        self._level = 0.0  # what is left
        self._level_at = 0.0
        self._window_ends: float | None = None  # None: a bucket
        self._others = 0.0  # a second, in the long run
        self._others_lately = 0.0  # a second, on top of that
        self._drift = 0.0  # what the remainder shrank more than expected ...
        self._drift_since = 0.0
        self._heard_at = 0.0
        self._known_since = 0.0

    def export(self) -> list[float]:
        """Return the state as numbers; NaN stands for None."""
        return [float("nan") if value is None else float(value) for value in self.__dict__.values()]

    def restore(self, state: list[float]) -> None:
        """Take over a state that `export` has returned."""
        values = [None if value != value else value for value in state]
        self.__dict__.update(zip(self.__dict__, values, strict=True))
        self.is_paced = bool(self.is_paced)

    def _update(self, now: float) -> None:
        """Bring the level to the present."""
        if self.limit is None:
            return
        if now - self._heard_at > OTHERS_SECONDS:  # a waiter must not wait forever on an old guess
            since = max(self._level_at, self._heard_at + OTHERS_SECONDS)
            fading = 0.5 ** ((now - since) / OTHERS_SECONDS)
            self._others *= fading
            self._drift *= fading
            self._others_lately *= fading
        if self._window_ends is None:
            self._level += (self.limit / 60 - self._others / 2) * (now - self._level_at)
        elif now >= self._window_ends:
            self._level = self.limit - self.under_way
            self._window_ends = now + WINDOW_SECONDS
        self._level = min(self._level, self.limit)
        self._level_at = now

    def wait(self, now: float, amount: float) -> float:
        """Return about how many seconds it takes until so much may be sent; 0: it may be now."""
        if self.limit is None:
            return 0.0
        self._update(now)
        amount = min(amount, self.limit)
        reserve = self._reserve(amount)
        if self.is_paced:
            self._level = min(self._level, max(amount, self.limit / 60) + reserve)
        if self._level >= amount + reserve - 1e-6:
            # After a pause send one request and read its headers: others have not paused.
            is_stale = reserve and self.under_way and now - self._heard_at > SETTLE_SECONDS
            return OTHERS_SECONDS if is_stale else 0.0
        if self._window_ends is not None:
            return self._window_ends - now
        return (amount + reserve - self._level) / (self.limit / 60 - self._others / 2)

    def _reserve(self, amount: float) -> float:
        """Return what to leave in a bucket for others, whose requests may arrive before ours.

        What stays there is not lost: the bucket refills at the same rate.
        """
        assert self.limit is not None
        rate = self.limit / 60
        measured = self._drift / max(OTHERS_SECONDS / 4, self._level_at - self._drift_since)
        lately = max(self._others_lately, measured)
        if self._window_ends is not None:
            return 0.0
        if self._level_at - self._known_since < SETTLE_SECONDS:
            return self.limit / 2  # what the first answers say is older than what others sent
        # Late answers look like a little traffic of others, too.
        if lately < 2 * rate and self._others < 0.4 * rate:
            return 0.0
        wanted = max(amount, rate, lately / 2, 2 * self.under_way)
        return min(wanted, self.limit / 4, self.limit - amount)

    def take(self, amount: float) -> None:
        """Count what is sent."""
        self.under_way += amount
        self._level -= amount

    def end(self, amount: float) -> None:
        """Count what was sent before as answered or lost."""
        self.under_way -= amount
        self.ended += amount

    def learn(
        self,
        now: float,
        limit: int | None,
        left: int | None,
        reset: float | None,
        charged: float,
        ended: float,
    ) -> None:
        """Learn from the headers of an answer.

        Its request was `charged` when `ended` had ended. Answers overtake each other: only what
        had ended when a request was sent is surely in the remainder that its answer names.
        """
        if limit is None or limit <= 0:
            return
        if self.limit is None:
            self.limit, self._level_at, self._drift_since = float(limit), now, now
            self._known_since = now
            self._level = limit - self.under_way
        self._update(now)
        self.limit, self._heard_at = float(limit), now
        if left is None:
            return
        left = min(left, limit)
        if reset is not None:
            full = (limit - left) * 60 / limit
            ends = now + min(reset, MAX_RESET_SECONDS) + 0.05
            # A window that is used up at once looks like a bucket, but its end does not move.
            is_fixed = self._window_ends is not None and abs(ends - self._window_ends) < 1.5
            is_bucket = not is_fixed and abs(reset - full) <= 0.2 * full + 1.0
            self._window_ends = None if is_bucket else ends
        unsure = self.under_way + self.ended - ended - charged
        lowest, highest = left - unsure, float(left)
        level = min(max(self._level, lowest), highest)
        self._drift += self._level - level
        self._level = level
        if now - self._drift_since >= OTHERS_SECONDS:
            self._others_lately = self._drift / (now - self._drift_since)
            self._others += 0.5 * self._others_lately
            self._others = min(max(self._others, 0.0), 0.9 * self.limit / 60)
            self._drift, self._drift_since = 0.0, now

    def refused(self, now: float, amount: float, hint: float) -> None:
        """Learn from a 429: there is room for `amount` only once `hint` seconds have passed."""
        if self.limit is not None and self._window_ends is None:
            self._update(now)
            room = amount - hint * self.limit / 60
            self._drift += max(0.0, self._level + amount - room) if hint else 0.0
            self._level = min(self._level, room)
