"""Traces that a logger split over log events, a line each, put together again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from watchfloor import traces_go, traces_other, traces_python, traces_ruby
from watchfloor.error_signs import reads_as_failure
from watchfloor.log_records import ERROR, MAX_TEXT, WARN, Record, read
from watchfloor.stack_frames import PYTHON
from watchfloor.stack_traces import language_of_line
from watchfloor.trace_headers import header, inline_type

if TYPE_CHECKING:
    from watchfloor.log_events import LogEvent

# Lines of one trace come within seconds; others may stand between them, within reason.
_MAX_GAP_SECONDS, _MAX_FOREIGN_LINES = 10.0, 200
# A message of many lines before its trace.
_MAX_MESSAGE_LINES = 30
_MAX_LOOK, _MAX_LINE = 50, 2_000

PYTHON_START = "Traceback (most recent call last)"
_PYTHON_LINKS = ("During handling of the above exception", "The above exception was the direct cause")
_MARKER = re.compile(
    r"^\s{0,60}(?:Caused by: |Suppressed: |Wrapped by: |\.\.\. \d{1,6} (?:more|common frames)|--- End of |---> |"
    r"During handling of the above|"
    r"The above exception was the direct|goroutine \d{1,12} \[|created by |\[signal |\[(?:cause|errors)\]: |"
    r"\[Previous line repeated|"
    r"Stack ?[Tt]race:|stack backtrace:|note: run with|thrown in |#\d{1,4} |\+-[-+]|\| |exit status \d|\*\* \(|"
    r"future: <|[~^]{1,200}$)"
)
# What drivers and runtimes say below an error, without indenting it.
_TRAILER = re.compile(
    r"^(?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION):\s|^LINE \d{1,6}: |^\[SQL: |^\[parameters: |"
    r"^\(Background on this error|^Error Number:|"
    r"^ClientConnectionId:|^Require stack:|^- /|^File name: |^Error #\d{1,3}: |^Runtime\.[A-Z]\w{2,40}$|"
    r"^[})\]]{1,3}[,;]?$"
)
_RECOVERED = "panic recovered:"
# Of the JVM, so below a Python trace only where that went into the JVM itself, as Spark's do.
_JVM_CAUSE, _JVM_FRAMES = "Caused by: ", ("at ", "... ")


@dataclass(slots=True)
class Opened:
    """A record, and the events in which it goes on."""

    record: Record
    events: list[LogEvent]
    lines: list[str] = field(default_factory=list)
    size: int = 0
    # Lines since its last one, and whether one of them came without a logger's prefix.
    foreign: int = 0
    apart: bool = False
    in_python: bool = False
    in_go: bool = False
    framed: bool = False
    last_line: str = ""
    # Lines that its statement or its message may go on for.
    expected: int = 0

    def add(self, body: str) -> None:
        """Takes a further body in, as far as anybody reads."""
        if self.size < MAX_TEXT:
            self.lines.append(body)
            self.size += len(body)
        for line in body.split("\n", _MAX_LOOK)[:_MAX_LOOK] if not self.lines[1:] else (body[:_MAX_LINE],):
            self.in_python = self.in_python or PYTHON_START in line
            self.in_go = self.in_go or "goroutine " in line
            self.framed = self.framed or language_of_line(line[:_MAX_LINE]) is not None
        last = body.rstrip().rsplit("\n", 1)[-1][:_MAX_LINE]
        self.last_line = last if last.strip() else self.last_line
        self.expected = _expected(last, self.expected)
        self.foreign, self.apart = 0, False

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)


def _expected(line: str, before: int) -> int:
    """How many more lines may follow as they are: of an SQL statement in brackets, of a message below its type."""
    if line.startswith("[SQL: ") and not line.endswith("]"):
        return _MAX_MESSAGE_LINES
    if line.endswith(":") and (found := header(line)) and not found[1]:
        return _MAX_MESSAGE_LINES
    if line.endswith("]") or language_of_line(line):
        return 0
    return max(0, before - 1)


def assembled(events: Sequence[LogEvent]) -> list[Opened]:
    """The records of a log, in the order in which they begin."""
    records = [read(event.message) for event in events]
    started: list[Opened] = []
    by_request: dict[str, Opened] = {}
    current: Opened | None = None
    last: Opened | None = None
    for index, (event, record) in enumerate(zip(events, records, strict=True)):
        home = by_request.get(record.request_id, current) if record.request_id else current
        following = _first(records[index + 1]) if index + 1 < len(records) else ""
        if home and _is_near(home, event) and _belongs(home, record, last is home, following):
            home.events.append(event)
            home.add(record.body)
            last = home
            continue
        if current:
            current.foreign += 1
            current.apart = current.apart or not record.has_prefix
        last = Opened(record, [event])
        last.add(record.body)
        started.append(last)
        if _opens(record):
            current = last
        if record.request_id and (current is last or record.level == ERROR):
            by_request[record.request_id] = last
    return started


def _first(record: Record) -> str:
    return record.body.split("\n", 1)[0][:_MAX_LINE]


def _is_near(home: Opened, event: LogEvent) -> bool:
    return event.time - home.events[-1].time <= _MAX_GAP_SECONDS and home.foreign <= _MAX_FOREIGN_LINES


def _opens(record: Record) -> bool:
    """Whether more of it may follow: an error, or the beginning of a trace."""
    if record.type or record.stack or record.level not in (None, ERROR, WARN) or not record.body.strip():
        return False
    first = _first(record)
    if record.level == ERROR or PYTHON_START in first or language_of_line(first):
        return True
    named = header(first) is not None or inline_type(first) is not None
    return named or (
        record.level is None and (first.startswith("goroutine ") or _RECOVERED in first or reads_as_failure(first))
    )


def _belongs(home: Opened, record: Record, adjacent: bool, following: str) -> bool:
    if record.type or record.stack or record.structured != home.record.structured:
        return False
    line = _first(record)
    if not line.strip():
        return adjacent or record.has_prefix
    if _begins(line) or _is_whole(record.body):
        return False
    if home.in_python and line.startswith(_JVM_CAUSE) and not home.last_line.lstrip().startswith(_JVM_FRAMES):
        return False
    if language_of_line(line) or _MARKER.match(line):
        return True
    if PYTHON_START in line:
        linked = home.last_line.strip().startswith(_PYTHON_LINKS)
        return linked or (not home.apart and not home.in_python and not home.framed)
    if traces_go.FILE.match(following) and traces_go.CALL.match(line) and " " not in line.strip().split("(", 1)[0]:
        return True
    indented = line[:1].isspace()
    same_request = record.request_id is not None and record.request_id == home.record.request_id
    if record.has_prefix and record.level and not indented:
        return False
    if adjacent and home.expected and not record.has_prefix:
        return True
    if (adjacent and (indented or _TRAILER.match(line))) or (indented and language_of_line(home.last_line) == PYTHON):
        return True
    if header(line) and (same_request or not record.has_prefix):
        # The exception's name under a Python trace, or under the line that announces it.
        if header(_first(home.record)):
            # It is named already, as Lambda's Python runtime does.
            return False
        waits = home.in_python and (home.last_line[:1].isspace() or language_of_line(home.last_line) is not None)
        return waits or (not home.apart and not home.framed)
    if adjacent and home.in_python and home.last_line[:1].isspace() and traces_python.last_line(line):
        return True
    return adjacent and not record.has_prefix and _is_message(home, line)


def _begins(line: str) -> bool:
    """Whether a line can only be a trace's first one."""
    found = traces_ruby.FRAME.match(line)
    heads_ruby = bool(found and found[4]) and "from " not in line[:12]
    return heads_ruby or traces_other.RUST_PANIC.match(line) is not None or line.lstrip().startswith("⨯ ")


def _is_whole(body: str) -> bool:
    """Whether an event brings a trace with its head: then it goes on with no other event."""
    lines = [line[:_MAX_LINE] for line in body.split("\n", _MAX_LOOK)[:_MAX_LOOK]]
    if len(lines) == 1 or _MARKER.match(lines[0]) or language_of_line(lines[0]):
        return False
    headed = PYTHON_START in lines[0] or header(lines[0]) is not None
    return headed and any(language_of_line(line) for line in lines[1:])


def _is_message(home: Opened, line: str) -> bool:
    """Whether a plain line goes on with what the first line began to say."""
    first = _first(home.record)
    if traces_other.RUST_PANIC.match(first):
        return len(home.lines) == 1 and first.endswith(":")
    if home.framed or len(home.lines) > _MAX_MESSAGE_LINES:
        return False
    named = header(first)
    if _RECOVERED in first or (named and not named[1]):
        return True
    return bool(named) and home.record.level == ERROR and not reads_as_failure(line)
