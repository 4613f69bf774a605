"""Calls a function with an event and checks what it answers."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import Annotated, Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, model_validator

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.test_files import TestFiles
from watchfloor.errors import ConflictError, InvalidInputError
from watchfloor.expectations import UnmetError, ValueCheck, json_problems
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters

_EVENT_BYTES = 200_000
_SHOWN_CHARACTERS = 4_000

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
    about = described(run, function)
    began = time.monotonic()
    answer = run.write("lambda", planned={}, timeout_seconds=max(1.0, min(run.remaining_seconds, 850))).invoke(
        **function, InvocationType="RequestResponse", LogType="Tail", Payload=payload
    )
    if run.dry_run:
        return {
            "findings": [f"{parameters.function_name} would be called"],
            "function": about,
            "event_bytes": len(payload),
        }
    milliseconds = 1000 * (time.monotonic() - began)
    text = answer["Payload"].read(1_000_000).decode("utf-8", "replace")
    error = error_of(answer, text)
    problems = problems_of(parameters, error, text, milliseconds)
    result = {
        "findings": problems or [f"{parameters.function_name} answered as expected in {milliseconds:.0f} ms"],
        "function": about,
        "executed_version": answer.get("ExecutedVersion"),
        "duration_ms": round(milliseconds),
        "error": error,
        "answer": Redactor().start(text, _SHOWN_CHARACTERS),
        "log_tail": log_tail(answer),
    }
    if problems:
        raise UnmetError("; ".join(problems), result)
    return result


def event_of(parameters: Invocation, run: ScriptRun) -> bytes:
    if parameters.event_name is None:
        return json.dumps(parameters.event).encode()
    body = TestFiles(run.read("s3"), run.settings["DATA_BUCKET"]).read(parameters.event_name, _EVENT_BYTES)
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInputError(f"event_name: {parameters.event_name} is no JSON") from None
    return body


def described(run: ScriptRun, function: dict[str, str]) -> dict[str, Any]:
    """What is called; a function that cannot be is named before the call."""
    found = run.read("lambda").get_function_configuration(**function)
    if found.get("State", "Active") not in ("Active", "Inactive"):
        raise ConflictError(f"{function['FunctionName']} is {found['State']}: {found.get('StateReason', '')}")
    names = ("FunctionName", "Version", "Runtime", "MemorySize", "Timeout", "LastModified", "State")
    return {name: found[name] for name in names if name in found}


def error_of(answer: dict[str, Any], text: str) -> dict[str, Any] | None:
    if "FunctionError" not in answer:
        return None
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    return {
        "type": str(said.get("errorType") or answer["FunctionError"])[:200],
        "message": Redactor().start(str(said.get("errorMessage", "")), 2_000),
    }


def problems_of(parameters: Invocation, error: dict[str, Any] | None, text: str, milliseconds: float) -> list[str]:
    problems = []
    if parameters.expect_error and (error or {}).get("type") != parameters.expect_error:
        ended = f"with {error['type']}" if error else "without an error"
        problems.append(f"it should end with {parameters.expect_error}, and ended {ended}")
    if error and not parameters.expect_error:
        problems.append(f"it ended with {error['type']}: {error['message']}")
    if parameters.max_ms and milliseconds > parameters.max_ms:
        problems.append(f"it should take at most {parameters.max_ms} ms, and took {milliseconds:.0f} ms")
    if parameters.checks:
        problems += json_problems(parameters.checks, text)
    return problems


def log_tail(answer: dict[str, Any]) -> list[str]:
    """The end of its log, without secrets."""
    text = base64.b64decode(answer.get("LogResult", "")).decode("utf-8", "replace")
    return Redactor().lines(text.splitlines()[-50:])


script = Script("test-lambda", Invocation, call_function, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
