"""Why an execution of a state machine failed: the way, the failing state, its input, the cause."""

from __future__ import annotations

import os
from typing import Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, model_validator

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import InvalidInputError, NotFoundError
from watchfloor.execution_history import cause, explained, path, read_history, said
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters

_MOST_EVENTS = 5_000
_PAGE = 200
_KEPT_CHARACTERS = 20_000
_DEEPEST = 3
_ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")


class ExecutionQuestion(Parameters):
    execution_arn: str | None = Field(
        None,
        pattern=r"^arn:[a-z-]+:states:[a-z0-9-]+:\d{12}:(execution|express):[^\s]{1,300}$",
        description="The execution to explain",
    )
    state_machine_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,80}$", description="Instead: a machine, whose last failed execution it is"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.execution_arn is None) == (self.state_machine_name is None):
            raise ValueError("give execution_arn or state_machine_name")
        return self


def explain(parameters: ExecutionQuestion, run: ScriptRun) -> dict[str, Any]:
    states = run.read("stepfunctions")
    arn = parameters.execution_arn or last_failed(states, parameters.state_machine_name or "", run)
    if ":express:" in arn:
        raise InvalidInputError(EXPRESS)
    redactor = Redactor()
    chain: list[dict[str, Any]] = []
    while arn and len(chain) < _DEEPEST and arn not in [each["execution_arn"] for each in chain]:
        chain.append(one(states, arn, redactor, is_child=bool(chain)))
        failing = chain[-1].get("failing_state") or {}
        arn = next(iter(failing.get("child_executions", [])), "")
    first, *children = chain
    findings = [*first.pop("findings")]
    for child in children:
        findings += [f"in its child execution {child['name']}: {said}" for said in child.pop("findings")]
    return {"findings": findings, **first, "followed": children}


EXPRESS = (
    "an express execution keeps no history to ask for; what it logged is in the log group that its state machine names"
    " (debug-logs reads it), if its level is ERROR or ALL"
)


def last_failed(states: Any, name: str, run: ScriptRun) -> str:
    machine = run.settings["MACHINE_PREFIX"] + name
    if states.describe_state_machine(stateMachineArn=machine)["type"] == "EXPRESS":
        raise InvalidInputError(EXPRESS)
    found = [
        execution
        for status in _ENDED_BADLY
        for execution in states.list_executions(stateMachineArn=machine, statusFilter=status, maxResults=1)[
            "executions"
        ]
    ]
    if not found:
        raise NotFoundError(f"no execution of {name} failed, timed out or was aborted in the last 90 days")
    return max(found, key=lambda execution: execution["stopDate"])["executionArn"]


def one(states: Any, arn: str, redactor: Redactor, *, is_child: bool) -> dict[str, Any]:
    """An execution explained."""
    about = states.describe_execution(executionArn=arn)
    events, is_whole = events_of(states, arn)
    history = read_history(events)
    findings = said(history, about["status"])
    if not is_whole:
        findings.append(f"its history is long: only the last {len(events):,} events were read")
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
        "link": link(arn),
    }
    if about.get("error") and not result["error"]:
        result |= {"error": about["error"], "cause": cause(about.get("cause", ""), redactor)}
    return result


def events_of(states: Any, arn: str) -> tuple[list[dict[str, Any]], bool]:
    """The history's last events, the oldest first, and whether these are all."""
    pages = states.get_paginator("get_execution_history").paginate(
        executionArn=arn, reverseOrder=True, includeExecutionData=True, PaginationConfig={"PageSize": _PAGE}
    )
    events: list[dict[str, Any]] = []
    for page in pages:
        events += map(slim, page["events"])
        if len(events) >= _MOST_EVENTS:
            return list(reversed(events)), "nextToken" not in page
    return list(reversed(events)), True


def slim(event: dict[str, Any]) -> dict[str, Any]:
    """The event with its long texts cut: thousands of them must fit the function's memory."""
    cut = {}
    for key, value in event.items():
        if isinstance(value, dict):
            value = {name: text[:_KEPT_CHARACTERS] if isinstance(text, str) else text for name, text in value.items()}
        cut[key] = value
    return cut


def link(arn: str) -> str:
    region = arn.split(":")[3]
    return f"https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{arn}"


script = Script("debug-execution", ExecutionQuestion, explain, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
