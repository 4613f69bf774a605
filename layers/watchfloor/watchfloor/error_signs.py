"""Which log records are errors, and which of them are Lambda's own words about a function that died."""

from __future__ import annotations

import re

from watchfloor.log_records import DEBUG, ERROR, INFO, WARN, Record
from watchfloor.stack_traces import Trace
from watchfloor.trace_headers import header, inline_type

TIMEOUT, OUT_OF_MEMORY, RUNTIME_EXIT = "Lambda.Timeout", "Lambda.OutOfMemory", "Lambda.RuntimeExit"

_TIMED_OUT = re.compile(r"(?:^|\s)Task timed out after \d{1,6}(?:\.\d{1,6})? seconds")
_EXITED = re.compile(
    r"(?:Runtime exited (?:with error|without providing a reason)|Process exited before completing request)(.{0,200})"
)
_REPORT = re.compile(
    r"^(?:INIT_)?(?:REPORT|RESTORE_REPORT)\b.{0,1500}\bStatus: (timeout|error|"
    r"failure)(?:\s{1,4}Error Type: ([\w.]{1,80}))?",
    re.DOTALL,
)
_MEMORY = re.compile(r"Memory Size: (\d{1,6}) MB\s{1,4}Max Memory Used: (\d{1,6}) MB")
_RUNTIME = re.compile(r"\b(Runtime\.[A-Z]\w{2,60}|Extension\.[A-Z]\w{2,60}|Sandbox\.[A-Z]\w{2,60})\b")
_START_END = re.compile(
    r"^(?:START|END|REPORT|INIT_START|INIT_REPORT|RESTORE_START|RESTORE_REPORT|EXTENSION|TELEMETRY|LOGS|XRAY TraceId)\b"
)


def platform_type(record: Record) -> str | None:
    """The type of what Lambda itself reports about a function, None for the function's own records."""
    text = record.body[:2_000]
    fields = dict(record.details)
    if fields.get("type", "").startswith("platform."):
        status = fields.get("record.status", "")
        if status == "timeout":
            return TIMEOUT
        return _exit_type(fields.get("record.errortype", "")) if status in ("error", "failure") else None
    if _TIMED_OUT.search(text):
        return TIMEOUT
    exited = _EXITED.search(text)
    if exited:
        return OUT_OF_MEMORY if "signal: killed" in exited[1] or "Runtime.OutOfMemory" in text else RUNTIME_EXIT
    report = _REPORT.match(text)
    if report:
        if report[1] == "timeout":
            return TIMEOUT
        memory = _MEMORY.search(text)
        full = memory is not None and int(memory[1]) <= int(memory[2])
        return OUT_OF_MEMORY if full else _exit_type(report[2] or "")
    named = _RUNTIME.search(text[:300]) or _RUNTIME.match(record.type)
    return _exit_type(named[1]) if named and (record.level in (None, ERROR)) else None


def _exit_type(name: str) -> str:
    if name in ("Runtime.ExitError", ""):
        return RUNTIME_EXIT
    return OUT_OF_MEMORY if name == "Runtime.OutOfMemory" else name


_FAILURE = re.compile(
    r"\b(?:error|errors|errored|fail|failed|fails|failing|failure|failures|exception|fatal|panic|panicked|crash|"
    r"crashed|abort|aborted|refused|denied|"
    r"forbidden|unauthorized|timed out|timeout|time-out|cannot|can't|could not|couldn't|unable|unhandled|uncaught|"
    r"killed|corrupt|corrupted|exceeded|"
    r"unreachable|no space left|out of memory|segmentation fault|segfault|oom|deadlock|not found|undefined|invalid|"
    r"broken pipe|reset by peer|core dumped|"
    r"traceback|does not exist|no such|unavailable|not permitted|violates|unexpected|throttled|throttling|rejected|"
    r"lost connection|must not be|is null|already in use|exhausted|too many|too large|unhealthy|mismatch|expired|"
    r"already (?:taken|exists|booked|reserved|claimed)|abend|abended|died|(?:is|went) down(?! (?:to|by|from|\d))|not responding|unresponsive|no response|"
    r"gave up|giving up|overflow|out of range|insufficient|malformed|not (?:a )?valid|wrong|exit(?:ed)?(?: with)? (?:status|code)[ :=]{1,2}[1-9]\d{0,2}|fehlgeschlagen|fehler|erreur|échec|échoué|falló|fallido|errore|"
    r"fallito|falhou|fout|mislukt)\b|\bERR!",
    re.IGNORECASE,
)
# What a line says when nothing went wrong although the word is there.
_CASUAL = re.compile(
    r"\b(?:0|no|zero|without(?: any)?|any|free of|non[- ])[ _-]?(?:error|failure|exception|fail|timeout|"
    r"crash)\w{0,4}\b|"
    r"\b\w{0,30}(?:error|errors|failure|failures|failed|exceptions|fail|timeouts?)(?:[_ -]?(?:rate|count|total|ratio|"
    r"budget|percent(?:age)?|s))?\"?\s?[=:]\s?\"?(?:(?:0(?:\.0{1,6})?%?|\[\]|\{\}|\"\"|"
    r"'')(?=[\s,;)}\]\"'|]|$)|(?:none|null|nil|false|no)(?=\s*(?:[,;)}\]\"'|]|$|\w+[=:])))|"
    r"\berrors?[ _-]?(?:rate|budget|handler|handling|page|reporting|tracking|log(?:s|ger|ging)?|boundary|middleware|"
    r"count|codes?|metrics?|threshold|recovery|correction)\b|"
    r"\b(?:failover|fail[- ]?safe|fail[- ]?fast|timeouts? (?:set|configured|is|of|was set)|request[_ ]timeout=|"
    r"exception handlers?)\b|"
    r"\bnothing (?:is |was |went )?wrong\b|\b(?:recovered|resolved|succeeded|successfully|cleared|passed|fixed|retry succeeded|handled|skipping|ignoring|ignored)\b|"
    r"timeout[_=:]\s?\"?\d|\b200 OK\b|\b0 failed\b",
    re.IGNORECASE,
)
_RETRYING = re.compile(r"\b(?:will retry|retrying|retry in|backing off|trying again|reconnecting)\b", re.IGNORECASE)
_CRASH = re.compile(
    r"^(?:panic: |fatal error: |thread '[^']{0,80}'.{0,20} panicked at|Uncaught |Unhandled |PHP Fatal error|"
    r"Exception in thread |\*\* \(|"
    # A shell names the line of the script only when something is wrong with it; curl's numbers are its errors.
    r"[\w./\-]{1,200}: line \d{1,6}: (?!warning)|curl: \(\d{1,2}\) )"
)
_HTTP_5XX = re.compile(r"\" 5\d\d \d|\|\s5\d\d\s\||\bstatus[=:]\s?5\d\d\b|\bHTTP/\d(?:\.\d)?\" 5\d\d\b")
_HTTP_OK = re.compile(r"\" [123]\d\d (?:\d|-)|\|\s[123]\d\d\s\|")
_PLACES = re.compile(
    r"(?<![\w=:])(?:'[^']{1,80}'|\"[^\"]{1,80}\")(?!\w)|(?:\b[a-z]{2,10}:/)?/[^\s\"']{1,500}|[\w.\-]{1,120}\.(?:html?|"
    r"py|js|ts|rb|go|java|php|css|csv|json|txt|log|pdf|xml|ya?ml)\b"
)
# Where V8 noticed that its heap is full is chance.
_V8_HEAP = re.compile(r"ERROR: .{0,200}(Allocation failed - (?:JavaScript heap|process) out of memory)")
_WORD = re.compile(r"[^\W\d_]{3}")
_DECORATED = re.compile(r"[\W_]{3}")
_MAX_LINES = 40


def is_error(record: Record, trace: Trace | None) -> bool:
    """Whether somebody on call would call it an error.

    The level that the developer gave decides. A trace overrules INFO (`console.log(error)` writes it so) and WARN, but
    not DEBUG. Without a level, the words decide: a crash or an exception's name, or a word of failure in a line that
    does not say that there was none.
    """
    if platform_type(record):
        return True
    if _START_END.match(record.body) or dict(record.details).get("type", "").startswith("platform."):
        return False
    if not record.body.strip() and not record.type and not record.stack:
        return False
    if record.level == ERROR:
        return True
    if record.level == DEBUG:
        return False
    if trace or _CRASH.match(record.body):
        return True
    lines = [line.strip()[:2_000] for line in record.body.lstrip().split("\n", _MAX_LINES)[:_MAX_LINES]]
    first = lines[0]
    if record.level == INFO:
        return bool(record.stack and record.type)
    named = bool(record.type) or header(first) is not None
    if record.level == WARN:
        inline = named or inline_type(first) is not None
        return inline and not _RETRYING.search(first)
    details = dict(record.details)
    if details.get("type", "").endswith(("Failed", "TimedOut", "Aborted")):
        return True
    return named or any(map(reads_as_failure, lines))


def gist(text: str) -> str:
    """What a record without trace and type says: its first line, or where that says nothing the lines of failure."""
    lines = [line.strip() for line in text.split("\n", _MAX_LINES)[:_MAX_LINES]]
    if heap := _V8_HEAP.search("\n".join(lines)):
        return heap[1]
    first = next((line for line in lines if _WORD.search(line)), "")
    if _FAILURE.search(first) or inline_type(first):
        return first
    failing = [line for line in lines if line != first and reads_as_failure(line[:2_000])]
    return " | ".join(failing[:2]) if _DECORATED.match(text.lstrip()) and failing else " | ".join([first, *failing[:2]])


def reads_as_failure(line: str) -> bool:
    """Whether a line without a level speaks of a failure, and not of none."""
    if _HTTP_5XX.search(line):
        return True
    if _HTTP_OK.search(line):
        return False
    # A path, an address or what is quoted may be called like a failure.
    words = _PLACES.sub(" ", line)
    return (
        bool(_FAILURE.search(words) or inline_type(words)) and not _CASUAL.search(words) and not _RETRYING.search(words)
    )
