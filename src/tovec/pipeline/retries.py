"""What was sent again, and why: counted while a run goes on, said at its end.

No endpoint for embeddings knows an idempotency key, so a request whose answer was lost may have
been worked on and billed; sending it again may cost twice, which a user should be told.
Source: the reliability notes, sections 0.1 and (c).
"""

from __future__ import annotations

from collections import Counter

from tovec.events import Event, Note, Observer, Retried, Split
from tovec.wording import count_phrase


class Retries:
    """An observer that passes every event on, and counts what was tried again by its cause."""

    def __init__(self, observer: Observer) -> None:
        self._observe = observer
        self.causes: Counter[str] = Counter()
        self.maybe_paid = 0  # requests sent again that may have been billed before
        self.tokens = 0  # about how many those held

    def __call__(self, event: Event) -> None:
        """Count an event and pass it on."""
        if isinstance(event, Retried | Split):
            self.causes[event.cause] += isinstance(event, Retried)
            self.maybe_paid += event.maybe_paid
            self.tokens += event.tokens if event.maybe_paid else 0
        self._observe(event)

    def report(self) -> None:
        """Say what was tried again; a warning where money is concerned."""
        if causes := +self.causes:
            said = ", ".join(f"{count:,} x {cause}" for cause, count in causes.most_common())
            self._observe(Note(f"retried: {said}", "info"))
        if self.maybe_paid:
            requests = count_phrase(self.maybe_paid, "request")
            tokens = count_phrase(self.tokens, "token")
            self._observe(Note(f"{requests}, about {tokens}, may have been billed twice"))
