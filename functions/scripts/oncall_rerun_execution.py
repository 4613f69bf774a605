"""Runs a failed Step Functions execution again: from where it failed, or from the start with the same input."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field

from watchfloor.clients.aws import error_code
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError
from watchfloor.scripts import Parameters

# Express executions (`:express:`) cannot be described, so not be run again either.
ExecutionArn = Annotated[
    str, Field(pattern=r"^arn:aws[a-z-]*:states:[a-z0-9-]+:\d{12}:execution:[^\s:/]{1,80}:[^\s:/]{1,80}$")
]
LOOK_EVERY_SECONDS = 2
MAX_RERUNS = 20
_NAME_CHARACTERS = 80


class RerunExecution(Parameters):
    execution_arn: ExecutionArn = Field(description="The execution of a standard state machine")
    mode: Literal["auto", "redrive", "restart"] = Field(
        "auto",
        description="redrive goes on from the failed state, by the definition of then; restart begins anew, by today's; "
        "auto redrives where that is possible",
    )
    force: bool = Field(False, description="Begin anew although it succeeded, or still runs")
    wait_seconds: int = Field(30, ge=0, le=840, description="How long to wait for its end; 0 does not wait")


def rerun_execution(parameters: RerunExecution, run: ScriptRun) -> dict[str, Any]:
    execution = describe(run, parameters.execution_arn)
    assert execution is not None
    refuse_if_needless(execution, parameters)
    about = {
        "execution_arn": parameters.execution_arn,
        "status_before": execution["status"],
        "error_before": execution.get("error"),
    }
    redrivable = execution.get("redriveStatus") == "REDRIVABLE"
    if parameters.mode == "redrive" and not redrivable:
        raise ConflictError(
            f"the execution cannot be redriven: {execution.get('redriveStatusReason') or execution.get('redriveStatus')}"
        )
    if parameters.mode == "redrive" or (parameters.mode == "auto" and redrivable):
        arn, how = parameters.execution_arn, "redriven"
        run.write("stepfunctions").redrive_execution(executionArn=arn)
    else:
        arn, how = start_again(execution, parameters, run), "restarted"
    result = {**about, "how": how, "running_as": arn}
    if run.dry_run:
        return result
    now = follow(run, arn, parameters.wait_seconds)
    return {**result, "status": now["status"], "error": now.get("error"), "cause": (now.get("cause") or "")[:1000]}


def refuse_if_needless(execution: dict[str, Any], parameters: RerunExecution) -> None:
    if parameters.force:
        return
    if execution["status"] == "RUNNING":
        raise ConflictError("the execution is still running; stop it first, or set force to run another beside it")
    if execution["status"] == "SUCCEEDED":
        raise ConflictError("the execution succeeded; set force to run it again all the same")


def start_again(execution: dict[str, Any], parameters: RerunExecution, run: ScriptRun) -> str:
    """Start the next execution with the same input, unless an earlier one of this script runs or succeeded."""
    if not execution.get("inputDetails", {}).get("included", True):
        raise ConflictError("Step Functions does not give the execution's input, so it cannot be used again")
    prefix, _, name = parameters.execution_arn.rpartition(":")
    for number in range(1, MAX_RERUNS + 1):
        suffix = f"-rerun-{number}"
        again = f"{name[: _NAME_CHARACTERS - len(suffix)]}{suffix}"
        earlier = describe(run, f"{prefix}:{again}", may_be_missing=True)
        if earlier is None:
            break
        if earlier["status"] in ("RUNNING", "SUCCEEDED") and not parameters.force:
            raise ConflictError(
                f"it was run again already: {again} {earlier['status'].lower()}; set force to do it once more"
            )
    else:
        raise ConflictError(f"it was run again {MAX_RERUNS} times already")
    # The name makes a repeated call find the same execution instead of starting a second one.
    run.write("stepfunctions").start_execution(
        stateMachineArn=execution["stateMachineArn"], name=again, input=execution["input"]
    )
    return f"{prefix}:{again}"


def follow(run: ScriptRun, arn: str, seconds: int) -> dict[str, Any]:
    """The execution at its end, or as it stood when the time was up."""
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        # One that was started just now may be unknown for a moment.
        found = describe(run, arn, may_be_missing=True)
        seen.append(found or {"status": "RUNNING"})
        return seen[-1]["status"] != "RUNNING"

    run.wait_until(look, seconds, every_seconds=LOOK_EVERY_SECONDS)
    return seen[-1]


def describe(run: ScriptRun, arn: str, *, may_be_missing: bool = False) -> dict[str, Any] | None:
    try:
        return run.read("stepfunctions").describe_execution(executionArn=arn)
    except ClientError as error:
        if may_be_missing and error_code(error) == "ExecutionDoesNotExist":
            return None
        raise


script = Script("oncall-rerun-execution", RerunExecution, rerun_execution, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
