"""The Step Functions API: what is refused when a machine is made or started, and idempotent starts."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import stepfunctions

from local import asl
from local.cloud import anchors
from local.cloud.overlay import data_flow, roles

_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")
_MANAGED_RULE = "StepFunctionsGetEventsForStepFunctionsExecutionRule"
_LOG_DELIVERY = (
    "CreateLogDelivery",
    "GetLogDelivery",
    "UpdateLogDelivery",
    "DeleteLogDelivery",
    "ListLogDeliveries",
    "PutResourcePolicy",
    "DescribeResourcePolicies",
    "DescribeLogGroups",
)

_start_lock = threading.Lock()


class Refused(ValueError):
    """A state machine that AWS would not make, or that the local cloud cannot run; with AWS's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def install() -> None:
    create = anchors.replace(
        "services.stepfunctions:_create_state_machine",
        lambda request: _refused(request) or create(request),
    )
    update = anchors.replace(
        "services.stepfunctions:_update_state_machine",
        lambda request: _refused(request) or update(request),
    )
    start = anchors.replace("services.stepfunctions:_start_execution", lambda request: _start(start, request))


def checked_definition(text: str, role_arn: str | None, logging: dict[str, Any] | None = None) -> str:
    """The definition as JSON.

    Raises
    ------
    Refused
    """
    try:
        definition = asl.load(text)
    except ValueError as error:
        raise Refused("InvalidDefinition", f"Invalid State Machine Definition: {error}") from None
    wrong = asl.problems(definition)
    if wrong:
        listed = "; ".join(map(str, wrong))
        raise Refused("InvalidDefinition", f"Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: {listed}'")
    if role_arn:
        _check_role(definition, role_arn, logging or {})
    return json.dumps(definition)


def _check_role(definition: dict[str, Any], role_arn: str, logging: dict[str, Any]) -> None:
    """The permissions that Step Functions tries out when a machine is made."""
    if ":states:startExecution.sync" in json.dumps(definition):
        rule = f"arn:aws:events:{get_region()}:{get_account_id()}:rule/{_MANAGED_RULE}"
        for action in ("events:PutTargets", "events:PutRule", "events:DescribeRule"):
            if roles.denied(role_arn, action, rule):
                raise Refused(
                    "AccessDeniedException",
                    f"'{role_arn}' is not authorized to create managed-rule: it lacks {action} on {rule}.",
                )
    level = logging.get("level") or logging.get("Level") or "OFF"
    if level != "OFF":
        for name in _LOG_DELIVERY:
            if roles.denied(role_arn, f"logs:{name}", "*"):
                raise Refused(
                    "AccessDeniedException",
                    "The state machine IAM Role is not authorized to access the Log Destination: "
                    f"it lacks logs:{name}.",
                )


def _refused(request: dict[str, Any]) -> Any:
    """The error response for a bad definition; a good one is put into the request as JSON."""
    if "definition" not in request:
        return None
    role_arn = request.get("roleArn")
    if role_arn is None:
        role_arn = (stepfunctions._state_machines.get(request.get("stateMachineArn", "")) or {}).get("roleArn")
    try:
        request["definition"] = checked_definition(request["definition"], role_arn, request.get("loggingConfiguration"))
    except Refused as refusal:
        return error_response_json(refusal.code, str(refusal), 400)
    return None


def _start(start: Any, request: dict[str, Any]) -> Any:
    name, text = request.get("name"), request.get("input") or "{}"
    if name is not None and not _NAME.fullmatch(name):
        return error_response_json("InvalidName", f"Invalid Name: '{name}'", 400)
    try:
        json.loads(text)
    except ValueError:
        return error_response_json(
            "InvalidExecutionInput", f"Invalid State Machine Execution Input: '{text[:100]}'", 400
        )
    if len(text.encode()) > data_flow.MAX_BYTES:
        return error_response_json(
            "ValidationException",
            "1 validation error detected: Value at 'input' failed to satisfy constraint: Member must have length less "
            f"than or equal to {data_flow.MAX_BYTES}",
            400,
        )
    with _start_lock:
        running = _running(request) if name is not None else None
        if running is not None and json.loads(running["input"]) == json.loads(text):
            return json_response({"executionArn": running["executionArn"], "startDate": running["startDate"]})
        return start(request | {"input": text})


def _running(request: dict[str, Any]) -> dict[str, Any] | None:
    machine_arn = stepfunctions._resolve_state_machine_arn(request.get("stateMachineArn", ""))
    with contextlib.suppress(KeyError, TypeError):
        machine = stepfunctions._state_machines[machine_arn]
        arn = f"arn:aws:states:{get_region()}:{get_account_id()}:execution:{machine['name']}:{request['name']}"
        execution = stepfunctions._executions[arn]
        return execution if execution["status"] == "RUNNING" else None
    return None
