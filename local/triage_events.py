"""A file, whatever it is, as the event that a subscription filter sends."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import sys
import time
import uuid
import zlib
from pathlib import Path
from typing import Any

from local.pipeline import UserError

MAX_FILE_BYTES, MAX_EVENTS = 50_000_000, 10_000
GROUP, STREAM = "/watchfloor/tried", "from-a-file"


def event_of(source: str) -> dict[str, Any]:
    """The subscription event in a file, or one made of what is there.

    Parameters
    ----------
    source
        A path, or "-" for standard input: an event as Lambda gets it, the JSON inside of it, the answer of
        `aws logs get-log-events` or `filter-log-events`, or a log: an event a line.

    Raises
    ------
    UserError
        For a file that cannot be read or has no line in it.
    """
    text = _read(source)
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict) and "awslogs" in document:
        return document
    if isinstance(document, dict) and "logEvents" in document:
        return packed({"messageType": "DATA_MESSAGE", "logGroup": GROUP, "logStream": _stream(), **document})
    if isinstance(document, dict) and isinstance(document.get("events"), list):
        return _of_answer(source, document)
    return of_lines(text.splitlines(), source)


def of_lines(
    lines: list[str], source: str = "", *, group: str = GROUP, stream: str = "", now: float | None = None
) -> dict[str, Any]:
    """An event whose log events are these lines, a millisecond apart, the last one just now; in a stream of their own."""
    if not any(line.strip() for line in lines):
        raise UserError(f"{source} has no line in it", "Name a log, or a subscription event (docs/triage.md).")
    if len(lines) > MAX_EVENTS:
        raise UserError(f"{source} has {len(lines):,} lines, and an event holds {MAX_EVENTS:,}", "Split it.")
    end = int((time.time() if now is None else now) * 1000)
    events = [
        {"id": uuid.uuid4().hex, "timestamp": end - len(lines) + number, "message": line}
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    about = {"messageType": "DATA_MESSAGE", "logGroup": group, "logStream": stream or _stream()}
    return packed({**about, "logEvents": events})


def _stream() -> str:
    """A stream for what comes without one: no other file's lines stand around its errors."""
    return f"{STREAM}-{uuid.uuid4().hex[:8]}"


def packed(batch: dict[str, Any]) -> dict[str, Any]:
    """What Lambda is called with for this batch."""
    batch = {"owner": "000000000000", "subscriptionFilters": ["watchfloor-triage"], **batch}
    data = gzip.compress(json.dumps(batch).encode(), mtime=0)
    return {"awslogs": {"data": base64.b64encode(data).decode()}}


def batch_of(event: dict[str, Any]) -> dict[str, Any]:
    """What is inside of an event; UserError where it is none."""
    try:
        batch = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
        if not isinstance(batch["logEvents"], list):
            raise TypeError("logEvents is no list")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(
            f"this is no subscription event: {error}", 'It looks like {"awslogs": {"data": base64 of gzip of JSON}}.'
        ) from error
    return batch


def _of_answer(source: str, answer: dict[str, Any]) -> dict[str, Any]:
    """`aws logs get-log-events` and `filter-log-events` do not say of which group; the stream is the first event's.

    The latter mixes the events of all streams, as no delivery does; here they are sorted out again.
    """
    found = answer["events"]
    if not found:
        raise UserError(f"{source} has no event in it", "Ask for a longer time, or without a pattern.")
    if len(found) > MAX_EVENTS:
        raise UserError(
            f"{source} has {len(found):,} events, and one call takes {MAX_EVENTS:,}", "Ask for a shorter time."
        )
    try:
        streams: dict[str, int] = {}
        for event in found:
            streams.setdefault(event.get("logStreamName") or "", len(streams))
        events = [
            {
                "id": event.get("eventId") or uuid.uuid4().hex,
                "timestamp": event["timestamp"],
                "message": event["message"],
            }
            for event in sorted(found, key=lambda event: streams[event.get("logStreamName") or ""])
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{source} has events without a time or a message",
            "`aws logs filter-log-events --log-group-name GROUP --output json` prints what can be read here.",
        ) from error
    stream = next(iter(streams)) or _stream()
    return packed({"messageType": "DATA_MESSAGE", "logGroup": GROUP, "logStream": stream, "logEvents": events})


def _read(source: str) -> str:
    try:
        if source == "-":
            body = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                body = file.read(MAX_FILE_BYTES + 1)
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{source} cannot be read: {reason}", "Name a file, or - for what is piped in.") from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"{source} is a broken gzip file", "Compress it again.") from error
    if len(body) > MAX_FILE_BYTES:
        raise UserError(f"{source} has more than {MAX_FILE_BYTES // 1_000_000} MB", "Name the part with the error.")
    return body.decode("utf-8", "replace").removeprefix("\ufeff")


def when(milliseconds: int) -> str:
    """A time of a log event, for people."""
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
