"""Errors of a log, grouped as error triage groups them, the most frequent first."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from watchfloor.fingerprints import fingerprint
from watchfloor.log_events import ErrorEvent, LogBatch, LogEvent, errors_in
from watchfloor.redaction import Redactor

BUCKETS = 12
_TEXT_CHARACTERS = 1_200
_MESSAGE_CHARACTERS = 300
_FRAMES = 6


def errors_of(log_group: str, events: Iterable[Mapping[str, Any]]) -> list[ErrorEvent]:
    """Errors among events as FilterLogEvents gives them; a trace that is spread over events is put together."""
    streams: defaultdict[str, list[LogEvent]] = defaultdict(list)
    for event in events:
        streams[event["logStreamName"]].append(
            LogEvent(event["eventId"], event["timestamp"] / 1000, event.get("message", ""))
        )
    found: list[ErrorEvent] = []
    for name, lines in streams.items():
        lines.sort(key=lambda line: line.time)
        found += errors_in(LogBatch("DATA_MESSAGE", "", log_group, name, [], lines))
    return found


def findings(ranked: Sequence[Mapping[str, Any]], total: int) -> list[str]:
    """Groups in words; `total` is how many errors there are."""
    if not total:
        return ["no errors in this time"]
    first = ranked[0]
    kind = first["type"] or "error"
    place = f" at {first['where'][0]}" if first["where"] else ""
    return [
        f"{total} errors of {len(ranked)} kinds",
        f"most frequent: {first['count']} times {kind}: {first['message'][:200]}{place}",
    ]


def grouped(errors: Sequence[ErrorEvent], begin: dt.datetime, end: dt.datetime, top: int) -> list[dict[str, Any]]:
    """The most frequent groups, with what each is, where it comes from, and when it occurred."""
    groups: defaultdict[str, list[ErrorEvent]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for error in errors:
        mark = fingerprint(error)
        groups[mark.value].append(error)
        reasons[mark.value] = mark.reason
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), -max(error.time for error in item[1])))
    redactor = Redactor()
    return [_group(value, members, reasons[value], begin, end, redactor) for value, members in ranked[:top]]


def _group(
    value: str, errors: list[ErrorEvent], reason: str, begin: dt.datetime, end: dt.datetime, redactor: Redactor
) -> dict[str, Any]:
    last = max(errors, key=lambda error: error.time)
    own = [frame for frame in last.frames if frame.in_app] or list(last.frames)
    return {
        "fingerprint": value,
        "count": len(errors),
        "type": last.type[:200],
        "message": redactor.start(last.message, _MESSAGE_CHARACTERS),
        "where": [f"{frame.file}:{frame.line or '?'} {frame.function}" for frame in own[:_FRAMES]],
        "first_seen": _time(min(error.time for error in errors)),
        "last_seen": _time(last.time),
        "over_time": _over_time(errors, begin, end),
        "grouped_by": redactor.start(reason, _MESSAGE_CHARACTERS),
        "log_group": last.log_group,
        "last_log_stream": last.log_stream,
        "last_request_id": last.request_id,
        "last_text": redactor.start(last.text, _TEXT_CHARACTERS),
    }


def _over_time(errors: list[ErrorEvent], begin: dt.datetime, end: dt.datetime) -> list[int]:
    """Counts in equal parts of the time looked at, the oldest first."""
    counts = [0] * BUCKETS
    length = (end - begin).total_seconds() / BUCKETS
    for error in errors:
        counts[min(BUCKETS - 1, max(0, int((error.time - begin.timestamp()) / length)))] += 1
    return counts


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
