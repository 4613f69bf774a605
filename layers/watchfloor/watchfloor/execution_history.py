"""What an execution's history says: the way through the states, and where and why it ended.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchfloor.errors import InvalidInputError, NotFoundError
from watchfloor.redaction import Redactor

_STARTS_AN_ATTEMPT = {"ActivityScheduled", "LambdaFunctionScheduled", "TaskScheduled"}
_ENDINGS = ("Failed", "TimedOut", "Aborted")
_EXECUTION = re.compile(r"arn:[\w-]+:states:[\w-]+:\d{12}:execution:[^\s\"'\\]{1,160}")
_CAUSE_CHARACTERS = 4_000
_INPUT_CHARACTERS = 8_000
_CHILDREN = 10
_DEEPEST = 3


@dataclass
class Failure:
    """An error within a state, or of the execution."""

    event: str
    error: str
    cause: str
    at: dt.datetime


@dataclass
class Visit:
    """A state that the execution came through; one that was entered twice is two visits."""

    name: str
    kind: str
    entered: dt.datetime
    input: str
    parent: Visit | None = None
    exited: dt.datetime | None = None
    attempts: int = 0
    failures: list[Failure] = field(default_factory=list)
    children: list[str] = field(default_factory=list)

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else 1 + self.parent.depth

    @property
    def outcome(self) -> str:
        if self.exited:
            return "caught or retried" if self.failures else "passed"
        return "failed" if self.failures else "not finished"


@dataclass
class History:
    """All visits in the order in which they began; `end` is how the execution itself ended, if it did not succeed."""

    visits: list[Visit]
    end: Failure | None
    failing: Visit | None
    map_runs: list[str]


def read_history(events: Iterable[Mapping[str, Any]]) -> History:
    """A history from its events, the oldest first; its beginning may be missing."""
    visits: list[Visit] = []
    of_event: dict[int, Visit | None] = {}
    map_runs: list[str] = []
    end, failing = None, None
    for event in events:
        kind, at = event["type"], event["timestamp"]
        visit = of_event.get(event.get("previousEventId", 0))
        details: Mapping[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
        if kind.endswith("StateEntered"):
            kind_of_state = kind.removesuffix("StateEntered")
            visit = Visit(details.get("name", "?"), kind_of_state, at, details.get("input", ""), visit)
            visits.append(visit)
        elif kind.endswith("StateExited") and visit:
            left = _named(visit, details.get("name"))
            left.exited, visit = at, left.parent
        elif kind.startswith("Execution"):
            if kind.endswith(_ENDINGS):
                end, failing = _failure(kind, details, at), visit
        elif visit:
            visit.attempts += kind in _STARTS_AN_ATTEMPT
            if kind.endswith(_ENDINGS):
                visit.failures.append(_failure(kind, details, at))
            if str(details.get("resourceType", "")).startswith("states"):
                for text in (details.get("output"), details.get("cause")):
                    visit.children += [arn for arn in _EXECUTION.findall(text or "") if arn not in visit.children]
            if "mapRunArn" in details:
                map_runs.append(details["mapRunArn"])
        of_event[event["id"]] = visit
    return History(visits, end, _deepest(visits, failing) if end else None, map_runs)


def _named(visit: Visit, name: str | None) -> Visit:
    """The visit that an exit is of: branches and iterations end inside of it."""
    found: Visit | None = visit
    while found and found.name != name:
        found = found.parent
    return found or visit


def _deepest(visits: list[Visit], failing: Visit | None) -> Visit | None:
    """The state that the end began in: the innermost that failed and was never left."""
    open_failures = [visit for visit in visits if visit.exited is None and visit.failures]
    if open_failures:
        # Branches that were cut off because of another one failed later, and by no fault of their own.
        own = [visit for visit in open_failures if not visit.failures[-1].event.endswith("Aborted")] or open_failures
        return max(own, key=lambda visit: (visit.depth, -visit.failures[-1].at.timestamp()))
    if failing:
        return failing
    return next((visit for visit in reversed(visits) if visit.exited is None), None)


def _failure(kind: str, details: Mapping[str, Any], at: dt.datetime) -> Failure:
    return Failure(kind, details.get("error") or "", details.get("cause") or "", at)


def check_keeps_history(execution_arn: str, machine_type: str = "STANDARD") -> None:
    """Refuse an execution of an express machine."""
    if ":express:" in execution_arn or machine_type == "EXPRESS":
        raise InvalidInputError(
            "an express execution keeps no history to ask for; what it logged is in the log group that its state machine"
            " names (debug-logs reads it), if its level is ERROR or ALL"
        )


def last_failed(executions: Sequence[Mapping[str, Any]], machine: str) -> str:
    """ARN of the one that ended last."""
    if not executions:
        raise NotFoundError(f"no execution of {machine} failed, timed out or was aborted in the last 90 days")
    return max(executions, key=lambda execution: execution["stopDate"])["executionArn"]


def followed(execution_arn: str, look: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """An execution explained, and the child executions that it failed by, down to some depth.

    Parameters
    ----------
    look
        `(execution_arn, is_child=...)` -> a `report`.
    """
    chain: list[dict[str, Any]] = []
    arn = execution_arn
    while arn and len(chain) < _DEEPEST and arn not in [each["execution_arn"] for each in chain]:
        chain.append(look(arn, is_child=bool(chain)))
        failing = chain[-1]["failing_state"] or {}
        arn = next(iter(failing.get("child_executions", [])), "")
    first, *children = chain
    findings = [*first.pop("findings")]
    for child in children:
        findings += [f"in its child execution {child['name']}: {finding}" for finding in child.pop("findings")]
    return {"findings": findings, **first, "followed": children}


def report(
    about: Mapping[str, Any], events: Sequence[Mapping[str, Any]], redactor: Redactor, *, is_whole: bool, is_child: bool
) -> dict[str, Any]:
    """One execution explained.

    Parameters
    ----------
    about
        Of DescribeExecution.
    events
        Its history's last ones, the oldest first; `is_whole` where these are all.
    """
    history, arn = read_history(events), about["executionArn"]
    findings = said(history, about["status"])
    if not is_whole:
        findings.append(f"its history is long: only the last {len(events):,} events were read")
    region = arn.split(":")[3]
    result = {
        "findings": redactor.lines(findings),
        "execution_arn": arn,
        "name": about["name"],
        "status": about["status"],
        "started": about["startDate"].isoformat(),
        "stopped": about["stopDate"].isoformat() if "stopDate" in about else None,
        "redrive_count": about.get("redriveCount", 0),
        **explained(history, redactor),
        "path": path(history, 30 if is_child else 100),
        "map_runs": history.map_runs[:10],
        "link": f"https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{arn}",
    }
    if about.get("error") and not result["error"]:
        result |= {"error": about["error"], "cause": cause(about.get("cause", ""), redactor)}
    return result


def explained(history: History, redactor: Redactor) -> dict[str, Any]:
    """The failing state with its input, error and cause, without secrets, each part bounded; last children first."""
    visit = history.failing
    failure = visit.failures[-1] if visit and visit.failures else history.end
    return {
        "failing_state": None
        if visit is None
        else {
            "name": visit.name,
            "type": visit.kind,
            "inside": [parent.name for parent in reversed(list(_parents(visit)))],
            "attempts": visit.attempts,
            "entered": visit.entered.isoformat(),
            "earlier_failures": [
                {"error": each.error, "at": each.at.isoformat(), "cause": redactor.start(each.cause, 500)}
                for each in visit.failures[:-1][-10:]
            ],
            "input": _input(visit.input, redactor),
            "child_executions": visit.children[: -_CHILDREN - 1 : -1],
        },
        "error": failure.error if failure else None,
        "cause": cause(failure.cause, redactor) if failure else None,
    }


def path(history: History, most: int = 100) -> list[dict[str, Any]]:
    """The states that were visited, the last ones where they are many."""
    return [
        {
            "state": visit.name,
            "type": visit.kind,
            "inside": visit.parent.name if visit.parent else None,
            "entered": visit.entered.isoformat(),
            "seconds": round((visit.exited - visit.entered).total_seconds(), 3) if visit.exited else None,
            "attempts": visit.attempts,
            "outcome": visit.outcome,
        }
        for visit in history.visits[-most:]
    ]


def cause(text: str, redactor: Redactor) -> Any:
    """A cause as an object where it is one, such as Lambda's and a child execution's, otherwise as text."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return redactor.start(text, _CAUSE_CHARACTERS)
    wanted = (
        "errorType",
        "errorMessage",
        "stackTrace",
        "trace",
        "Error",
        "Cause",
        "ExecutionArn",
        "Status",
        "StoppedReason",
    )
    known = {key: value[key] for key in wanted if key in value}
    shown = redactor.value(known or value)
    encoded = json.dumps(shown)
    return shown if len(encoded) <= _CAUSE_CHARACTERS else f"{encoded[:_CAUSE_CHARACTERS]}…"


def said(history: History, status: str) -> list[str]:
    """The end in words."""
    visit, end = history.failing, history.end
    if end is None:
        running = next((each.name for each in reversed(history.visits) if each.exited is None), None)
        return [f"the execution {status.lower()}" + (f"; it is in {running}" if running else "")]
    if visit is None:
        return [f"the execution {status.lower()} before its first state: {end.error or end.cause[:200]}"]
    failure = visit.failures[-1] if visit.failures else end
    tries = f" after {visit.attempts} attempts" if visit.attempts > 1 else ""
    words = {"ExecutionAborted": "was stopped in", "ExecutionTimedOut": "ran out of time in"}
    said_so = f"it {words.get(end.event, 'failed in')} {visit.name}{tries}: {failure.error or 'no error named'}"
    findings = [said_so]
    if failure.error == "States.Runtime":
        findings.append("the machine itself is wrong there: a path or a parameter that is not in the input")
    if failure.error == "States.DataLimitExceeded":
        findings.append("a state's input or output had more than 256 KiB")
    if failure.event in ("TaskTimedOut", "ActivityTimedOut", "LambdaFunctionTimedOut"):
        findings.append("nobody answered in the state's time, or its heartbeat failed")
    return findings


def _input(text: str, redactor: Redactor) -> Any:
    if len(text) > _INPUT_CHARACTERS:
        return redactor.start(text, _INPUT_CHARACTERS) + f"… ({len(text) - _INPUT_CHARACTERS:,} characters more)"
    try:
        return redactor.value(json.loads(text))
    except ValueError:
        return redactor.text(text)


def _parents(visit: Visit) -> Iterator[Visit]:
    while visit.parent:
        visit = visit.parent
        yield visit
