"""Log records that are JSON: the fields of many loggers, read as one kind of record.

Names come from Lambda's own JSON format, Powertools, pino, bunyan, winston, log4j2 and Logback layouts, Serilog, zap,
logrus, structlog, ECS, OpenTelemetry, GELF, Datadog and Elastic APM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from watchfloor.stack_frames import cut
from watchfloor.text_logs import (
    ERROR,
    INFO,
    MAX_TEXT,
    WARN,
    Record,
    details_of,
    explicit_of,
    joined,
    level_of,
    plain,
    values_of,
)

_MAX_FIELDS, _MAX_DEPTH, _MAX_NESTED = 400, 6, 8

_LEVEL_WORDS = """
    level severity log.level loglevel levelname level_name lvl @l severitytext severity_text log_level log.severity
    priority level.name
    """
_LEVEL = _LEVEL_WORDS.split()
_MESSAGE_WORDS = """
    message msg @m renderedmessage rendered_message event short_message @mt body log log.message text messagetemplate
    body.stringvalue state.message description
    """
_MESSAGE = _MESSAGE_WORDS.split()
_TYPE_WORDS = """
    error.type exception.type exception_name errortype error_type exception.class exception.exception_class
    exception_class exception.classname exception.name exceptiontype exc_type thrown.name err.type err.name err.class
    error.name error.class error.kind error_class errorclass stack_trace.type thrown.class throwable.classname
    throwable.class
    """
_TYPE = _TYPE_WORDS.split()
_CAUSE_WORDS = """
    error.message exception.message errormessage exception_message exception.exception_message err.message error.msg
    thrown.message err.msg stack_trace.value exc_value error_message error.reason error err
    throwable.message cause reason
    """
_CAUSE = _CAUSE_WORDS.split()
_STACK_WORDS = """
    stack_trace stacktrace error.stack_trace error.stack error.stacktrace exception.stacktrace exception.stack_trace
    exception.stack err.stack stack exc_info exception @x errorverbose trace traceback error.traceback backtrace
    error.backtrace exception.backtrace thrown.extendedstacktrace thrown.stacktrace
    thrown err error exc_text throwable.stacktrace throwable error_stack error_backtrace exceptions
    """
_STACK = _STACK_WORDS.split()
_EXPLICIT_WORDS = """
    fingerprint error_fingerprint error.fingerprint errorfingerprint sentry.fingerprint error.grouping_key
    grouping_key extra.fingerprint context.fingerprint
    """
_EXPLICIT = _EXPLICIT_WORDS.split()
_REQUEST_WORDS = """
    aws_request_id awsrequestid function_request_id requestid request_id lambda_request_id lambda.requestid
    context.awsrequestid aws.lambda.request_id faas.execution req.id reqid x-request-id record.requestid
    http.request_id http.request.id trace_id traceid trace.id correlation_id correlationid
    """
_REQUEST = _REQUEST_WORDS.split()
# MongoDB's own log.
_SHORT_LEVELS: dict[Any, str] = {"F": ERROR, "E": ERROR, "W": WARN, "I": INFO}
# Wherever these stand in a record (a task's cause, a rejection's reason), they speak of the error.
_ANYWHERE = frozenset(["errortype", "errormessage", "stacktrace", "stack_trace"])
# So does such an object, whatever it stands in.
_OBJECTS = frozenset(["error", "err", "exception", "thrown", "throwable"])
# Which job of a queue it was, as its runner names the class (Sidekiq, Active Job, Resque).
_JOB = ["ctx.class", "ctx.job.class", "context.job.class", "job.class", "job_class"]
_JOB_CLASS = re.compile(r"[A-Z]\w{0,80}(?:::[A-Z]\w{0,80}){0,6}")
_PLATFORM = ["type", "record.status", "record.errortype"]


def object_of(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, or None."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None


def names_error(data: dict[str, Any]) -> bool:
    """Whether an object speaks of an error at all."""
    fields = _fields(data)
    return any(key in fields for key in (*_TYPE, *_STACK, *_CAUSE))


def structured(data: dict[str, Any], *, depth: int = 0) -> Record:
    """A JSON object as a record."""
    fields = _fields(data)
    # Indentation stays: an agent may wrap each line of a trace into an object of its own.
    message = _text(fields, _MESSAGE).rstrip()
    nested = object_of(message) if message[:1] == "{" and depth < _MAX_NESTED else None
    if nested is not None:
        # An object in the message of another, as log drivers wrap it: what the inner one says counts.
        return structured({**data, **nested}, depth=depth + 1)
    kind, cause = _text(fields, _TYPE).strip(), _text(fields, _CAUSE).strip()
    stack = next((found for key in _STACK if (found := _stack(fields.get(key)))), "")
    if kind.startswith("Function<") and kind.endswith(">"):
        # Lambda's Ruby runtime.
        kind = kind[len("Function<") : -1]
    inner = plain(message)
    body = inner.body if inner.level else message
    is_exception = bool(kind or stack)
    if cause == stack:
        cause = ""
    level = next(filter(None, (level_of(fields.get(key)) for key in _LEVEL)), None) or _SHORT_LEVELS.get(
        fields.get("s")
    )
    return Record(
        body=body if is_exception else joined(body, cause),
        level=level or inner.level,
        type=kind,
        message=cause if is_exception else "",
        stack=cut(stack, MAX_TEXT),
        request_id=_text(fields, _REQUEST) or inner.request_id,
        explicit=explicit_of(next((fields[key] for key in _EXPLICIT if fields.get(key)), None)),
        has_prefix=bool(level or inner.has_prefix),
        structured=True,
        details=details_of(fields)
        + _job(fields)
        + tuple((key, fields[key]) for key in _PLATFORM if isinstance(fields.get(key), str)),
        values=values_of(fields),
    )


def _job(fields: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    keys = [*_JOB, "class"] if "jid" in fields else _JOB
    name = _text(fields, keys)
    return (("job", name),) if _JOB_CLASS.fullmatch(name) else ()


def _fields(data: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    nested = 0
    for path, value in _flat(data):
        if len(fields) >= _MAX_FIELDS:
            break
        fields.setdefault(path, value)
        # A message that is an object itself (Lambda's JSON format) says what the top level says elsewhere.
        wrapper, _, inner = path.partition(".")
        if inner and wrapper in ("message", "msg", "log"):
            fields.setdefault(inner, value)
        parts = path.split(".")
        for index in (index for index, part in enumerate(parts) if index and part in _OBJECTS):
            fields.setdefault(".".join(parts[index:]), value)
        name = parts[-1]
        if name in _ANYWHERE:
            fields.setdefault(name, value)
        if isinstance(value, str) and value[:1] == "{" and "." in path and nested < _MAX_NESTED:
            nested += 1
            for inner_path, part in _flat(object_of(value) or {}):
                fields.setdefault(f"{path}.{inner_path}", part)
                if inner_path in _ANYWHERE:
                    fields.setdefault(inner_path, part)
    return fields


def _flat(data: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict) and depth < _MAX_DEPTH:
        for key, value in data.items():
            path = f"{prefix}.{key}".lower() if prefix else str(key).lower()
            yield path, value
            if isinstance(value, dict):
                yield from _flat(value, path, depth + 1)


def _text(fields: dict[str, Any], keys: list[str]) -> str:
    return next((value for key in keys if isinstance(value := fields.get(key), str) and value.strip()), "")


# --- stacks as lists and objects ------------------------------------------------------------------------------------

_INNER_STACKS = ("extendedStackTrace", "frames", "stacktrace", "stackTrace", "stack", "backtrace", "stack_trace")
_BARE_JAVA = re.compile(
    r"^(?:[\w$@/-]{1,60}\.){1,20}[\w$<>]{1,100}\((?:[\w$]{1,100}\.\w{1,6}:\d{1,7}|Native Method|Unknown Source)\)$"
)
_LINKED = "\n\nThe above exception was the direct cause of the following exception:\n\n"


def _stack(value: Any) -> str:
    """A stack field as the text that its language would print."""
    if isinstance(value, str):
        return value if any(mark in value for mark in ("\n", "\r", "\\n", " at ", ":in ")) else ""
    if isinstance(value, dict):
        inner = next((found for key in _INNER_STACKS if (found := _stack(value.get(key)))), "")
        name = _any(value, "type", "name", "errorType", "exc_type", "class")
        if not inner or not name or name in inner.split("\n", 1)[0]:
            return inner
        words = _any(value, "value", "message", "errorMessage", "exc_value")
        return f"{inner}\n{name}: {words}" if 'File "' in inner else f"{name}: {words}\n{inner}"
    if not isinstance(value, list) or not value:
        return ""
    if all(isinstance(part, str) for part in value):
        # Lambda's Java runtime leaves the "at" out.
        return "\n".join(_BARE_JAVA.sub(r"\tat \g<0>", part) for part in value)
    if not all(isinstance(part, dict) for part in value):
        return ""
    if any("frames" in part for part in value):
        # structlog gives the exception itself first, then what caused it.
        return _LINKED.join(found for part in reversed(value) if (found := _stack(part)))
    return "\n".join(filter(None, map(_frame, value)))


def _any(data: dict[str, Any], *keys: str) -> str:
    return next((value for key in keys if isinstance(value := data.get(key), str) and value), "")


def _frame(frame: dict[str, Any]) -> str:
    file = _any(frame, "file", "filename", "path", "fileName", "abs_path")
    function = _any(frame, "function", "name", "method", "methodName", "label", "func")
    line = next((frame[key] for key in ("line", "lineno", "lineNumber") if isinstance(frame.get(key), int)), 0)
    owner = _any(frame, "class", "className", "declaringClass")
    if owner:
        return f"\tat {owner}.{function}({f'{file}:{line}' if file else 'Unknown Source'})"
    if file.endswith(".go"):
        if "." not in function or function.startswith("("):
            # Lambda's Go runtime leaves the package out.
            function = f"{file.rpartition('/')[0] or 'main'}.{function}"
        return f"{function}\n\t{file}:{line}"
    if file.endswith((".js", ".ts", ".mjs", ".cjs", ".tsx", ".jsx")):
        return f"    at {function} ({file}:{line}:{frame.get('column') or 1})"
    if file.endswith(".rb"):
        return f"{file}:{line}:in `{function}'"
    if not file:
        return ""
    # In some loggers `line` is the line of code itself.
    source = _any(frame, "statement", "code", "context_line", "line")
    return f'  File "{file}", line {line}, in {function or "<module>"}' + (f"\n    {source}" if source else "")
