"""What a job may spend: tokens and money are set aside before a request goes out.

A request is counted beforehand with the most tokens that it can have (exactly, where the model's
tokenizer is known; else its bytes), and corrected by what the endpoint's usage says.
"""

from __future__ import annotations

from collections.abc import Callable

from tovec.errors import PersonError
from tovec.jobs.packing import utf8_bytes
from tovec.records import Inputs, Request

CountBatch = Callable[[list[str]], list[int]]


class Budget:
    """At most `tokens`, of which `spent` are gone; `because` words what set the limit."""

    def __init__(
        self, tokens: int, spent: int, because: str, count: CountBatch | None = None
    ) -> None:
        self.tokens, self.spent = tokens, spent
        self._because, self._count = because, count
        self._reserved = 0

    def most(self, request: Request) -> int:
        """Give the most tokens that the endpoint can count for a request."""
        return sum(token_counts(request.inputs, self._count))

    def reserve(self, tokens: int) -> bool:
        """Set tokens aside, if there are so many left."""
        if self.spent + self._reserved + tokens > self.tokens:
            return False
        self._reserved += tokens
        return True

    def settle(self, reserved: int, counted: int | None) -> None:
        """Replace what was set aside by what was counted."""
        self._reserved -= reserved
        self.spent += reserved if counted is None else counted

    def spent_error(self) -> PersonError:
        """Give the error that ends a run before it would exceed its limit."""
        return PersonError(
            f"{self._because} is reached: {self.spent:,} tokens are spent, the next request "
            "would exceed it",
            hint="what was received is stored; raise the limit and run the same command again",
        )


def token_counts(inputs: Inputs, count: CountBatch | None) -> list[int]:
    """Give each input's tokens: exactly with `count`, else its bytes, which are never fewer."""
    if inputs and not isinstance(inputs[0], str):
        return [len(one) for one in inputs]
    texts: list[str] = inputs  # type: ignore[assignment]
    return utf8_bytes(texts) if count is None else count(texts)
