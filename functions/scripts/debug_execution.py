"""Why an execution of a state machine failed: the way, the failing state, its input, the cause."""

from __future__ import annotations

import os
from typing import Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, model_validator

from watchfloor.clients.executions import Histories
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.execution_history import check_keeps_history, followed, last_failed, report
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters


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
    histories, arn = Histories(run.read("stepfunctions")), parameters.execution_arn
    if parameters.state_machine_name:
        machine = run.settings["MACHINE_PREFIX"] + parameters.state_machine_name
        check_keeps_history(machine, histories.machine_type(machine))
        arn = last_failed(histories.failed(machine), parameters.state_machine_name)
    assert arn
    check_keeps_history(arn)
    redactor = Redactor()

    def look(execution_arn: str, *, is_child: bool) -> dict[str, Any]:
        about = histories.describe(execution_arn)
        events, is_whole = histories.events(execution_arn)
        return report(about, events, redactor, is_whole=is_whole, is_child=is_child)

    return followed(arn, look)


script = Script("debug-execution", ExecutionQuestion, explain, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
