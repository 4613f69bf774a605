"""Task tokens: what SendTaskSuccess, SendTaskFailure and SendTaskHeartbeat answer to.

On AWS the permission for these calls is checked against the state machine that waits, so a token knows its machine.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from typing import Any

from ministack.core.responses import error_response_json, json_response

from local.cloud import anchors
from local.cloud.overlay import data_flow


class Token:
    """One wait for a callback."""

    def __init__(self, execution: dict[str, Any], heartbeat_seconds: float | None) -> None:
        self.machine_arn: str = execution["stateMachineArn"]
        secret = f"{execution['executionArn']}|{uuid.uuid4().hex}"
        self.text = "AQ" + base64.b64encode(secret.encode()).decode()
        self.output: Any = None
        self._heartbeat_seconds = heartbeat_seconds
        self._beat = time.monotonic()
        self._error: tuple[str, str] | None = None
        self._answered = False
        self._awake = False
        self._changed = threading.Condition()

    def succeed(self, output: Any) -> None:
        with self._changed:
            self.output, self._answered = output, True
            self._changed.notify_all()

    def fail(self, error: str, cause: str) -> None:
        with self._changed:
            self._error, self._answered = (error, cause), True
            self._changed.notify_all()

    def beat(self) -> None:
        with self._changed:
            self._beat = time.monotonic()
            self._changed.notify_all()

    def wake(self) -> None:
        """End the wait without an answer."""
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def wait(self, deadline: float | None) -> tuple[str, str] | None:
        """Wait for the answer; the error and its cause when it is not a good one."""
        # The time without a heartbeat counts from here: the task has been handed over.
        self.beat()
        with self._changed:
            while not self._answered and not self._awake:
                limits = [deadline] if deadline is not None else []
                if self._heartbeat_seconds is not None:
                    limits.append(self._beat + self._heartbeat_seconds)
                left = min(limits) - time.monotonic() if limits else None
                if left is None or left > 0:
                    self._changed.wait(left)
                elif deadline is not None and time.monotonic() >= deadline:
                    return "States.Timeout", ""
                else:
                    return "States.HeartbeatTimeout", ""
            return self._error


_open: dict[str, Token] = {}
# Which machine a token belonged to, so that an answer that comes late is authorised and then told so.
_machines: dict[str, str] = {}


def install() -> None:
    anchors.replace("services.stepfunctions:_send_task_success", _success)
    anchors.replace("services.stepfunctions:_send_task_failure", _failure)
    anchors.replace("services.stepfunctions:_send_task_heartbeat", _heartbeat)
    resource_arn = anchors.replace(
        "core.iam_actions:extract_resource_arn",
        lambda service, method, path, headers, body, *rest: (
            (machine_of(body) if service == "states" else None)
            or resource_arn(service, method, path, headers, body, *rest)
        ),
    )


def issue(execution: dict[str, Any], heartbeat_seconds: float | None) -> Token:
    """A new token for a wait of this execution."""
    token = Token(execution, heartbeat_seconds)
    _open[token.text] = token
    _machines[token.text] = token.machine_arn
    return token


def close(token: Token) -> None:
    """From now on nobody waits for this token."""
    _open.pop(token.text, None)


def machine_of(body: bytes) -> str | None:
    """The ARN of the state machine that the request's task token belongs to."""
    if b'"taskToken"' not in body:
        return None
    try:
        return _machines.get(json.loads(body)["taskToken"])
    except (ValueError, KeyError, TypeError):
        return None


def _success(request: dict[str, Any]) -> Any:
    text = request.get("output", "")
    try:
        output = json.loads(text)
    except ValueError:
        return error_response_json("InvalidOutput", f"Invalid Output: '{text[:100]}'", 400)
    if len(text.encode()) > data_flow.MAX_BYTES:
        return error_response_json(
            "ValidationException",
            "1 validation error detected: Value at 'output' failed to satisfy constraint: Member must have length less "
            f"than or equal to {data_flow.MAX_BYTES}",
            400,
        )
    return _with_token(request, lambda token: token.succeed(output), last=True)


def _failure(request: dict[str, Any]) -> Any:
    return _with_token(request, lambda token: token.fail(request.get("error", ""), request.get("cause", "")), last=True)


def _heartbeat(request: dict[str, Any]) -> Any:
    return _with_token(request, Token.beat)


def _with_token(request: dict[str, Any], answer: Any, *, last: bool = False) -> Any:
    text = request.get("taskToken", "")
    if text not in _machines:
        return error_response_json("InvalidToken", "Invalid Token: 'Invalid token'", 400)
    token = _open.pop(text, None) if last else _open.get(text)
    if token is None:
        return error_response_json("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'", 400)
    answer(token)
    return json_response({})
