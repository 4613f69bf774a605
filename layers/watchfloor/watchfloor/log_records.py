"""What one log record says: its level, message, exception, request, whether it came as text or as JSON."""

from __future__ import annotations

from dataclasses import replace

from watchfloor.json_logs import names_error, object_of, structured
from watchfloor.text_logs import DEBUG, ERROR, INFO, MAX_TEXT, WARN, Record, plain

__all__ = ["DEBUG", "ERROR", "INFO", "MAX_TEXT", "WARN", "Record", "read"]

# A message before an object is a line's beginning, not a page.
_MAX_LEAD = 400


def read(message: str) -> Record:
    """A log event's message as a record."""
    text = message.strip("\n\r\x00")
    if text.lstrip()[:1] == "{" and (data := object_of(text)) is not None:
        return structured(data)
    record = plain(text)
    at = record.body.find("{", 0, _MAX_LEAD)
    if at < 0 or not record.body.rstrip().endswith("}"):
        return record
    data = object_of(record.body[at:])
    if data is None or (at > 0 and not names_error(data)):
        return record
    inner = structured(data)
    return replace(
        inner,
        body=inner.body or record.body[:at].strip(),
        level=record.level or inner.level,
        request_id=record.request_id or inner.request_id,
        has_prefix=record.has_prefix,
    )
