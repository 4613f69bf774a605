"""The most frequent errors of a service, grouped as error triage groups them."""

from __future__ import annotations

import datetime as dt
import os
from typing import Annotated, Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, model_validator

from watchfloor.clients.log_groups import filtered_events
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.error_groups import errors_of, findings, grouped
from watchfloor.log_events import ErrorEvent
from watchfloor.scripts import Parameters
from watchfloor.timespans import When, window

_LONGEST = dt.timedelta(days=7)
_MOST_EVENTS = 50_000
_RESERVE_SECONDS = 10
_ERRORS = (
    "?ERROR ?Error ?error ?Exception ?exception ?FATAL ?Fatal ?fatal ?CRITICAL ?Critical ?panic ?Traceback"
    ' ?"Task timed out" ?"Runtime exited" ?goroutine ?"Caused by" ?", line " ?"at " ?".go:" ?".rb:"'
)

LogGroup = Annotated[str, Field(pattern=r"^[A-Za-z0-9_/.#-]{1,512}$")]


class ErrorQuestion(Parameters):
    log_groups: list[LogGroup] = Field([], max_length=5, description="The service's log groups")
    function_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,140}$", description="A Lambda function, instead of its log group"
    )
    since: When = Field("1h", description="Begin: 30m, 2h, 3d, or a time such as 2026-11-20T18:00Z")
    until: When = Field("now", description="End, in the same form")
    top: int = Field(10, ge=1, le=25, description="Groups at most")
    filter_pattern: str = Field(
        _ERRORS, max_length=1_024, description="Which lines to read; empty reads all, which takes longer"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.log_groups and not self.function_name:
            raise ValueError("give log_groups or function_name")
        return self


def top_errors(parameters: ErrorQuestion, run: ScriptRun) -> dict[str, Any]:
    begin, end = window(parameters.since, parameters.until, dt.datetime.now(dt.UTC), _LONGEST)
    logs, groups = run.read("logs"), list(parameters.log_groups)
    if parameters.function_name:
        groups.append(f"/aws/lambda/{parameters.function_name}")
    errors: list[ErrorEvent] = []
    limits, read = [], 0
    has_time = lambda: run.remaining_seconds >= _RESERVE_SECONDS
    for group in groups:
        events, is_whole = filtered_events(
            logs, group, begin, end, parameters.filter_pattern, _MOST_EVENTS // len(groups), has_time
        )
        read += len(events)
        errors += errors_of(group, events)
        if not is_whole:
            limits.append(f"{group}: only the first {len(events):,} lines were read; ask for a shorter time")
    ranked = grouped(errors, begin, end, parameters.top)
    return {
        "findings": [*findings(ranked, len(errors)), *limits],
        "log_groups": groups,
        "begin": begin.isoformat(timespec="seconds"),
        "end": end.isoformat(timespec="seconds"),
        "lines_read": read,
        "error_count": len(errors),
        "groups": ranked,
    }


script = Script("debug-errors", ErrorQuestion, top_errors, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
