"""Progress as it is shown: one line that fits, a line a minute, and when which."""

import io
import re
import sys
import threading

import pytest

from tovec.cli import progress
from tovec.cli.reporting import Reporter
from tovec.cli.waiting import Waiting
from tovec.events import Answered, Held, Note, Progress, Retried, Sent

HALF = Progress("asking", 20_000, 40_000, 1_234_567, 0.0247, 3)


@pytest.mark.parametrize("width", range(1, 140, 7))
def test_the_line_fits_its_width_and_says_the_rows_first(width):
    text = progress.line(HALF, 1500.0, width)
    assert len(text) <= width
    assert text.lstrip("[#-] ").startswith("asking 20,000 of about 40,000 rows"[: width // 2])


def test_what_matters_least_is_left_out_first():
    assert progress.line(HALF, 1500.0, 120) == (
        "[##########---------] asking 20,000 of about 40,000 rows, 1,234,567 tokens, $0.0247, "
        "3 retries, 1,500 rows/s, 0:13 left"
    )
    assert progress.line(HALF, 1500.0, 60) == (
        "asking 20,000 of about 40,000 rows, $0.0247, 0:13 left"
    )
    assert progress.line(HALF, 1500.0, 34) == "asking 20,000 of about 40,000 rows"


def test_without_a_total_there_is_no_bar_and_no_time_left():
    assert progress.line(HALF._replace(total=None, cost=None, retries=1), 0.0, 120) == (
        "asking 20,000 rows, 1,234,567 tokens, 1 retry, 0 rows/s"
    )


def test_lines_come_a_minute_apart(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    now = 0.0
    lines = progress.Lines(Reporter(), clock=lambda: now)
    for now in range(0, 181, 10):  # noqa: B007 - the clock reads it
        lines.show(HALF)
    said = sys.stderr.getvalue().splitlines()
    assert len(said) == 3
    assert "Z tovec: asking 20,000 of about 40,000 rows, 1,234,567 tokens" in said[0]


def test_a_message_takes_the_bar_away_before_it_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    watch = progress.Watch(Reporter(), progress.Bar(clock=lambda: 99.0))
    watch(HALF)
    watch(Note("the disk is slow"))
    drawn, _, said = sys.stderr.getvalue().rpartition("\r\x1b[2K")
    assert "asking" in drawn
    assert said.endswith("Z tovec: warning: the disk is slow\n")


def test_a_terminal_has_a_bar_and_anything_else_lines(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress.display("auto", Reporter()), progress.Lines)
    assert progress.display("auto", Reporter(-1)) is None
    assert isinstance(progress.display("bar", Reporter()), progress.Bar)
    monkeypatch.setattr(progress, "is_terminal", lambda _stream: True)
    assert isinstance(progress.display("auto", Reporter()), progress.Bar)
    assert isinstance(progress.display("auto", Reporter(json=True)), progress.Lines)


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


LOST = Retried("connect", "connection refused", 20.0, 1, False)


def test_a_wait_is_described_with_cause_tries_and_next_try():
    """#206: whoever watches must know whether to wait, and for what."""
    time = Time()
    waiting = Waiting(time)
    assert waiting.describe() == ""
    waiting.event(Sent(8, 100, 1))
    time.now = 4.0
    assert waiting.describe() == ""
    time.now = 6.0
    assert waiting.describe() == "no answer for 6 s"
    for _ in range(12):
        waiting.event(LOST)
        waiting.event(Sent(8, 100, 2))
    waiting.event(LOST)
    assert waiting.describe() == "connection refused, 13 tries, next in 20 s"
    time.now = 30.0
    assert waiting.describe() == "connection refused, 13 tries, trying now"
    waiting.event(Sent(8, 100, 3))
    waiting.event(Answered(8, 100, 1.0, None))
    assert waiting.describe() == ""
    waiting.event(Held(40.0))
    time.now = 37.0
    assert waiting.describe() == "held back by the rate limit, next in 33 s"


def test_idle_input_is_not_a_wait():
    """Under `tail -f` nothing is due, and nothing is said."""
    time = Time()
    waiting = Waiting(time)
    waiting.event(Sent(8, 100, 1))
    waiting.event(Answered(8, 100, 1.0, None))
    time.now = 1000.0
    assert waiting.describe() == ""


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize("stalled", [[], [LOST]])
def test_a_stalled_run_says_so_by_the_clock(monkeypatch, json, stalled):
    """#206: no event comes while an endpoint is silent; the clock has to speak."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    time = Time()
    reporter = Reporter(json=json)
    lines = progress.Lines(reporter, time)
    watch = progress.Watch(reporter, lines, Waiting(time))
    watch._ticker = threading.current_thread()  # the test ticks
    watch(HALF)
    for event in [Sent(8, 100, 1), *stalled]:
        watch(event)
    for time.now in range(1, 200):
        watch.tick()
    said = sys.stderr.getvalue().splitlines()
    assert len(said) == 3
    for line in said:
        assert "asking 20,000 of about 40,000 rows" in line
        assert ("connection refused, 1 try" if stalled else "no answer for") in line
        assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line)


def test_a_command_that_streams_speaks_after_five_seconds(monkeypatch):
    """#206: `embed` has no progress of its own, and a pipe sees nothing."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    time = Time()
    reporter = Reporter()
    lines = progress.Lines(reporter, time, first=5.0, only_waits=True)
    watch = progress.Watch(reporter, lines, Waiting(time))
    watch._ticker = threading.current_thread()
    watch(HALF)
    watch(Sent(8, 100, 1))
    for time.now in range(1, 66):
        watch.tick()
    assert [line.partition("; ")[2] for line in sys.stderr.getvalue().splitlines()] == [
        "no answer for 5 s",
        "no answer for 65 s",
    ]


def test_a_signal_that_ends_a_wait_says_what_it_was(monkeypatch):
    """Who stops a stuck run wants to know why it was stuck."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    time = Time()
    with pytest.raises(KeyboardInterrupt), progress.Watch(Reporter(), None, Waiting(time)) as watch:
        watch(Sent(8, 100, 1))
        watch(LOST)
        time.now = 10.0
        raise KeyboardInterrupt
    assert "stopped while waiting: connection refused, 1 try, next in 10 s" in sys.stderr.getvalue()


def test_the_bar_is_drawn_while_nothing_comes(monkeypatch):
    """#206"""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    time = Time()
    time.now = 1.0
    bar = progress.Bar(time)
    bar.show(HALF)
    bar.tick("no answer for 6 s")
    bar.tick("")
    drawn = sys.stderr.getvalue().split("\r\x1b[2K")
    assert "no answer for 6 s" in drawn[2]
    assert "no answer" not in drawn[3]
