"""Runs a failed Step Functions execution again: from where it failed, or from the start with the same input."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.executions import find_execution
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.reruns import check_rerun, is_redriven, next_rerun, outcome
from watchfloor.scripts import Parameters

# Express executions (`:express:`) cannot be described, so not be run again either.
ExecutionArn = Annotated[
    str, Field(pattern=r"^arn:aws[a-z-]*:states:[a-z0-9-]+:\d{12}:execution:[^\s:/]{1,80}:[^\s:/]{1,80}$")
]


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
    states, arn = run.read("stepfunctions"), parameters.execution_arn
    execution = states.describe_execution(executionArn=arn)
    check_rerun(execution, force=parameters.force)
    about = {
        "execution_arn": arn,
        "status_before": execution["status"],
        "error_before": execution.get("error"),
    }
    if is_redriven(execution, parameters.mode):
        run.write("stepfunctions").redrive_execution(executionArn=arn)
        result = {**about, "how": "redriven", "running_as": arn}
    else:
        again = next_rerun(arn, lambda earlier: find_execution(states, earlier), force=parameters.force)
        # The name makes a repeated call find the same execution instead of starting a second one.
        run.write("stepfunctions").start_execution(
            stateMachineArn=execution["stateMachineArn"], name=again.rpartition(":")[2], input=execution["input"]
        )
        result = {**about, "how": "restarted", "running_as": again}
    if run.dry_run:
        return result
    # One that was started just now may be unknown for a moment.
    now = run.follow(
        lambda: find_execution(states, result["running_as"]) or {"status": "RUNNING"},
        lambda seen: seen["status"] != "RUNNING",
        parameters.wait_seconds,
    )
    return {**result, **outcome(now)}


script = Script("oncall-rerun-execution", RerunExecution, rerun_execution, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
