"""Calls a function with an event and checks what it answers."""

from __future__ import annotations

import json
import os
import time
from typing import Annotated, Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, model_validator

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.test_files import TestFiles
from watchfloor.expectations import ValueCheck
from watchfloor.invocations import Outcome, about_function, check_event, problems, report
from watchfloor.scripts import Parameters

_EVENT_BYTES = 200_000
_ANSWER_BYTES = 1_000_000

FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,140}$")]


class Invocation(Parameters):
    function_name: FunctionName = Field(description="The function to call")
    qualifier: str | None = Field(
        None, pattern=r"^(\$LATEST|[A-Za-z0-9_-]{1,128})$", description="A version or alias; none calls $LATEST"
    )
    event: dict[str, Any] | list[Any] | None = Field(None, description="The event")
    event_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_.-]+)*\.json$",
        max_length=300,
        description="Instead of event: an object of the data bucket below config/tests/",
    )
    expect_error: str | None = Field(None, max_length=200, description="The type of the error it must end with")
    checks: list[ValueCheck] = Field([], max_length=20, description="What must stand in its answer, and where")
    max_ms: int | None = Field(None, ge=1, le=850_000, description="Milliseconds that it may take")

    @model_validator(mode="after")
    def _one_event(self) -> Self:
        if (self.event is None) == (self.event_name is None):
            raise ValueError("give event or event_name")
        return self


def call_function(parameters: Invocation, run: ScriptRun) -> dict[str, Any]:
    payload = event_of(parameters, run)
    function = {"FunctionName": parameters.function_name}
    if parameters.qualifier:
        function["Qualifier"] = parameters.qualifier
    about = about_function(run.read("lambda").get_function_configuration(**function))
    began = time.monotonic()
    answer = run.write("lambda", planned={}, timeout_seconds=max(1.0, min(run.remaining_seconds, 850))).invoke(
        **function, InvocationType="RequestResponse", LogType="Tail", Payload=payload
    )
    if run.dry_run:
        would = f"{parameters.function_name} would be called"
        return {"findings": [would], "function": about, "event_bytes": len(payload)}
    outcome = Outcome(
        answer["Payload"].read(_ANSWER_BYTES).decode("utf-8", "replace"),
        1000 * (time.monotonic() - began),
        answer.get("FunctionError", ""),
        answer.get("ExecutedVersion"),
        answer.get("LogResult", ""),
    )
    found = problems(outcome, expect_error=parameters.expect_error, max_ms=parameters.max_ms, checks=parameters.checks)
    return report(about, outcome, found)


def event_of(parameters: Invocation, run: ScriptRun) -> bytes:
    if parameters.event_name is None:
        return json.dumps(parameters.event).encode()
    files = TestFiles(run.read("s3"), run.settings["DATA_BUCKET"])
    return check_event(files.read(parameters.event_name, _EVENT_BYTES), parameters.event_name)


script = Script("test-lambda", Invocation, call_function, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
