"""A triage report as those who write messages read it.

Report, besides `fingerprint` and `title` all optional: `count`, `first_seen`, `last_seen` (epoch seconds), `status`,
`generation`, `log_group`, `log_stream`, `grouped_by` {rule, reason}, `error` {type, message, language, frames, innermost first},
`context` [line or {id, time, text, is_error}], `verdict`, `answer` {what_happened, likely_cause, next_steps, evidence
[{line, quote}], side, links}, `evidence` [{kind, source, text, url, note}], `missing` [text or {what, why}], `limits`
[text], `links` {report, logs, execution}, `doubts` [why the verdict is no better one], `model`.

State: what of the report has changed (`count`, `first_seen`, `last_seen`, `status`), and `by`, `until` (epoch
seconds), `note`, `into` (fingerprint) and `per_day` {date: count}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from watchfloor.foreign_text import one_line

STACK_OVERFLOW, EARLIER, DEPLOYMENT, REQUEST = "stack_overflow", "earlier_incident", "deployment", "request"
CAUSE_TITLES = {
    "CONFIRMED": "Cause",
    "LIKELY": "Likely cause",
    "INCONCLUSIVE": "Possible cause",
    "NO_ANSWER": "Cause unknown",
}
SIDES = {"application": "in the application", "infrastructure": "in the infrastructure"}
LINKS = (("report", "Whole report"), ("logs", "Log"), ("execution", "Execution"))
# What Lambda writes in front of each line: time, request id and level, in one order or the other.
_LAMBDA_PREFIX = re.compile(
    r"(?:\[(?P<python>[A-Z]{1,10})\]\s{1,4})?\d{4}-\d\d-\d\dT[\d:.]{8,18}Z\s{1,4}[0-9a-f]{8}-[0-9a-f-]{27}\s{1,4}"
    r"(?:(?P<node>[A-Z]{1,10})\t)?"
)
_LANGUAGES = {"node": "Node.js", "javascript": "JavaScript", "dotnet": ".NET"}
# Where Lambda puts a function's code.
_TASK_ROOT = "/var/task/"
# Addresses of consoles are long.
OUR_URL_CHARACTERS = 2_000


def words(value: object) -> str:
    """The text of something that is a text, or holds one."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("text", "message", "title", "quote", "why") if value.get(key)), "")
    return str(value or "").strip()


def without_prefix(line: str) -> str:
    """A log line without the time and the request id that Lambda puts in front; its level stays."""
    found = _LAMBDA_PREFIX.match(line)
    if not found:
        return line
    level = found["python"] or found["node"]
    return (f"[{level}] " if level else "") + line[found.end() :]


def ends_of(text: str) -> str:
    """First and last line of several: a trace in between is told elsewhere."""
    lines = text.split("\n")
    return text if len(lines) < 4 else f"{lines[0]}\n    … {len(lines) - 2} lines …\n{lines[-1]}"


@dataclass(frozen=True)
class ReportView:
    """A report and its state; all text in it is still foreign."""

    data: Mapping[str, Any]

    @classmethod
    def of(cls, report: Mapping[str, Any], state: Mapping[str, Any] | None) -> ReportView:
        return cls({**report, **{key: value for key, value in (state or {}).items() if value is not None}})

    @property
    def fingerprint(self) -> str:
        return one_line(self.data.get("fingerprint"), 64)

    @property
    def title(self) -> str:
        return one_line(self.data.get("title") or self.said or self.fingerprint, 200)

    @property
    def said(self) -> str:
        """The error in its own words."""
        return ": ".join(str(self.error[key]) for key in ("type", "message") if self.error.get(key))

    @property
    def status(self) -> str:
        return str(self.data.get("status") or "open").lower()

    @property
    def verdict(self) -> str:
        verdict = str(self.data.get("verdict") or "NO_ANSWER")
        return verdict if verdict in CAUSE_TITLES else "NO_ANSWER"

    @property
    def error(self) -> Mapping[str, Any]:
        return self.data.get("error") or {}

    @property
    def answer(self) -> Mapping[str, Any]:
        return self.data.get("answer") or {}

    @property
    def links(self) -> Mapping[str, str]:
        return self.data.get("links") or {}

    @property
    def cause(self) -> str:
        return words(self.answer.get("likely_cause"))

    @property
    def steps(self) -> list[str]:
        steps = self.answer.get("next_steps") or []
        texts = (words(step) for step in ([steps] if isinstance(steps, str) else steps))
        return [" ".join(text.split()) for text in texts if text]

    @property
    def quotes(self) -> list[tuple[str, str]]:
        """What the answer is founded on: id of the line, and what it says."""
        rows = self.answer.get("evidence") or []
        return [
            (str(row.get("line") or ""), words(row.get("quote") or row)) if isinstance(row, Mapping) else ("", str(row))
            for row in rows
        ]

    @property
    def frames(self) -> list[str]:
        """Own frames first, then the others, as they stand in the trace."""
        frames = [frame for frame in self.error.get("frames") or [] if isinstance(frame, Mapping)]
        ordered = [f for f in frames if f.get("in_app")] + [f for f in frames if not f.get("in_app")]
        return [_frame(frame) for frame in ordered]

    @property
    def spot(self) -> str:
        """Where it went wrong, in few words: the first frame, without the folders that all code of the place is in."""
        frame = self.frames[0] if self.frames else ""
        file, space, rest = frame.partition(" ")
        return (file if file[:1] != "/" else file.rpartition("/")[2]) + space + rest

    def context(self, lines: int, in_full: bool = False) -> list[str]:
        """So many log entries around the error, each with its id where the answer may cite it."""
        rows = [row if isinstance(row, Mapping) else {"text": row} for row in self.data.get("context") or []]
        at = next((number for number, row in enumerate(rows) if row.get("is_error")), len(rows) // 2)
        start = max(0, min(at - lines // 2, len(rows) - lines))
        return [
            ("▶ " if row.get("is_error") else "  ")
            + (f"{row['id']} " if row.get("id") else "")
            + (words(row) if in_full else ends_of(without_prefix(words(row))))
            for row in rows[start : start + lines]
        ]

    def evidence(self, *kinds: str) -> list[Mapping[str, Any]]:
        rows = [row for row in self.data.get("evidence") or [] if isinstance(row, Mapping)]
        return [row for row in rows if row.get("kind") in kinds]

    @property
    def facts(self) -> list[Mapping[str, Any]]:
        """Evidence of any other kind: deployments, alarms, configuration; log lines after those."""
        rows = [row for row in self.data.get("evidence") or [] if isinstance(row, Mapping)]
        facts = [row for row in rows if row.get("kind") not in (STACK_OVERFLOW, EARLIER)]
        return sorted(facts, key=lambda row: row.get("kind") == REQUEST)

    @property
    def missing(self) -> list[str]:
        return [_missing(row) for row in self.data.get("missing") or []]

    @property
    def limits(self) -> list[str]:
        return [words(row) for row in self.data.get("limits") or []]

    @property
    def grouping(self) -> str:
        grouped = self.data.get("grouped_by") or {}
        if not isinstance(grouped, Mapping):
            return str(grouped)
        return ": ".join(str(grouped[key]) for key in ("rule", "reason") if grouped.get(key))

    @property
    def count(self) -> int:
        return int(self.data.get("count") or 1)

    @property
    def place(self) -> list[str]:
        language = str(self.error.get("language") or "")
        named = _LANGUAGES.get(language, language.capitalize())
        return [str(value) for value in (self.data.get("log_group"), named) if value]

    @property
    def doubts(self) -> list[str]:
        return [words(row) for row in self.data.get("doubts") or []]


def _missing(row: object) -> str:
    if isinstance(row, Mapping) and row.get("what"):
        return ": ".join(str(row[key]) for key in ("what", "why") if row.get(key))
    return words(row)


def _frame(frame: Mapping[str, Any]) -> str:
    where = str(frame.get("file") or frame.get("module") or "?").removeprefix(_TASK_ROOT)
    line = f":{frame['line']}" if frame.get("line") else ""
    function = f" in {frame['function']}" if frame.get("function") else ""
    return f"{where}{line}{function}"
