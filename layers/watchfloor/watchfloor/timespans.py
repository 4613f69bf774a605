"""Spans of time as people on duty write them: `30m`, `2h`, `3d`, or a moment."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from watchfloor.errors import InvalidInputError

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPAN = re.compile(r"([1-9]\d{0,4})([smhd])")


def _checked(text: str) -> str:
    moment(text, dt.datetime.now(dt.UTC))
    return text


When = Annotated[str, Field(min_length=2, max_length=40), AfterValidator(_checked)]


def moment(text: str, now: dt.datetime) -> dt.datetime:
    """`2h` is two hours before now; otherwise an ISO 8601 time, of UTC where it names no zone.

    Raises
    ------
    ValueError
        It is neither.
    """
    if found := _SPAN.fullmatch(text):
        return now - dt.timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    if text == "now":
        return now
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is neither a span such as 30m, 2h, 3d nor a time such as 2026-11-20T18:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def window(since: str, until: str, now: dt.datetime, most: dt.timedelta) -> tuple[dt.datetime, dt.datetime]:
    """Begin and end; InvalidInputError where it is empty, or longer than it may be."""
    begin, end = moment(since, now), min(moment(until, now), now)
    if begin >= end:
        raise InvalidInputError(f"since: {since} is not before until: {until}")
    if end - begin > most:
        raise InvalidInputError(f"since: the span from {since} to {until} is longer than {most.days or 1} days")
    return begin, end
