"""Progress as it is shown: one line that fits, a line a minute, and when which."""

import io
import sys

import pytest

from tovec.cli import progress
from tovec.cli.reporting import Reporter
from tovec.events import Note, Progress

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
    assert said[0].startswith("tovec: asking 20,000 of about 40,000 rows, 1,234,567 tokens")


def test_a_message_takes_the_bar_away_before_it_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    watch = progress.Watch(Reporter(), progress.Bar(clock=lambda: 99.0))
    watch(HALF)
    watch(Note("the disk is slow"))
    drawn, _, said = sys.stderr.getvalue().rpartition("\r\x1b[2K")
    assert "asking" in drawn
    assert said == "tovec: warning: the disk is slow\n"


def test_a_terminal_has_a_bar_and_anything_else_lines(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress.display("auto", Reporter()), progress.Lines)
    assert progress.display("auto", Reporter(-1)) is None
    assert isinstance(progress.display("bar", Reporter()), progress.Bar)
    monkeypatch.setattr(progress, "is_terminal", lambda _stream: True)
    assert isinstance(progress.display("auto", Reporter()), progress.Bar)
    assert isinstance(progress.display("auto", Reporter(json=True)), progress.Lines)
