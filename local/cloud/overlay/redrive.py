"""Step Functions' RedriveExecution, which MiniStack does not have.

An execution goes on from the state that did not succeed, with that state's input; of a Parallel state only the branches
that did not succeed run again. A Map is not redriven here.
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
from typing import Any

from ministack import app
from ministack.core.responses import error_response_json, json_response, now_iso
from ministack.services import stepfunctions

from local.cloud import anchors
from local.cloud.overlay import interpreter

REDRIVABLE_SECONDS = 14 * 24 * 3600
_UNSUCCESSFUL = ("FAILED", "TIMED_OUT", "ABORTED")
_lock = threading.Lock()


def install() -> None:
    handle = app.SERVICE_HANDLERS["states"]

    async def with_redrive(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return stepfunctions._finalize_response(redrive(json.loads(body)))
        return await handle(method, path, headers, body, query)

    app.SERVICE_HANDLERS["states"] = with_redrive
    describe = anchors.replace(
        "services.stepfunctions:_describe_execution", lambda request: _described(describe(request), request)
    )


def redrive(request: dict[str, Any]) -> Any:
    arn = request.get("executionArn", "")
    with _lock:
        execution = stepfunctions._executions.get(arn)
        if execution is None:
            return error_response_json("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'", 400)
        refusal = _refusal(execution)
        if refusal:
            return error_response_json("ExecutionNotRedrivable", refusal, 400)
        earlier = list(execution["events"])
        count, now = execution.get("redriveCount", 0) + 1, now_iso()
        execution.update(status="RUNNING", stopDate=None, output=None, redriveCount=count, redriveDate=now)
        for field in ("error", "cause"):
            execution.pop(field, None)
        execution["events"].append(
            {
                "id": len(earlier) + 1,
                "previousEventId": 0,
                "type": "ExecutionRedriven",
                "timestamp": now,
                "executionRedrivenEventDetails": {"redriveCount": count},
            }
        )
    stepfunctions._emit_execution_status_event(execution)
    threading.Thread(
        target=contextvars.copy_context().run, args=(interpreter.run, arn, earlier), daemon=True, name="redrive"
    ).start()
    return json_response({"redriveDate": now})


def _refusal(execution: dict[str, Any]) -> str | None:
    """Why an execution cannot be redriven, in the words of redriveStatusReason."""
    if execution["status"] not in _UNSUCCESSFUL:
        return f"Execution is {execution['status']} and cannot be redriven."
    ended = stepfunctions._iso_to_epoch_ms(execution["stopDate"]) / 1000
    if time.time() - ended > REDRIVABLE_SECONDS:
        return "Execution redrivable period exceeded."
    if len(execution["events"]) >= interpreter.MAX_EVENTS - 1:
        return "Execution history event limit exceeded."
    definition = stepfunctions._state_machines[execution["stateMachineArn"]]["definition"]
    if '"Map"' in definition and any("mapStateStartedEventDetails" in event for event in execution["events"]):
        return "The local cloud does not redrive a Map."
    return None


def _described(response: Any, request: dict[str, Any]) -> Any:
    status, _, body = response
    execution = stepfunctions._executions.get(request.get("executionArn"))
    if status >= 400 or execution is None:
        return response
    refusal = _refusal(execution)
    answer = json.loads(body) | {
        "redriveCount": execution.get("redriveCount", 0),
        "redriveStatus": "NOT_REDRIVABLE" if refusal else "REDRIVABLE",
    }
    if refusal:
        answer["redriveStatusReason"] = refusal
    if execution.get("redriveDate"):
        answer["redriveDate"] = execution["redriveDate"]
    return json_response(answer, status)
