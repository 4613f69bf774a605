"""Lines of CloudWatch Logs: those around an error, and those of the same request."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.errors import NotFoundError
from watchfloor.stack_frames import cut

# A page without lines does not mean that there are no more.
_MAX_PAGES = 8
# The first page mostly has all that is looked for; a burst of one millisecond takes more.
_PAGE, _LARGE_PAGE = 200, 5_000
_MAX_LINE_CHARACTERS = 20_000

# {"time": epoch seconds, "text": ...}, and "stream" where it is another one.
Line = dict[str, Any]


class LogGroups:
    """`logs` is a boto3 CloudWatch Logs client."""

    def __init__(self, logs: Any) -> None:
        self._logs = logs

    def around(
        self, log_group: str, log_stream: str, time: float, message: str, *, before: int, after: int, own: int = 1
    ) -> tuple[list[Line], int]:
        """Lines around an error by their place in the stream, and the number of the error's first one among them.

        Parameters
        ----------
        time, message
            Of the error's first event; events carry no ids there, so it is found by both.
        before, after
            How many lines are wanted.
        own
            Lines that the error itself has.

        Returns
        -------
        tuple
            No line is the error's where it is not in the stream (any more): its place is -1 then, and the lines are
            those before its time.
        """
        where = {"logGroupName": log_group, "logStreamName": log_stream}
        at = round(time * 1_000)
        earlier: list[Line] = []
        if before:
            rows = self._pages(where | {"endTime": at, "startFromHead": False}, "nextBackwardToken", before)
            earlier = [row for row in rows if round(row["time"] * 1_000) < at][-before:]
        # Of one millisecond there may be many lines, of which some come first.
        rows = self._pages(where | {"startTime": at, "startFromHead": True}, "nextForwardToken", own + after, message)
        place = next((number for number, row in enumerate(rows) if _is_same(row, time, message)), None)
        if place is None:
            return earlier, -1
        lines = earlier + rows[: place + own + after]
        start = max(0, len(earlier) + place - before)
        return lines[start:], len(earlier) + place - start

    def of_request(self, log_group: str, request_id: str, time: float, *, seconds: float, limit: int) -> list[Line]:
        """Lines of the log group that name a request, around a time."""
        rows: list[Line] = []
        token: dict[str, str] = {}
        for _ in range(_MAX_PAGES):
            with _known_group(log_group), passing_errors():
                page = self._logs.filter_log_events(
                    logGroupName=log_group,
                    # A quote in it would end the term.
                    filterPattern='"' + request_id.replace('"', "") + '"',
                    startTime=round((time - seconds) * 1_000),
                    endTime=round((time + seconds) * 1_000),
                    limit=limit,
                    **token,
                )
            rows += [{**_line(event), "stream": event.get("logStreamName", "")} for event in page["events"]]
            if len(rows) >= limit or "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        return rows[:limit]

    def _pages(self, request: dict[str, Any], direction: str, wanted: int, message: str | None = None) -> list[Line]:
        """At least so many lines, if there are, in the order of the stream; from the error's own line on, if given."""
        rows: list[Line] = []
        token = ""
        for _ in range(_MAX_PAGES):
            with _known_group(request["logGroupName"]), passing_errors():
                size = {"limit": _LARGE_PAGE, "nextToken": token} if token else {"limit": _PAGE}
                page = self._logs.get_log_events(**request, **size)
            found = [_line(event) for event in page["events"]]
            rows = rows + found if direction == "nextForwardToken" else found + rows
            usable = len(rows)
            if message is not None:
                start = request["startTime"] / 1_000
                place = next((number for number, row in enumerate(rows) if _is_same(row, start, message)), usable)
                usable -= place
            # The end is where the token stays the same.
            if usable >= wanted or page.get(direction, token) == token:
                break
            token = page[direction]
        return rows


def filtered_events(
    logs: Any,
    log_group: str,
    begin: dt.datetime,
    end: dt.datetime,
    pattern: str,
    most: int,
    has_time: Callable[[], bool],
) -> tuple[list[dict[str, Any]], bool]:
    """Events that a pattern lets through (all, if it is empty), while there is time; and whether these are all."""
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=log_group,
        startTime=int(begin.timestamp() * 1000),
        endTime=int(end.timestamp() * 1000),
        **({"filterPattern": pattern} if pattern else {}),
    )
    events: list[dict[str, Any]] = []
    for page in pages:
        events += page["events"]
        if len(events) >= most or not has_time():
            return events[:most], "nextToken" not in page and len(events) <= most
    return events, True


@contextmanager
def _known_group(log_group: str) -> Iterator[None]:
    """A log group or stream that is not there is NotFoundError."""
    try:
        yield
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            raise NotFoundError(f"log group {log_group}, or its stream, is not there (any more)") from error
        raise


def _line(event: dict[str, Any]) -> Line:
    return {"time": event["timestamp"] / 1_000, "text": _shown(event["message"])}


def _is_same(row: Line, time: float, message: str) -> bool:
    return abs(row["time"] - time) < 0.001 and row["text"] == _shown(message)


def _shown(message: str) -> str:
    return cut(message.rstrip("\r\n"), _MAX_LINE_CHARACTERS)
