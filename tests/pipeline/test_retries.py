"""What a run says at its end of what was sent again."""

from __future__ import annotations

from tovec.events import Answered, Event, Note, Retried, Split
from tovec.pipeline.retries import Retries


def notes(*events: Event) -> list[Note]:
    said: list[Event] = []
    retries = Retries(said.append)
    for event in events:
        retries(event)
    assert said == list(events)  # all are passed on
    retries.report()
    return [one for one in said[len(events) :] if isinstance(one, Note)]


def test_nothing_sent_again_is_nothing_to_say() -> None:
    assert notes(Answered(1, 1, 0.1, None), Split(2, "too large")) == []


def test_causes_are_counted_the_most_frequent_first() -> None:
    events = [Retried("500", "", 1.0, 1, False)] * 2 + [Retried("429", "", 1.0, 1, False)] * 3
    assert notes(*events) == [Note("retried: 3 x 429, 2 x 500", "info")]


def test_what_may_have_been_billed_twice_is_a_warning_with_requests_and_tokens() -> None:
    events = (
        Retried("reset", "", 1.0, 1, True, 1_000),
        Retried("connect", "", 1.0, 1, False, 50),
        Split(8, "500", True, 234),
    )
    assert notes(*events)[-1] == Note(
        "2 requests, about 1,234 tokens, may have been billed twice", "warning"
    )
    assert notes(events[0])[-1].text.startswith("1 request, about 1,000 tokens,")
