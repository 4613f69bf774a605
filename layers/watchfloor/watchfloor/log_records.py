"""What one log record says: its level, message, exception, request, whether it came as text or as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from watchfloor.stack_frames import cut

ERROR, WARN, INFO, DEBUG = "ERROR", "WARN", "INFO", "DEBUG"
MAX_TEXT = 64_000
_MAX_FIELDS, _MAX_DEPTH = 400, 6

_LEVELS = {
    **dict.fromkeys(
        [
            "error",
            "err",
            "eror",
            "severe",
            "fatal",
            "critical",
            "crit",
            "alert",
            "emerg",
            "emergency",
            "panic",
            "dpanic",
            "fail",
            "failure",
            "ftl",
        ],
        ERROR,
    ),
    **dict.fromkeys(["warn", "warning", "wrn"], WARN),
    **dict.fromkeys(["info", "information", "inf", "notice", "log", "ok", "success", "informational"], INFO),
    **dict.fromkeys(["debug", "dbg", "trace", "trc", "verbose", "vrb", "fine", "finer", "finest", "silly"], DEBUG),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `body` is the text behind timestamps, level and ids; `stack` what a JSON record gives of a trace."""

    body: str
    level: str | None = None
    type: str = ""
    message: str = ""
    stack: str = ""
    request_id: str | None = None
    explicit: str | None = None
    has_prefix: bool = False
    structured: bool = False
    fields: tuple[tuple[str, str], ...] = ()


def read(message: str) -> Record:
    """A log event's message as a record."""
    text = message.strip("\n\r\x00")
    if text.lstrip()[:1] == "{":
        data = _object(text)
        if data is not None:
            return _structured(data)
    record = _plain(text)
    at = record.body.find("{")
    if 0 <= at <= 400 and record.body.rstrip().endswith("}"):
        data = _object(record.body[at:])
        if data is not None and (at == 0 or _flat_has_error(data)):
            inner = _structured(data)
            head = record.body[:at].strip()
            return replace(
                inner,
                level=record.level or inner.level,
                message=inner.message or head,
                request_id=record.request_id or inner.request_id,
                has_prefix=record.has_prefix,
            )
    return record


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None


def level_of(word: Any) -> str | None:
    """One of ERROR, WARN, INFO, DEBUG for a logger's word or number, None for anything else."""
    if isinstance(word, bool):
        return None
    if isinstance(word, str) and word.isdigit():
        word = int(word)
    if isinstance(word, int):
        # pino and bunyan count up by tens, syslog and GELF down from 7.
        if word <= 7:
            return ERROR if word <= 3 else WARN if word == 4 else INFO if word <= 6 else DEBUG
        return ERROR if word >= 50 else WARN if word >= 40 else INFO if word >= 30 else DEBUG
    return _LEVELS.get(word.strip().lower()) if isinstance(word, str) else None


# --- JSON -----------------------------------------------------------------------------------------------------------

_LEVEL_KEYS = (
    "level",
    "severity",
    "log.level",
    "loglevel",
    "levelname",
    "level_name",
    "lvl",
    "@l",
    "severitytext",
    "severity_text",
    "log_level",
    "log.severity",
    "priority",
    "level.name",
)
_MESSAGE_KEYS = (
    "message",
    "msg",
    "@m",
    "renderedmessage",
    "rendered_message",
    "event",
    "short_message",
    "@mt",
    "body",
    "log",
    "log.message",
    "text",
    "messagetemplate",
    "body.stringvalue",
    "state.message",
    "description",
)
_TYPE_KEYS = (
    "error.type",
    "exception.type",
    "exception_name",
    "errortype",
    "error_type",
    "exception.class",
    "exception.exception_class",
    "exception_class",
    "exception.classname",
    "exception.name",
    "exceptiontype",
    "exc_type",
    "thrown.name",
    "err.type",
    "err.name",
    "err.class",
    "error.name",
    "error.class",
    "error.kind",
    "error_class",
    "errorclass",
    "error.errortype",
    "stack_trace.type",
    "exception.errortype",
    "attributes.exception.type",
    "attributes.error.type",
    "thrown.class",
    "throwable.classname",
    "throwable.class",
    "reason.errortype",
)
_CAUSE_KEYS = (
    "error.message",
    "exception.message",
    "errormessage",
    "exception_message",
    "exception.exception_message",
    "err.message",
    "error.msg",
    "thrown.message",
    "error.errormessage",
    "err.msg",
    "stack_trace.value",
    "exc_value",
    "error_message",
    "error.reason",
    "error",
    "err",
    "attributes.exception.message",
    "throwable.message",
    "cause",
    "reason",
)
_STACK_KEYS = (
    "stack_trace",
    "stacktrace",
    "error.stack_trace",
    "error.stack",
    "error.stacktrace",
    "exception.stacktrace",
    "exception.stack_trace",
    "exception.stack",
    "err.stack",
    "stack",
    "exc_info",
    "exception",
    "@x",
    "errorverbose",
    "trace",
    "traceback",
    "error.traceback",
    "backtrace",
    "error.backtrace",
    "exception.backtrace",
    "thrown.extendedstacktrace",
    "thrown.stacktrace",
    "attributes.exception.stacktrace",
    "error.stack_trace_string",
    "thrown",
    "err",
    "error",
    "exc_text",
    "reason.stack",
    "context.exception",
    "throwable.stacktrace",
    "throwable",
    "stack_trace.frames",
    "error_stack",
    "exceptions",
)
_EXPLICIT_KEYS = (
    "fingerprint",
    "error_fingerprint",
    "error.fingerprint",
    "errorfingerprint",
    "sentry.fingerprint",
    "error.grouping_key",
    "grouping_key",
    "extra.fingerprint",
    "context.fingerprint",
)
_REQUEST_KEYS = (
    "aws_request_id",
    "awsrequestid",
    "function_request_id",
    "requestid",
    "request_id",
    "lambda_request_id",
    "lambda.requestid",
    "context.awsrequestid",
    "aws.lambda.request_id",
    "faas.execution",
    "req.id",
    "reqid",
    "x-request-id",
    "record.requestid",
    "http.request_id",
    "http.request.id",
    "trace_id",
    "traceid",
    "trace.id",
    "correlation_id",
    "correlationid",
)


def _flat(data: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict) and depth < _MAX_DEPTH:
        for key, value in data.items():
            path = f"{prefix}.{key}".lower() if prefix else str(key).lower()
            yield path, value
            if isinstance(value, dict):
                yield from _flat(value, path, depth + 1)


def _fields(data: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path, value in _flat(data):
        if len(fields) >= _MAX_FIELDS:
            break
        # A message that is an object itself (Lambda's JSON format) says what the top level says elsewhere.
        for wrapper in ("message.", "msg.", "log."):
            if path.startswith(wrapper):
                fields.setdefault(path[len(wrapper) :], value)
        fields.setdefault(path, value)
    return fields


def _flat_has_error(data: dict[str, Any]) -> bool:
    fields = _fields(data)
    return any(key in fields for key in (*_TYPE_KEYS, *_STACK_KEYS, *_CAUSE_KEYS))


def _first(fields: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((fields[key] for key in keys if fields.get(key) not in (None, "", [], {})), None)


def _text(fields: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next((value.strip() for key in keys if isinstance(value := fields.get(key), str) and value.strip()), "")


def _structured(data: dict[str, Any]) -> Record:
    fields = _fields(data)
    message = _text(fields, _MESSAGE_KEYS)
    nested = _object(message) if message[:1] == "{" else None
    if nested is not None:
        return _structured({**{key: value for key, value in data.items() if value != message}, **nested})
    level = next((found for key in _LEVEL_KEYS if (found := level_of(fields.get(key)))), None)
    kind, cause = _text(fields, _TYPE_KEYS), _text(fields, _CAUSE_KEYS)
    stack = next((found for key in _STACK_KEYS if (found := _stack(fields.get(key)))), "")
    if kind.startswith("Function<") and kind.endswith(">"):
        kind = kind[len("Function<") : -1]
    module = fields.get("stack_trace.module")
    if isinstance(module, str) and kind and "." not in kind and module not in ("builtins", "__main__"):
        kind = f"{module}.{kind}"
    plain = _plain(message)
    explicit = _explicit(_first(fields, _EXPLICIT_KEYS))
    request = _text(fields, _REQUEST_KEYS)
    body = plain.body if plain.level else message
    return Record(
        body=body,
        level=level or plain.level,
        type=kind,
        message=cause if kind or stack else "",
        stack=cut(stack, MAX_TEXT),
        request_id=request or plain.request_id,
        explicit=explicit,
        has_prefix=True,
        structured=True,
        fields=tuple(
            (key, str(value))
            for key in (
                "type",
                "record.status",
                "record.errortype",
                "error",
                "err",
                "reason",
                "code",
                "error.code",
                "err.code",
                "logger",
                "error_code",
                "errorcode",
            )
            if isinstance(value := fields.get(key), str | int)
        ),
    )


def _explicit(value: Any) -> str | None:
    if isinstance(value, list):
        value = "|".join(str(part) for part in value[:10])
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or "{{" in value:
        return None
    # A key's or certificate's fingerprint is another matter.
    if re.match(r"^(?:SHA256:|MD5:|(?:[0-9a-fA-F]{2}:){7})", value):
        return None
    return cut(value.strip(), 200)


def _stack(value: Any) -> str:
    """A stack field as the text that its language would print."""
    if isinstance(value, str):
        return value if "\n" in value or "\r" in value or "\\n" in value or " at " in value or ":in " in value else ""
    if isinstance(value, dict):
        inner = next(
            (
                found
                for key in (
                    "extendedStackTrace",
                    "frames",
                    "stacktrace",
                    "stackTrace",
                    "stack",
                    "backtrace",
                    "stack_trace",
                )
                if (found := _stack(value.get(key)))
            ),
            "",
        )
        if not inner:
            return ""
        name = str(
            value.get("type")
            or value.get("name")
            or value.get("errorType")
            or value.get("exc_type")
            or value.get("class")
            or ""
        )
        words = str(
            value.get("value") or value.get("message") or value.get("errorMessage") or value.get("exc_value") or ""
        )
        return (
            f"{inner}\n{name}: {words}"
            if 'File "' in inner and name
            else f"{name}: {words}\n{inner}"
            if name
            else inner
        )
    if not isinstance(value, list):
        return ""
    if all(isinstance(part, str) for part in value):
        return "\n".join(value)
    if all(isinstance(part, dict) for part in value):
        if any("frames" in part for part in value):
            return "\n\nThe above exception was the direct cause of the following exception:\n\n".join(
                found for part in reversed(value) if (found := _stack(part))
            )
        return "\n".join(filter(None, map(_frame_text, value)))
    return ""


def _frame_text(frame: dict[str, Any]) -> str:
    file = frame.get("file") or frame.get("filename") or frame.get("path") or frame.get("fileName") or ""
    line = frame.get("line") or frame.get("lineno") or frame.get("lineNumber") or 0
    function = (
        frame.get("function")
        or frame.get("name")
        or frame.get("method")
        or frame.get("methodName")
        or frame.get("label")
        or frame.get("func")
        or ""
    )
    owner = frame.get("class") or frame.get("className") or frame.get("declaringClass")
    if owner:
        return f"\tat {owner}.{function}({file or 'Unknown Source'}{f':{line}' if file and line else ''})"
    if not isinstance(line, int) or not (isinstance(file, str) and isinstance(function, str)):
        return ""
    if file.endswith(".go"):
        return f"{function}\n\t{file}:{line}"
    if file.endswith((".js", ".ts", ".mjs", ".cjs")):
        return f"    at {function} ({file}:{line}:{frame.get('column') or 1})"
    if file.endswith(".rb"):
        return f"{file}:{line}:in `{function}'"
    if not file:
        return ""
    source = (
        frame.get("statement")
        or frame.get("code")
        or frame.get("context_line")
        or (frame.get("line") if isinstance(frame.get("line"), str) else "")
    )
    return f'  File "{file}", line {line}, in {function or "<module>"}' + (f"\n    {source}" if source else "")


# --- text -----------------------------------------------------------------------------------------------------------

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_WORDS = "|".join(sorted(_LEVELS, key=len, reverse=True))
_TIME = re.compile(
    r"\[?(?:\d{4}[-/.]\d\d[-/.]\d\d(?:[T ,]{1,2}(?:- )?\d\d:\d\d:\d\d(?:[.,:]\d{1,9})?\s?(?:Z|UTC|GMT|CET|[A-Z]{3,4}(?=[\s\]])|[+-]\d\d:?\d\d)?)?"
    r"|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?|(?:[A-Z][a-z]{2},? )?[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: \d{4})?"
    r"|\d{1,2}[-/ ][A-Z][a-z]{2}[-/ ]\d{4}[: ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: ?(?:[+-]\d{4}|[A-Z][A-Za-z/]{2,30}))?"
    r"|\d\d/\d\d/\d{4},? \d{1,2}:\d\d:\d\d(?:\.\d{1,6})?(?: ?[AP]M)?)(?: #\d{1,9})?[\]:,]?(?=[\s:\]|,(]|$)"
)
_KLOG = re.compile(r"([EWIF])\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s{1,8}\d{1,9} [\w./\-]{1,200}:\d{1,7}\] ")
_RUBY_LOG = re.compile(r"([A-Z]), \[[^\]]{10,60}\]\s{1,4}([A-Z]{3,7}) -- [^:]{0,120}: ")
_NEST = re.compile(r"\[Nest\] \d{1,9}\s{1,4}- ")
_LEVEL_UPPER = re.compile(rf"[\[(<|]?\s?({_WORDS.upper()})\s?[\])>|]?(?:/[\w\-]{{1,60}}\]?)?:?(?=[\s:|\[\],]|$)")
# "Error: text" is how JavaScript shows an error and "panic: text" Go; there the word belongs to the message.
_LEVEL_MARKED = re.compile(
    rf"[\[(<]\s?((?i:{_WORDS}))\s?[\])>]:?(?=\s|$)|(?!panic:|fatal error:)({_WORDS.lower()}):(?=\s)"
)
_LEVEL_LOWER = re.compile(rf"(?:level|severity|lvl)=\"?({_WORDS})\"?(?=\s|$)", re.IGNORECASE)
_PY_BASIC = re.compile(r"([A-Z]{4,8}):([\w.\-]{1,100}):(?=\S)")
_ID = re.compile(
    rf"(?:(?:RequestId|request[_ -]?id|req[_-]?id|requestId)[:=] ?)?[\[(]?(?:({_UUID})|(?:req|request[_-]?id)[-_=:]([\w\-]{{4,64}}))[\])]?:?(?=[\s:\]]|$)"
)
_BRACKETS = re.compile(r"\[[^\[\]]{0,160}\](?::(?=\s))?|\{[\w./]{1,100}:\d{1,7}\}|\([\w./\-$]{1,120}:\d{1,7}\)")
_NUMBER = re.compile(r"#?\d{1,10}(?:#\d{1,10})?:?(?: \*\d{1,12})?(?=\s)")
_SYSLOG = re.compile(r"[\w.\-]{1,100} [\w.\-/]{1,80}(?:\[\d{1,9}\])?: ")
_LOGGER = re.compile(
    r"[\w$]{1,80}(?:[./][\w$\[\]/\-]{1,100}){1,15}(?::\d{1,7})?\s{0,40}(?: [-–|]|:)(?=\s)|[\w$.\-]{1,120}\s{0,20} - (?=[A-Z]{4,8} )|[A-Z]\w{1,60} - |\w{1,60}(?=\s+[-|] )"
)
_LOCATION = re.compile(r"[\w./\-]{1,160}\.[a-z]{1,5}:\d{1,7}:?(?=\s)")
_PAIR = re.compile(
    r"(?:ts|time|timestamp|t|at|pid|tid|jid|class|caller|logger|thread|span_id|trace_id|host)=(?:\"[^\"]{0,160}\"|\S{1,160})(?=\s)"
)
_SEPARATOR = re.compile(r"(?:\t|\s?---?\s|\s?[-–|>:]\s|\s{1,20})")
_REQUEST = re.compile(rf"\b(?:aws_?)?request[_ -]?id[\"']?[:=]\s?[\"']?({_UUID}|[\w\-]{{6,64}})", re.IGNORECASE)
_FINGERPRINT = re.compile(r"(?:^|\s)(?:error[._])?fingerprint=\"?([^\s\"]{1,200})")


def _plain(text: str) -> Record:
    """Takes what loggers put before a message off the first line, piece by piece; indentation behind it stays."""
    head, _, rest = text[:MAX_TEXT].replace("\r\n", "\n").replace("\r", "\n").partition("\n")
    line = head[:2_000]
    at, level, request = 0, None, None
    seen_time = False
    for _ in range(24):
        found, consumed = None, False
        if match := _KLOG.match(line, at):
            level, found = level or {"E": ERROR, "F": ERROR, "W": WARN, "I": INFO}[match[1]], match
        elif match := _RUBY_LOG.match(line, at):
            level, found = level or level_of(match[2]), match
        elif match := _NEST.match(line, at):
            found = match
        elif match := _TIME.match(line, at):
            found, seen_time = match, True
        elif match := _ID.match(line, at):
            found, request = match, request or match[1] or match[2]
        elif not level and at == 0 and (match := _PY_BASIC.match(line, at)) and level_of(match[1]):
            level, found = level_of(match[1]), match
        elif not level and (
            match := _LEVEL_UPPER.match(line, at) or _LEVEL_MARKED.match(line, at) or _LEVEL_LOWER.match(line, at)
        ):
            level, found = level_of(next(filter(None, match.groups()))), match
        if found is None and (seen_time or level):
            found = (
                _BRACKETS.match(line, at)
                or _PAIR.match(line, at)
                or _NUMBER.match(line, at)
                or (_SYSLOG.match(line, at) if seen_time and not level else None)
                or _LOGGER.match(line, at)
                or _LOCATION.match(line, at)
            )
        elif found is None and at == 0:
            match = _BRACKETS.match(line)
            if match and (_TIME.search(match[0]) or _LEVEL_UPPER.search(match[0])):
                inner = _LEVEL_UPPER.search(match[0])
                level = level_of(inner[1]) if inner else level
                found, seen_time = match, True
            else:
                found = _PAIR.match(line)
        if found:
            at, consumed = found.end(), True
        if consumed:
            gap = _SEPARATOR.match(line, at)
            if gap and at < len(line):
                at = gap.end()
        else:
            break
    body = line[at:] if at else head
    if at and len(head) > len(line):
        body += head[len(line) :]
    whole = f"{body}\n{rest}" if rest else body
    logfmt = _logfmt(body) if "msg=" in body or "message=" in body else None
    if request is None and (match := _REQUEST.search(line)):
        request = match[1]
    explicit = _FINGERPRINT.search(line)
    record = Record(
        whole, level, request_id=request, has_prefix=at > 0, explicit=_explicit(explicit[1]) if explicit else None
    )
    return _with_logfmt(record, logfmt) if logfmt else record


_LOGFMT = re.compile(r"(?:^|\s)([\w.]{1,60})=(\"(?:[^\"\\]|\\.){0,1500}\"|[^\s\"]{0,400})")


def _logfmt(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for match in _LOGFMT.finditer(text[:2_000]):
        value = match[2]
        pairs.setdefault(match[1].lower(), value[1:-1].replace('\\"', '"') if value[:1] == '"' else value)
    return pairs


def _with_logfmt(record: Record, pairs: dict[str, str]) -> Record:
    message = pairs.get("msg") or pairs.get("message") or ""
    cause = pairs.get("err") or pairs.get("error") or ""
    level = record.level or level_of(pairs.get("level") or pairs.get("severity") or pairs.get("lvl") or "")
    stack = pairs.get("stack") or pairs.get("stacktrace") or ""
    body = f"{message}: {cause}" if cause and cause not in message else message or record.body
    return replace(record, body=body, level=level, stack=stack.replace("\\n", "\n").replace("\\t", "\t"))
