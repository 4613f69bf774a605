"""Spans of time as people on duty write them."""

import datetime as dt

import pytest

from watchfloor.errors import InvalidInputError
from watchfloor.timespans import moment, window

NOW = dt.datetime(2026, 11, 20, 18, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("30m", 17.5),
        ("2h", 16),
        ("now", 18),
        ("2026-11-20T03:00Z", 3),
        ("2026-11-20 05:00", 5),
        ("2026-11-20T05:00+02:00", 3),
    ],
)
def test_moment(text, hours):
    assert moment(text, NOW) == NOW.replace(hour=0) + dt.timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "0m", "1y", "yesterday", "-1h", "1 h", "99999999d"])
def test_moment_refuses_what_is_none(text):
    with pytest.raises(ValueError, match="neither a span"):
        moment(text, NOW)


def test_window_is_bounded_and_ends_now():
    day = dt.timedelta(days=1)
    assert window("1h", "2026-11-21T00:00Z", NOW, day) == (NOW - dt.timedelta(hours=1), NOW)
    with pytest.raises(InvalidInputError, match="not before"):
        window("1h", "2h", NOW, day)
    with pytest.raises(InvalidInputError, match="longer than 1 days"):
        window("2d", "now", NOW, day)
