"""What is found out about an incident, put together: log lines, facts, evidence, what is missing, the report.

Documents of the steps (S3, `IncidentLayout`): the error `{error, grouped_by}`, the context `{error, lines, facts}`, each
source of evidence a list of `{kind, source, text, url}` (an earlier incident with the `note` of who resolved it), the
answer `{verdict, answer, reasons, ...}`. All of them hold redacted text only. `watchfloor.report_view` says what the report holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from watchfloor.answers import NO_ANSWER
from watchfloor.foreign_text import one_line
from watchfloor.incidents import OPEN, REOPENED, RESOLVED, Incident
from watchfloor.log_events import DATA, ErrorEvent, LogBatch, LogEvent, errors_in
from watchfloor.mails import subject_line
from watchfloor.message_templates import MASK, template
from watchfloor.redaction import PLACEHOLDER, Redactor
from watchfloor.report_view import EARLIER, STACK_OVERFLOW
from watchfloor.runs import console_link, root_failure

LAMBDA_LOGS = "/aws/lambda/"
# A deployment as long before an error may have to do with it.
RECENT_SECONDS = 86_400
# Errors whose words are our own; those of others could hold anything.
_OURS = {"InvalidInputError", "TransientError", "UnknownOutcomeError", "NotFoundError", "ModelError", "ConflictError"}
_WHY_CHARACTERS = 300
_QUERY_CHARACTERS = 120

Json = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """Lines around an error, the error's own marked, and the error as these lines tell it."""

    error: ErrorEvent
    lines: list[Json]


# --- around the error ---------------------------------------------------------------------------------------------


def context_of(error: ErrorEvent, lines: Sequence[Mapping[str, Any]], place: int) -> Context:
    """Number the lines, mark those of the error, and complete the error by what arrived after it.

    Parameters
    ----------
    lines
        `{time, text}`, in the order of their stream.
    place
        Number of the error's first line; -1 where it is not among them.
    """
    own = {place} if place >= 0 else set()
    events = [LogEvent(str(number), line["time"], line["text"]) for number, line in enumerate(lines)]
    batch = LogBatch(DATA, "", error.log_group, error.log_stream, [], events)
    for seen in errors_in(batch) if own else []:
        numbers = {int(event_id) for event_id in seen.event_ids}
        if place in numbers:
            own = numbers
            if len(seen.frames) > len(error.frames) or (seen.type and not error.type):
                error = replace(seen, id=error.id, event_ids=error.event_ids, explicit=error.explicit)
    rows = [
        {"id": f"L{number}", "time": line["time"], "text": line["text"], "is_error": number - 1 in own}
        for number, line in enumerate(lines, 1)
    ]
    return Context(error, rows)


def not_found(lines: Sequence[Mapping[str, Any]], place: int) -> list[Json]:
    """What is missing where the error's own line was not found; parameters as of `context_of`."""
    if place >= 0:
        return []
    shown = "the lines shown are those before its time" if lines else "there are no lines before its time either"
    return [lacks("the log around it", f"its own line was not found in the stream; {shown}")]


def redacted_lines(rows: Sequence[Json], redactor: Redactor) -> list[Json]:
    """The rows without secrets, those spread over several lines included."""
    texts = redactor.lines([row["text"] for row in rows])
    return [{**row, "text": text} for row, text in zip(rows, texts, strict=True)]


def told_error(error: Mapping[str, Any]) -> Json:
    """Of an error what the report shows; its innermost call first."""
    return {
        "type": error["type"],
        "message": error["message"] or error["text"],
        "language": error["language"],
        "frames": [frame for frame in reversed(error["frames"])],
    }


def function_of(log_group: str) -> str:
    """The Lambda function that writes a log group by its usual name; empty for any other group."""
    return log_group.removeprefix(LAMBDA_LOGS) if log_group.startswith(LAMBDA_LOGS) else ""


def configuration_facts(configuration: Mapping[str, Any], error_time: float) -> list[Json]:
    """What of a function's configuration may matter, and whether it was deployed shortly before."""
    name = configuration["FunctionName"]
    source = f"function {name}"
    settings = [
        f"timeout {configuration['Timeout']} s" if configuration.get("Timeout") else "",
        f"memory {configuration['MemorySize']} MB" if configuration.get("MemorySize") else "",
        str(configuration.get("Runtime") or configuration.get("PackageType") or ""),
        f"version {configuration['Version']}" if configuration.get("Version", "$LATEST") != "$LATEST" else "",
        "in a VPC" if (configuration.get("VpcConfig") or {}).get("VpcId") else "",
        f"state {configuration['State']}" if configuration.get("State", "Active") != "Active" else "",
        f"last update {configuration['LastUpdateStatus']}"
        if configuration.get("LastUpdateStatus", "Successful") != "Successful"
        else "",
    ]
    facts = [{"kind": "configuration", "source": source, "text": ", ".join(filter(None, settings)), "url": ""}]
    try:
        # Lambda writes 2026-11-20T18:00:00.000+0000.
        modified = datetime.strptime(configuration["LastModified"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    except (KeyError, ValueError):
        return facts
    since = error_time - modified
    if 0 <= since <= RECENT_SECONDS:
        text = f"deployed {_ago(since)} before the error"
        facts.append({"kind": "deployment", "source": source, "text": text, "url": ""})
    return facts


def alarm_facts(alarms: Iterable[Mapping[str, Any]]) -> list[Json]:
    return [
        {
            "kind": "alarm",
            "source": f"alarm {alarm['AlarmName']}",
            "text": f"in ALARM since {alarm['StateUpdatedTimestamp'].astimezone(UTC):%Y-%m-%d %H:%M UTC}"
            + (f": {alarm['MetricName']}" if alarm.get("MetricName") else ""),
            "url": "",
        }
        for alarm in alarms
    ]


def request_facts(rows: Iterable[Mapping[str, Any]], shown: Iterable[Mapping[str, Any]], limit: int = 10) -> list[Json]:
    """Lines of the same request that are not among those around the error."""
    known = {(row["time"], row["text"]) for row in shown}
    return [
        {"kind": "request", "source": f"same request, {_time(row['time'])}", "text": row["text"], "url": ""}
        for row in rows
        if (row["time"], row["text"]) not in known
    ][:limit]


# --- evidence -----------------------------------------------------------------------------------------------------


def search_words(error: Mapping[str, Any]) -> list[str]:
    """What to search for, the most telling first: the error's type with its words, then its type."""
    # Names, numbers and ids are those of one system only.
    said = template(PLACEHOLDER.sub(" ", str(error.get("message") or ""))).replace(MASK, " ")
    said = re.sub(r"\S*(?:[\d_/\\@{}<>=]|::)\S*|[\"'`\[\](){}:;,]+", " ", said)
    kind = str(error.get("type") or "").rpartition(".")[2]
    words = " ".join(f"{kind} {said}".split())[:_QUERY_CHARACTERS].strip()
    return list(dict.fromkeys(query for query in (words, kind) if len(query) > 3))


def post_evidence(posts: Iterable[Any]) -> list[Json]:
    """Posts of Stack Overflow as evidence."""
    return [
        {"kind": STACK_OVERFLOW, "source": post.title, "text": post.answer_text or post.question, "url": post.url}
        for post in posts
    ]


def earlier_evidence(ended: Iterable[Mapping[str, Any]], alike: Iterable[Incident], fingerprint: str) -> list[Json]:
    """How the same incident ended before, and others that look like it, with what resolved them."""
    rows = []
    for row in ended:
        rows.append({"source": f"this error, until {_time(row['last_seen'])}", **_ended(row)})
    for other in alike:
        if other.fingerprint != fingerprint and not other.merged_into:
            row = other.to_json()
            rows.append({"source": f"{other.title} ({other.fingerprint})", **_ended(row)})
    return [{"kind": EARLIER, **row, "url": ""} for row in rows]


def _ended(row: Mapping[str, Any]) -> Json:
    """`text`, and where somebody said what resolved it the `note`."""
    by = f" by {row['by']}" if row.get("by") else ""
    note = f": {row['note']}" if row.get("note") else ""
    is_said = row["status"] not in (OPEN, REOPENED) or note
    said = f"{row['status']}{by}{note}" if is_said else "nobody said what resolved it"
    told = {"text": f"{said} (seen {_times(row['count'])})"}
    return {**told, "note": row["note"]} if note and row["status"] == RESOLVED else told


# --- what is missing ----------------------------------------------------------------------------------------------


def lacks(what: str, why: str) -> Json:
    return {"what": what, "why": why}


def missing_parts(state: Mapping[str, Any], redactor: Redactor) -> list[Json]:
    """What could not be asked and why, by the outcomes that the execution carries."""
    evidence = state.get("evidence") or {}
    parts = (
        ("the log around it", state.get("context")),
        ("Stack Overflow", evidence.get("stack_overflow")),
        ("earlier incidents", evidence.get("earlier_incidents")),
        ("the model's answer", state.get("answer")),
    )
    found: list[Json] = []
    for what, part in parts:
        if not part:
            continue
        if "Error" in part:
            found.append(lacks(what, why_of(part["Error"], part.get("Cause", ""), redactor)))
        else:
            found += redactor.value(part.get("outcome", {}).get("missing", []))
    return found


def why_of(error: str, cause: str, redactor: Redactor) -> str:
    """Why something failed, in words that may be shown."""
    error, cause = root_failure(error, cause)
    name = error.rpartition(".")[2]
    if name == "AccessDeniedError":
        # AWS's own words name roles and accounts.
        return "a permission is missing; its log group says which"
    if name in _OURS:
        return redactor.start(" ".join(cause.split()), _WHY_CHARACTERS)
    if name in ("Timedout", "Timeout") or "Task timed out" in cause:
        return "it took too long"
    return f"it failed ({name[:80]}); its log group says why"


def limits_reached(state: Mapping[str, Any], held_count: int) -> list[str]:
    """Which limits were reached, for the message."""
    limits = list(((state.get("answer") or {}).get("outcome") or {}).get("limits", []))
    if held_count:
        others = "1 other new incident is" if held_count == 1 else f"{held_count:,} other new incidents are"
        limits.append(f"{others} held back until the next hour (parameter TriageIncidentsPerHour)")
    return limits


# --- the report ---------------------------------------------------------------------------------------------------


def build(
    incident: Incident,
    *,
    generation: int,
    case: Mapping[str, Any],
    context: Mapping[str, Any] | None,
    evidence: Sequence[Mapping[str, Any]],
    answer: Mapping[str, Any] | None,
    missing: Sequence[Mapping[str, Any]],
    limits: Sequence[str],
    links: Mapping[str, str],
) -> Json:
    """The report on one generation of an incident; `case` is the document of its error."""
    error = (context or {}).get("error") or case["error"]
    answer = answer or {"verdict": NO_ANSWER}
    return {
        "fingerprint": incident.fingerprint,
        "generation": generation,
        "title": incident.title,
        "status": incident.status,
        "grouped_by": case["grouped_by"],
        "count": incident.count,
        "first_seen": incident.since,
        "last_seen": incident.last_seen,
        "log_group": error["log_group"],
        "log_stream": error["log_stream"],
        "error": told_error(error),
        "context": (context or {}).get("lines", []),
        "evidence": [*(context or {}).get("facts", []), *evidence],
        "verdict": answer["verdict"],
        "answer": answer.get("answer", {}),
        "doubts": answer.get("reasons", []),
        "model": answer.get("model", ""),
        "missing": list(missing),
        "limits": list(limits),
        "links": dict(links),
        "note": f"Back after {incident.back_after}." if incident.back_after else None,
    }


def citable(case: Mapping[str, Any], context: Mapping[str, Any] | None, evidence: Sequence[Mapping[str, Any]]) -> Json:
    """What a model may be asked about: the parts of a report that `answers.evidence_lines` reads."""
    error = (context or {}).get("error") or case["error"]
    return {
        "error": told_error(error),
        "context": (context or {}).get("lines", []),
        "evidence": [*(context or {}).get("facts", []), *evidence],
    }


def links_of(*, region: str, bucket: str, key: str, error: Mapping[str, Any], execution_arn: str) -> dict[str, str]:
    """Where the report, the log and the execution are looked at."""
    console = f"https://{region}.console.aws.amazon.com"
    stream = _fragment(error["log_stream"])
    at = round(error["time"] * 1_000)
    events = f"$3Fstart$3D{at - 60_000}$26end$3D{at + 60_000}"
    log = f"#logsV2:log-groups/log-group/{_fragment(error['log_group'])}/log-events/{stream}{events}"
    return {
        "report": f"{console}/s3/object/{bucket}?region={region}&prefix={quote(key)}",
        "logs": f"{console}/cloudwatch/home?region={region}{log}",
        "execution": console_link(execution_arn),
    }


def failure_mail(
    *,
    execution_arn: str,
    status: str,
    error: str,
    cause: str,
    state: str | None,
    incident: Incident | None,
    redactor: Redactor,
) -> tuple[str, str]:
    """Subject and text of the mail about an error that could not be told in the usual way."""
    what = one_line(incident.title) if incident and incident.generation else "an error"
    subject = f"Watchfloor: not explained ({status.lower().replace('_', ' ')}): {what}"
    lines = [
        f"Error triage {status.lower().replace('_', ' ')}; nobody may have been told of this error:",
        "",
        what,
        f"Log group:   {', '.join(incident.log_groups)}" if incident else "",
        f"Seen:        {_times(incident.count)}, last {_time(incident.last_seen)}" if incident else "",
        f"Fingerprint: {incident.fingerprint}" if incident else "",
        f"State:       {state or 'unknown'}",
        f"Why:         {why_of(error, cause, redactor) if error else 'not said'}",
        "",
        f"Execution:   {console_link(execution_arn)}",
        "What is known of it lies in the data bucket below triage/; docs/operations.md says what to do.",
    ]
    return subject_line(subject), "\n".join(lines)


def held_mail(held: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of the mail that incidents are held back; fields as in `messages.held_back_message`."""
    rows = held["incidents"]
    subject = f"Watchfloor: {len(rows)} new incident{'' if len(rows) == 1 else 's'} held back"
    lines = [
        f"The limit of {held['limit']} new incidents an hour (parameter TriageIncidentsPerHour) is reached.",
        f"Their errors are counted and kept; they are told from {_time(held['until'])} on:",
        "",
        *(f"- {one_line(row['title'])} ({row['log_group']}), seen {_times(row['count'])}" for row in rows),
    ]
    return subject, "\n".join(lines)


def _fragment(text: str) -> str:
    """As the CloudWatch console encodes names in its addresses: percent-encoded twice, with $ for %."""
    return quote(quote(text, safe=""), safe="").replace("%", "$")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _time(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _ago(seconds: float) -> str:
    if seconds < 7_200:
        minutes = max(1, round(seconds / 60))
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    return f"{round(seconds / 3_600)} hours"
