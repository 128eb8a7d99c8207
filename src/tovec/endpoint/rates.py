"""Rates a minute: the user's own limit, and a mirror of the endpoint's from its headers.

Both say how long a request must wait and are told what leaves. Neither knows of the other, of
concurrency or of retries: that is the governor's. Source: the reliability notes, (a3).
"""

from __future__ import annotations

from collections import deque

MINUTE = 60.5  # seconds: requests do not all take equally long to arrive
SECOND = 1.1  # for the same reason
MAX_RESET = 60.0  # seconds to wait on a window that is used up; a longer reset is not believed
FIRST = 1.0  # seconds after which what the first answers said has been borne out
NEWS = 2.0  # seconds over which it is learned what other programs take


class OwnRate:
    """The user's limit: never more in any minute, whatever the endpoint would allow."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.paced = False  # no more than a second's worth in any second
        self._spent: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Give the seconds until so much may leave."""
        if self.limit is None:
            return 0.0
        while self._spent and self._spent[0][0] <= now - MINUTE:
            self._sum -= self._spent.popleft()[1]
        over = self._sum + min(amount, self.limit) - self.limit
        if over <= 1e-6:
            return self._pace(now, amount) if self.paced else 0.0
        for at, spent in self._spent:
            over -= spent
            if over <= 1e-6:
                return at + MINUTE - now
        return MINUTE

    def _pace(self, now: float, amount: float) -> float:
        """Give the seconds until so much fits into one second (endpoints that count so: #95)."""
        assert self.limit is not None
        room = max(self.limit / 60, amount) - amount
        for at, spent in reversed(self._spent):
            if at <= now - SECOND:
                break
            room -= spent
            if room < -1e-6:
                return at + SECOND - now
        return 0.0

    def take(self, now: float, amount: float) -> None:
        """Count what leaves; a negative amount corrects what was counted before."""
        if self.limit is not None:
            self._spent.append((now, amount))
            self._sum += amount


class EndpointRate:
    """The endpoint's limit, as its headers let one reckon what it has counted.

    A bucket that refills steadily (OpenAI's) says as `reset` the time until it is full; anything
    else is taken for a window that ends then. What answers under way do not show yet is known
    here; what other programs take is learned from how much faster than expected it shrinks.
    """

    def __init__(self) -> None:
        self.limit: float | None = None
        self.paced = False  # no more than a second's worth at once
        self._level = 0.0
        self._at = 0.0
        self._open = 0.0
        self.ended = 0.0
        self._ends: float | None = None
        self._foreign = 0.0  # a second, in the long run
        self._rush = 0.0  # the same, more than that, of late
        self._drift = 0.0
        self._drift_since = 0.0
        self._heard = self._known = 0.0

    def _settle(self, now: float) -> None:
        if self.limit is None:
            return
        if now - self._heard > NEWS:  # whoever waits must not wait for ever on an old guess
            fading = 0.5 ** ((now - max(self._at, self._heard + NEWS)) / NEWS)
            self._foreign *= fading
            self._drift *= fading
            self._rush *= fading
        if self._ends is None:
            self._level += (self.limit / 60 - self._foreign / 2) * (now - self._at)
        elif now >= self._ends:
            self._level, self._ends = self.limit - self._open, now + MINUTE
        self._level = min(self._level, self.limit)
        self._at = now

    def wait(self, now: float, amount: float) -> float:
        """Give the seconds after which so much may leave, or the question is to be asked again."""
        if self.limit is None:
            return 0.0
        self._settle(now)
        amount = min(amount, self.limit)
        spare = self._spare(amount)
        if self.paced:
            self._level = min(self._level, max(amount, self.limit / 60) + spare)
        if self._level >= amount + spare - 1e-6:
            # After a pause one request asks for all: others have not paused.
            return NEWS if spare and self._open and now - self._heard > FIRST else 0.0
        if self._ends is not None:
            return self._ends - now
        wait = (amount + spare - self._level) / (self.limit / 60 - self._foreign / 2)
        return min(wait, FIRST)  # and then ask again

    def _spare(self, amount: float) -> float:
        """Give what must be left in a bucket for others, who may be faster than our request.

        What is left there is not lost: it still refills at the same rate.
        """
        assert self.limit is not None
        rate = self.limit / 60
        rush = max(self._rush, self._drift / max(NEWS / 4, self._at - self._drift_since))
        if self._ends is not None:
            return 0.0
        if self._at - self._known < FIRST:
            return self.limit / 2  # what the first answers say is older than what others sent
        # Answers that come late look like a little of that, too.
        if rush < 2 * rate and self._foreign < 0.4 * rate:
            return 0.0
        most = max(amount, rate, rush / 2, 2 * self._open)
        return min(most, self.limit / 4, self.limit - amount)

    def take(self, amount: float) -> None:
        """Count what leaves."""
        self._open += amount
        self._level -= amount

    def end(self, amount: float) -> None:
        """Count what left before as answered, or as lost."""
        self._open -= amount
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
        """Take over what an answer says, to a request that was `charged` after `ended` had ended.

        Answers overtake each other: only what had ended when its request left is surely in it.
        """
        if limit is None or limit <= 0:
            return
        if self.limit is None:
            self.limit, self._at, self._drift_since = float(limit), now, now
            self._known = now
            self._level = limit - self._open
        self._settle(now)
        self.limit, self._heard = float(limit), now
        if left is None:
            return
        left = min(left, limit)
        if reset is not None:
            full = (limit - left) * 60 / limit
            ends = now + min(reset, MAX_RESET) + 0.05
            # A window that is used up at once looks like a bucket, but its end does not move.
            fixed = self._ends is not None and abs(ends - self._ends) < 1.5
            steady = not fixed and abs(reset - full) <= 0.2 * full + 1.0
            self._ends = None if steady else ends
        unsure = self._open + self.ended - ended - charged
        least, most = left - unsure, float(left)
        believed = min(max(self._level, least), most)
        self._drift += self._level - believed
        self._level = believed
        if now - self._drift_since >= NEWS:
            self._rush = self._drift / (now - self._drift_since)
            self._foreign += 0.5 * self._rush
            self._foreign = min(max(self._foreign, 0.0), 0.9 * self.limit / 60)
            self._drift, self._drift_since = 0.0, now

    def refused(self, now: float, amount: float, hint: float) -> None:
        """Take a 429: there is room for `amount` only once `hint` seconds have passed."""
        if self.limit is not None and self._ends is None:
            self._settle(now)
            room = amount - hint * self.limit / 60
            self._drift += max(0.0, self._level + amount - room) if hint else 0.0
            self._level = min(self._level, room)
