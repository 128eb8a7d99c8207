"""What headers say of rates and waits, read strictly (faults 79 to 87)."""

from __future__ import annotations

import pytest

from tovec.endpoint import rate_headers

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"  # NOW


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("7.66s", 7.66),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400),
        ("12us", 12e-6),
        ("0", 0),
        ("2.5", 2.5),
        (str(int(NOW) + 30), 30),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("", None),
        (None, None),
        ("6m0", None),
        ("-1s", None),
        ("1s garbage", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        ("٣", None),
        ("1e3", None),
    ],
)
def test_a_duration_is_read_whole_or_not_at_all(text: str | None, seconds: float | None) -> None:
    """#85"""
    assert rate_headers.duration(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after-ms": "350", "retry-after": "9"}, 0.35),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT", "date": DATE}, 60),
        # A server whose clock is an hour ahead still means the minute between its two dates.
        (
            {
                "retry-after": "Tue, 14 Nov 2023 23:14:20 GMT",
                "date": "Tue, 14 Nov 2023 23:13:20 GMT",
            },
            60,
        ),
        ({"retry-after": "Tue, 14 Nov 2000 00:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "5, 7"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_milliseconds_win(
    given: dict[str, str], seconds: float | None
) -> None:
    """#80 #81 #82"""
    assert rate_headers.retry_after(given, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 20s.", 20),
        ("Please try again in 6m0s. Visit ...", 360),
        ("Please retry after 86400 seconds.", 86400),
        ("try again in 7h", 25200),
        ("Please try again in 120ms.", 0.12),
        ("try again in a while", None),
        ("too fast", None),
    ],
)
def test_a_wait_that_stands_only_in_the_words_is_found(message: str, seconds: float | None) -> None:
    """#90"""
    assert rate_headers.wait_in(message) == pytest.approx(seconds)


def test_rates_that_lie_or_are_missing_are_as_if_not_said() -> None:
    """#87"""
    said = {
        "x-ratelimit-limit-requests": "0",
        "x-ratelimit-remaining-requests": "-5",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "nan",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    found = rate_headers.rates(said, NOW)
    assert found == rate_headers.Rates(limit_tokens=1000, reset_tokens=360.0)
