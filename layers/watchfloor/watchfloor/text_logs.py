"""Log records that are text: what stands before the message is taken off, piece by piece."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from watchfloor.named_things import is_plain, is_thing
from watchfloor.sensitive_text import USUAL, strength
from watchfloor.stack_frames import cut
from watchfloor.trace_headers import ends_like_a_type

ERROR, WARN, INFO, DEBUG = "ERROR", "WARN", "INFO", "DEBUG"
MAX_TEXT = 64_000
# So many first characters of two lines alike mean that the logger wrote its prefix before both.
_SAME_START = 5

_ERROR_LEVELS = """
    error err eror severe fatal critical crit alert alarm emerg emergency panic dpanic fail failure ftl
    fehler schwerwiegend erreur grave erro errore fout
    """
_LEVELS = {
    **dict.fromkeys(_ERROR_LEVELS.split(), ERROR),
    **dict.fromkeys(["warn", "warning", "wrn", "warnung", "avertissement", "advertencia"], WARN),
    **dict.fromkeys(["info", "information", "inf", "notice", "log", "ok", "success", "informational"], INFO),
    **dict.fromkeys(
        ["debug", "dbug", "dbg", "trace", "trce", "trc", "verbose", "vrb", "fine", "finer", "finest", "silly"], DEBUG
    ),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One log record.

    `body` is the message behind timestamps, level and ids; `type`, `message` and `stack` are what a structured record
    says of an exception; `details` are its codes and states, by field; `values` are what its other fields hold.
    """

    body: str
    level: str | None = None
    type: str = ""
    message: str = ""
    stack: str = ""
    request_id: str | None = None
    explicit: str | None = None
    has_prefix: bool = False
    structured: bool = False
    details: tuple[tuple[str, str], ...] = ()
    values: tuple[str, ...] = ()


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


def explicit_of(value: Any) -> str | None:
    """The developer's own fingerprint as one text, None for what only shares the name."""
    if isinstance(value, list):
        value = "|".join(str(part) for part in value[:10])
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or "{{" in value:
        return None
    # A key's or a certificate's fingerprint is another matter.
    if re.match(r"(?:SHA256:|MD5:|(?:[0-9a-fA-F]{2}:){7})", value):
        return None
    return cut(value.strip(), 200)


_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_WORDS = "|".join(sorted(_LEVELS, key=len, reverse=True))
_ZONE = (
    r"(?:Z|[+-]\d\d:?\d\d|(?:UTC|GMT|CES?T|WES?T|EES?T|BST|MSK|[ECMP][SD]T|IST|JST|KST|AE[SD]T|"
    r"[A-Z][a-z]{2,20}/[A-Z][A-Za-z_]{2,30})(?=[\s\]]|$))"
)
_TIME = re.compile(
    rf"\[?(?:\d{{4}}[-/.]\d\d[-/.]\d\d(?:[T ,]{{1,2}}(?:- )?\d\d:\d\d:\d\d(?:[.,:]\d{{1,9}})?\s?{_ZONE}?)?"
    r"|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?|"
    r"(?:[A-Z][a-z]{2},? )?[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: \d{4})?"
    rf"|\d{{1,2}}[-/ ][A-Z][a-z]{{2}}[-/ ]\d{{4}}[: ]\d\d:\d\d:\d\d(?:\.\d{{1,9}})?(?: ?{_ZONE})?"
    r"|\d\d/\d\d/\d{2,4},? \d{1,2}:\d\d:\d\d(?:\.\d{1,6})?(?: ?[AP]M)?|1\d{9}(?:\.\d{1,9}|"
    r"\d{3})?(?=\s))(?: #\d{1,9})?[\]:,]?(?=[\s:\]|,(]|$)"
)
# What stands before everything else: a container's name, a driver's mark, a letter for the level, a syslog priority.
_LEAD = re.compile(
    r"(?:[\w.\-]{1,60}\s{0,20}\|\s|\[[\w.\-]{1,60}\]\s)(?=\[?(?:\d{4}-\d\d|[A-Z]{4,8}\b))|(?:stdout|stderr) [FP] |"
    r"\[?([EWIDF])[ ,]\s?(?:\d{6} \d\d:\d\d:\d\d [\w.\-]{1,60}:\d{1,6}\]|(?=\[?\d{2,4}[-/ ]))|<\d{1,3}>(?:1 )?"
)
_LEAD_LEVELS = {"E": ERROR, "F": ERROR, "W": WARN, "I": INFO, "D": DEBUG}
# One letter for the level, behind a time: "[E]", "|W|", "E ".
_LETTER = re.compile(r"[\[(<|]\s?([EFWID])\s?[\])>|]:?(?=\s|$)|([EFWD])(?=[\s|])")
_KLOG = re.compile(r"([EWIF])\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s{1,8}\d{1,9} [\w./\-]{1,200}:\d{1,7}\] ")
_RUBY_LOG = re.compile(r"([A-Z]), \[[^\]]{10,60}\]\s{1,4}([A-Z]{3,7}) -- [^:]{0,120}: ")
_LOGCAT = re.compile(r"([VDIWEF])/[\w.$\-]{1,60}\s{0,4}\(\s{0,4}\d{1,7}\): ?")
_NEST = re.compile(r"\[Nest\] \d{1,9}\s{1,4}- ")
_LEVEL_UPPER = re.compile(
    rf"(?:[\[(<|]?\s?|[a-z_]{{1,40}}\.)({_WORDS.upper()})\s?[\])>|]?(?:/[\w\-]{{1,60}}\]?)?:?(?=[\s:|\[\],]|$)"
)
# "Error: text" is how JavaScript shows an error and "panic: text" Go; there the word belongs to the message.
_LEVEL_MARKED = re.compile(
    rf"[\[(<]\s?((?i:{_WORDS}))\s?[\])>]:?(?=\s|$)|(?!panic:|fatal error:)({_WORDS.lower()}):(?=\s)"
)
# Lambda's .NET runtime: time, request, level and message between tabs.
_LEVEL_TABBED = re.compile(rf"(?<=\t)({_WORDS.lower()})(?=\t)")
_LEVEL_LOWER = re.compile(rf"(?:level|severity|lvl|at)=\"?({_WORDS})\"?(?=\s|$)", re.IGNORECASE)
# Behind the message; "log level=error set successfully" speaks of one.
_LEVEL_PAIR = re.compile(r"(?<![a-z]\s)(?<=\s)(?:level|severity|lvl)=\"?(error|err|fatal|panic)\"?(?=\s|$)")
_PY_BASIC = re.compile(r"([A-Z]{4,8}):([\w.\-]{1,100}):(?=\S)")
_ID = re.compile(
    rf"(?:(?:RequestId|request[_ -]?id|req[_-]?id|requestId)[:=] ?)?[\[(]?(?:({_UUID})|(?:req|"
    rf"request[_-]?id)[-_=:]([\w\-]{{4,64}}))[\])]?:?(?=[\s:\]]|$)"
)
_BRACKETS = re.compile(r"\[[^\[\]]{0,160}\](?::(?=\s))?|\{[\w./]{1,100}:\d{1,7}\}|\([\w./\-$]{1,120}:\d{1,7}\)")
_NUMBER = re.compile(r"\d{1,10}#\d{1,10}:(?: \*\d{1,12})?(?=\s)|#?\d{1,10}(?=\s+(?:---?\s|\[|[A-Z]{4,8}[\s:]))")
_SYSLOG = re.compile(
    r"[\w.\-]{1,100} [\w.\-/]{1,80} (?:\d{1,9}|-) [\w\-]{1,60} (?:-|\[[^\]]{0,400}\]) |"
    r"[\w.\-]{1,100} [\w.\-/]{1,80}(?:\[\d{1,9}\])?: "
)
_LOGGER = re.compile(
    r"(?:[a-z]\w{0,40}\.){2,10}[A-Z]\w{0,80}\.\w{1,80}(?=\s)|[\w.]{1,120}:[\w<>]{1,80}:\d{1,7}(?=\s+[-|] )|"
    r"\w{1,80}(?:::\w{1,80}){1,12}[:\]](?=\s)|"
    r"[A-Za-z][\w.]{2,120}\[\d{1,6}\](?=\s|$)|\w[\w.]{0,100}:\d{1,6}(?= - )|[\w.]{1,120}(?=\|)|"
    r"[\w$]{1,80}(?:[./][\w$\[\]\-]{0,100}){1,15}(?::\d{1,7})?\s{0,40}(?: [-–|]|:)(?=\s)|"
    r"[\w$.\-]{1,120}\s{0,20} - (?=[A-Z]{4,8} )|[A-Z]\w{1,60} - |[\w.\-]{1,80}@[\w.\-]{1,80}(?=\s[A-Z]{3,9}:)|"
    r"\w[\w\-]{0,60}(?=\s+[-|] )"
)
_LOCATION = re.compile(r"[\w./\-]{1,160}\.[a-z]{1,5}:\d{1,7}:?(?=\s)")
_PAIR = re.compile(
    r"(?:ts|time|timestamp|t|at|pid|tid|jid|class|elapsed|caller|logger|thread|span_id|trace_id|"
    r"host)=(?:\"[^\"]{0,160}\"|\S{1,160})(?=\s)"
)
# Sidekiq says before every line which job it was.
_JOB = re.compile(r"\bclass=([A-Z][\w:]{0,160})(?=\s|$)")
_SEPARATOR = re.compile(r"(?:\t|\s{0,20}\|\s?|\s?---?\s|\s?[-–|>:]\s|\s{1,20})")
_REQUEST = re.compile(rf"\b(?:aws_?)?request[_ -]?id[\"']?[:=]\s?[\"']?({_UUID}|[\w\-]{{6,64}})", re.IGNORECASE)
_FINGERPRINT = re.compile(r"(?:^|\s)(?:error[._])?fingerprint=\"?([^\s\"]{1,200})")


def plain(text: str) -> Record:
    """Takes what loggers put before a message off the first line, piece by piece; indentation behind it stays."""
    head, _, rest = text[:MAX_TEXT].replace("\r\n", "\n").replace("\r", "\n").partition("\n")
    line = head[:2_000]
    at, level, request = 0, None, None
    seen_time = False
    for _ in range(24):
        found, consumed = None, False
        if match := _KLOG.match(line, at):
            level, found = level or {"E": ERROR, "F": ERROR, "W": WARN, "I": INFO}[match[1]], match
        elif at == 0 and (match := _LOGCAT.match(line)):
            level, found = {"E": ERROR, "F": ERROR, "W": WARN, "I": INFO}.get(match[1], DEBUG), match
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
            match := _LEVEL_UPPER.match(line, at)
            or _LEVEL_MARKED.match(line, at)
            or _LEVEL_TABBED.match(line, at)
            or _LEVEL_LOWER.match(line, at)
        ):
            level, found = level_of(next(filter(None, match.groups()))), match
        elif not level and seen_time and (match := _LETTER.match(line, at)):
            level, found = _LEAD_LEVELS[match[1] or match[2]], match
        elif not level and (match := _LEAD.match(line, at)):
            level, found = _LEAD_LEVELS.get(match[1] or "", level), match
        if found is None and (seen_time or level):
            found = (
                _BRACKETS.match(line, at)
                or _PAIR.match(line, at)
                or _NUMBER.match(line, at)
                or (_syslog(line, at) if seen_time and not level else None)
                or _logger(line, at)
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
    body, level = _named_first(body, level, seen_time=seen_time)
    if request:
        # Rails writes its tags before every line.
        rest = rest.replace(f"[{request}] ", "")
    whole = f"{body}\n{_bare(rest, line[:_SAME_START])}" if rest else body
    logfmt = _logfmt(body) if "msg=" in body or "message=" in body or _KLOG_QUOTED.match(body) else None
    if request is None and (match := _REQUEST.search(line)):
        request = match[1]
    if level is None and (match := _LEVEL_PAIR.search(line, at)):
        level = level_of(match[1])
    explicit = _FINGERPRINT.search(line)
    prefix = line[:at]
    job = _JOB.search(prefix) if "jid=" in prefix else None
    record = Record(
        whole,
        level,
        request_id=request,
        has_prefix=at > 0,
        explicit=explicit_of(explicit[1]) if explicit else None,
        details=(("job", job[1]),) if job else (),
    )
    return _with_logfmt(record, logfmt) if logfmt else record


_NAMED_FIRST = re.compile(
    rf"(?:([\w.\-]{{2,60}}: )|[\w.\-/]{{1,60}}\[\d{{1,9}}\]: )[\[(<]?({_WORDS}|{_WORDS.upper()})[\])>]?(?:: ?| )(?=\S)"
)


# Behind a time: "spooler ERROR: …", "stock WARN …".
_NAMED_LEVEL = re.compile(
    r"([\w.\-]{2,60} )\[?(ERROR|ERR|FATAL|CRITICAL|CRIT|SEVERE|WARNING|WARN|INFO|NOTICE|DEBUG|TRACE)\]?:? (?=\S)"
)


def _named_first(body: str, level: str | None, *, seen_time: bool) -> tuple[str, str | None]:
    """A program that names itself before the level: "importer: ERROR: …", "backup[712]: error …"."""
    if seen_time and not level and (found := _NAMED_LEVEL.match(body)):
        return f"{found[1]}{body[found.end() :]}", level_of(found[2])
    found = _NAMED_FIRST.match(body)
    if not found or (found[1] and found[0].rstrip()[-1] not in ":])>" and not found[2].isupper()):
        return body, level
    return f"{found[1] or ''}{body[found.end() :]}", level or level_of(found[2])


# What systemd looks after.
_UNITS = (".service", ".socket", ".timer", ".mount", ".scope", ".slice", ".target")


def _syslog(line: str, at: int) -> re.Match[str] | None:
    found = _SYSLOG.match(line, at)
    if found and (strength(found[0].rstrip(": ")) >= USUAL or _NAMED_LEVEL.match(found[0] + ".")):
        return None
    return found


def _logger(line: str, at: int) -> re.Match[str] | None:
    found = _LOGGER.match(line, at)
    # "java.lang.IllegalStateException: ..." is what was raised, "nginx.service: ..." what failed: neither logs. Without
    # "spring.datasource.password: " nobody would know a password for one.
    name = found[0].strip(" :-–|") if found else ""
    return None if ends_like_a_type(name) or name.endswith(_UNITS) or strength(name) >= USUAL else found


def _bare(rest: str, start: str) -> str:
    """Further lines; a logger that writes its prefix before every line is taken at its word."""
    if not rest or start[:1].isspace() or f"\n{start}" not in f"\n{rest}":
        return rest
    return "\n".join(plain(line).body if line.startswith(start) else line for line in rest.split("\n", 1_000))


_LOGFMT = re.compile(r"(?:^|\s)([\w.]{1,60})=(\"(?:[^\"\\]|\\.){0,1500}\"|[^\s\"]{0,400})")


_KLOG_QUOTED = re.compile(r"\"([^\"\\]{1,500})\" (?=[\w.]{1,60}=)")


def _logfmt(text: str) -> dict[str, str]:
    quoted = _KLOG_QUOTED.match(text)
    pairs: dict[str, str] = {"msg": quoted[1]} if quoted else {}
    for match in _LOGFMT.finditer(text[:2_000]):
        value = match[2]
        pairs.setdefault(match[1].lower(), value[1:-1].replace('\\"', '"') if value[:1] == '"' else value)
    return pairs


_CAUSE_KEYS = ("err", "error", "exception", "reason", "cause")


def _with_logfmt(record: Record, pairs: dict[str, str]) -> Record:
    level = record.level or level_of(pairs.get("level") or pairs.get("severity") or pairs.get("lvl") or "")
    stack = pairs.get("stack") or pairs.get("stacktrace") or ""
    cause = next(filter(None, map(pairs.get, _CAUSE_KEYS)), "")
    return replace(
        record,
        body=joined(pairs.get("msg") or pairs.get("message") or "", cause) or record.body,
        level=level,
        stack=stack.replace("\\n", "\n").replace("\\t", "\t"),
        details=details_of(pairs),
        values=values_of(pairs),
    )


def joined(message: str, cause: str) -> str:
    """A log message and the error it speaks of, said once."""
    return f"{message}: {cause}" if message and cause and cause not in message else message or cause


_CODE_KEYS_WORDS = """
    code error_code errorcode error.code err.code err.errno errno status statuscode status_code http.status_code
    http.response.status_code response.status error.status err.status grpc.code grpc_code
    """
_CODE_KEYS = _CODE_KEYS_WORDS.split()
_CODE = re.compile(
    r"-?[45]\d\d|-?\d{4,5}|[A-Z][A-Z]*(?:_[A-Z0-9]+)+|E[A-Z]{2,20}|[A-Z]{1,6}-?\d{1,6}|[A-Z][a-z]+(?:[A-Z][a-z]+)+"
)


def details_of(fields: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The codes among a record's fields that tell one failure from another: error codes and HTTP statuses."""
    found = ((key, str(value)) for key in _CODE_KEYS if isinstance(value := fields.get(key), str | int))
    return tuple((key, value) for key, value in found if _CODE.fullmatch(value))


# Which of these it is tells problems apart.
_PARTS_WORDS = """
    job task feature flag plan provider endpoint driver service upstream component module app application program queue
    topic table column field key attribute param parameter property method operation op function action command event
    stage step phase code status state reason cause type kind class level severity error err exception message msg detail
    controller resource permission role policy backend dependency database db engine plugin extension package
    """
_PARTS = frozenset(_PARTS_WORDS.split())
_VALUE = re.compile(r"[^\W\d_][\w.\-']{2,60}(?: [\w.\-']{1,60}){0,3}")
_MAX_VALUES = 20


def values_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """What a record's own fields call a customer, a place, a thing: a value in its message as well.

    A thing is what is known for one ("shelf": "maps"), or what the message names by the field ("tribe": "red" where it
    says "tribe red").
    """
    texts = [value[:2_000] for value in fields.values() if isinstance(value, str)]
    found = (
        value
        for key, value in fields.items()
        if isinstance(value, str)
        and (name := key.lower().rsplit(".", 1)[-1].removesuffix("_name").removesuffix("_id")) not in _PARTS
        and _VALUE.fullmatch(value)
        and not is_plain(value.lower())
        and (is_thing(name) or any(f"{name} {value}" in text for text in texts))
    )
    return tuple(dict.fromkeys(found))[:_MAX_VALUES]
