"""CloudWatch Logs subscription events, and the errors in them."""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from watchfloor.error_signs import gist, is_error, platform_type
from watchfloor.errors import InvalidInputError
from watchfloor.log_records import MAX_TEXT, Record
from watchfloor.split_traces import PYTHON_START, Opened, assembled
from watchfloor.stack_frames import Frame, Raised, cut
from watchfloor.stack_traces import Trace, main_of, parse
from watchfloor.trace_headers import header

CONTROL, DATA = "CONTROL_MESSAGE", "DATA_MESSAGE"
MAX_BYTES = 20_000_000
_MAX_TIMESTAMP = 253_402_300_799_000  # the last second of 9999, in ms: the end of what a date can be
# CloudWatch Logs hands over at most 1 MB (compressed 6 MB of a Lambda payload) a call.
_MAX_SHOWN_TEXT = 16_000
# An exception without a trace names itself at the beginning.
_MAX_HEAD_LINES = 6


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One log event; `time` in epoch seconds."""

    id: str
    time: float
    message: str


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What one call of a subscription carries. A control message checks that we listen; it has nothing to act on."""

    kind: str
    owner: str
    log_group: str
    log_stream: str
    filters: list[str]
    events: list[LogEvent]

    @property
    def is_control(self) -> bool:
        return self.kind == CONTROL


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """One error in a log. `type`, `message` and `frames` are those of the exception that names the problem.

    `exceptions` holds the whole chain, the outermost first; `is_platform` says that Lambda itself wrote it;
    `log_message` is what the developer wrote about the exception, where a record keeps them apart; `codes` are the
    error codes and HTTP statuses among a JSON record's fields; `values` what its other fields call by name.
    """

    id: str
    time: float
    log_group: str
    log_stream: str
    text: str
    event_ids: tuple[str, ...] = ()
    type: str = ""
    message: str = ""
    language: str | None = None
    frames: tuple[Frame, ...] = ()
    request_id: str | None = None
    level: str | None = None
    explicit: str | None = None
    exceptions: tuple[Raised, ...] = ()
    is_platform: bool = False
    log_message: str = ""
    codes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Itself for JSON."""
        return asdict(self) | {
            "event_ids": list(self.event_ids),
            "frames": [asdict(frame) for frame in self.frames],
            "exceptions": [raised.to_dict() for raised in self.exceptions],
            "codes": list(self.codes),
            "values": list(self.values),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ErrorEvent:
        """The inverse of `to_dict`."""
        return cls(
            **{
                **data,
                "event_ids": tuple(data["event_ids"]),
                "frames": tuple(Frame(**frame) for frame in data["frames"]),
                "exceptions": tuple(Raised.from_dict(raised) for raised in data["exceptions"]),
                "codes": tuple(data["codes"]),
                "values": tuple(data.get("values", ())),
            }
        )


# --- the envelope ---------------------------------------------------------------------------------------------------


def decode(event: Any, *, max_bytes: int = MAX_BYTES) -> LogBatch:
    """What a subscription filter sent: `{"awslogs": {"data": base64(gzip(json))}}`.

    Raises
    ------
    InvalidInputError
        It is something else, or more than `max_bytes` when unpacked.
    """
    packed = event.get("awslogs") if isinstance(event, dict) else None
    data = packed.get("data") if isinstance(packed, dict) else None
    if not isinstance(data, str):
        raise InvalidInputError("Not a CloudWatch Logs subscription event: awslogs.data is missing")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"awslogs.data is not base64: {error}") from error
    content = _unzipped(raw, max_bytes)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"awslogs.data holds no JSON: {error}") from error
    return _batch(document)


def encode(document: dict[str, Any]) -> dict[str, Any]:
    """The subscription event that carries a document: the inverse of unpacking, for samples and tests."""
    packed = gzip.compress(orjson.dumps(document), mtime=0)
    return {"awslogs": {"data": base64.b64encode(packed).decode()}}


def _unzipped(raw: bytes, max_bytes: int) -> bytes:
    content = bytearray()
    rest = raw
    try:
        # A gzip file may have several members; the bound holds for all of them together.
        while rest:
            unpack = zlib.decompressobj(wbits=31)
            content += unpack.decompress(rest, max_bytes - len(content) + 1)
            if len(content) > max_bytes:
                raise InvalidInputError(f"The log data has more than {max_bytes} bytes when unpacked")
            if not unpack.eof:
                raise InvalidInputError("awslogs.data is cut short: the gzip stream has no end")
            rest = unpack.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise InvalidInputError(f"awslogs.data is not gzip: {error}") from error
    return bytes(content)


def _batch(document: Any) -> LogBatch:
    if not isinstance(document, dict):
        raise InvalidInputError("The log data is no JSON object")
    kind = document.get("messageType")
    if kind not in (CONTROL, DATA):
        raise InvalidInputError(f"messageType is neither {DATA} nor {CONTROL}: {str(kind)[:60]!r}")
    events = document.get("logEvents", [])
    if not isinstance(events, list):
        raise InvalidInputError("logEvents is no list")
    names = {}
    for key in ("owner", "logGroup", "logStream"):
        value = document.get(key, "")
        if not isinstance(value, str):
            raise InvalidInputError(f"{key} is no text")
        names[key] = value
    if kind == DATA and not names["logGroup"]:
        raise InvalidInputError("logGroup is missing")
    filters = document.get("subscriptionFilters", [])
    return LogBatch(
        kind,
        names["owner"],
        names["logGroup"],
        names["logStream"],
        [str(name) for name in filters] if isinstance(filters, list) else [],
        [_event(index, event) for index, event in enumerate(events)] if kind == DATA else [],
    )


def _event(index: int, event: Any) -> LogEvent:
    if not isinstance(event, dict) or not isinstance(event.get("message"), str):
        raise InvalidInputError(f"logEvents[{index}] has no message")
    stamp = event.get("timestamp", 0)
    if not isinstance(stamp, int | float) or isinstance(stamp, bool):
        raise InvalidInputError(f"logEvents[{index}].timestamp is no number")
    if not 0 <= stamp <= _MAX_TIMESTAMP:
        raise InvalidInputError(f"logEvents[{index}].timestamp is no time of ours: {stamp} ms")
    return LogEvent(str(event.get("id") or index), stamp / 1000, event["message"])


# --- errors ---------------------------------------------------------------------------------------------------------


def errors_in(batch: LogBatch, *, keep_all: bool = False) -> list[ErrorEvent]:
    """The errors of a batch, in the order in which they begin.

    A trace that a logger split over events, a line each, is put together again, even where lines of other requests
    stand between. Records that are no error are left out; `keep_all` keeps them.
    """
    errors = []
    for opened in assembled(batch.events):
        error = _error(batch, opened, keep_all)
        if error:
            errors.append(error)
    return _once_a_request(errors)


def _error(batch: LogBatch, opened: Opened, keep_all: bool) -> ErrorEvent | None:
    record = opened.record
    text = cut(opened.text, MAX_TEXT)
    trace = parse(_stack_text(record)) if record.stack else None
    trace = trace or parse(text)
    platform = platform_type(record) if trace is None else None
    if not keep_all and not is_error(record, trace):
        return None
    kind, message, exceptions = _named(record, trace, text, platform)
    shown = text if not record.stack or record.stack in text else f"{text}\n{record.stack}"
    return ErrorEvent(
        id=opened.events[0].id,
        time=opened.events[0].time,
        log_group=batch.log_group,
        log_stream=batch.log_stream,
        text=cut(shown, _MAX_SHOWN_TEXT),
        event_ids=tuple(event.id for event in opened.events),
        type=kind,
        message=cut(message, 4_000),
        language=trace.language if trace else None,
        frames=main_of(exceptions).frames if exceptions else (),
        request_id=record.request_id,
        level=record.level,
        explicit=record.explicit,
        exceptions=exceptions,
        is_platform=platform is not None,
        log_message=cut(record.body, 1_000) if record.structured and record.body != message else "",
        codes=tuple(f"{key}={value}" for key, value in record.details if not key.startswith(("type", "record."))),
        values=record.values,
    )


def _stack_text(record: Record) -> str:
    first = record.stack.lstrip().split("\n", 1)[0]
    if record.type and header(first) is None and PYTHON_START not in first:
        return f"{record.type}: {record.message}\n{record.stack}"
    return record.stack


def _named(record: Record, trace: Trace | None, text: str, platform: str | None) -> tuple[str, str, tuple[Raised, ...]]:
    if platform:
        return platform, text.strip().split("\n", 1)[0], ()
    if trace:
        exceptions = trace.exceptions
        outermost = exceptions[0]
        if not outermost.type and not (outermost.message and not record.type):
            # A stack without a head: the record's other fields say what was raised.
            exceptions = (replace(outermost, type=record.type, message=record.message or gist(text)), *exceptions[1:])
        main = main_of(exceptions)
        return main.type, main.message or record.message or text.strip().split("\n", 1)[0], exceptions
    if record.type:
        message = record.message or text.strip()
        return record.type, message, (Raised(record.type, message),)
    lines = text.strip().split("\n")
    for index, line in enumerate(lines[:_MAX_HEAD_LINES]):
        found = header(line)
        if found:
            return found[0], "\n".join([found[1], *lines[index + 1 :]]).strip(), ()
    return "", gist(text) or record.message, ()


def _once_a_request(errors: list[ErrorEvent]) -> list[ErrorEvent]:
    """Lambda says twice that an invocation died, in a line of its own and in the REPORT: one of them is enough."""
    told: set[tuple[str, str]] = set()
    kept = []
    for error in errors:
        if error.is_platform and error.request_id:
            if (error.request_id, error.type) in told:
                continue
            told.add((error.request_id, error.type))
        kept.append(error)
    return kept
