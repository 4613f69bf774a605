"""Step Functions: who still runs, and answers to those who wait by callback."""

from __future__ import annotations

import time
from typing import Any

import orjson
from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, or_none, passing_errors

# The wait is over: answered before, timed out, or its execution ended.
_NOBODY_WAITS = {"TaskDoesNotExist", "TaskTimedOut", "InvalidToken"}
# Step Functions' own limits for SendTaskFailure.
_ERROR_CHARACTERS, _CAUSE_CHARACTERS = 256, 32_768
_WAITS_SECONDS = (1, 3)
_PAGE = 200
_MOST_EVENTS = 5_000
_KEPT_CHARACTERS = 20_000
_ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")


class Executions:
    """Executions and task tokens; `sfn` is a boto3 Step Functions client."""

    def __init__(self, sfn: Any) -> None:
        self._sfn = sfn

    def is_running(self, execution_arn: str) -> bool:
        """False also for an execution nobody knows any more.

        DescribeExecution is eventually consistent: one that began just now may be unknown, and is asked for again.
        https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
        """
        for wait_seconds in (*_WAITS_SECONDS, None):
            try:
                with passing_errors():
                    return self._sfn.describe_execution(executionArn=execution_arn)["status"] == "RUNNING"
            except ClientError as error:
                if error_code(error) != "ExecutionDoesNotExist":
                    raise
            if wait_seconds:
                time.sleep(wait_seconds)
        return False

    def start(self, machine_arn: str, name: str, execution_input: dict[str, Any]) -> None:
        """Start an execution, unless there is (or was, within 90 days) one of this name."""
        try:
            with passing_errors():
                self._sfn.start_execution(
                    stateMachineArn=machine_arn, name=name, input=orjson.dumps(execution_input).decode()
                )
        except ClientError as error:
            if error_code(error) != "ExecutionAlreadyExists":
                raise

    def describe(self, execution_arn: str) -> dict[str, Any]:
        with passing_errors():
            return self._sfn.describe_execution(executionArn=execution_arn)

    def last_state(self, execution_arn: str) -> str | None:
        """Name of the state entered last: the one that failed, when the execution just failed."""
        with passing_errors():
            pages = self._sfn.get_paginator("get_execution_history").paginate(
                executionArn=execution_arn, reverseOrder=True, includeExecutionData=False
            )
            for page in pages:
                for event in page["events"]:
                    name = event.get("stateEnteredEventDetails", {}).get("name")
                    if name and name not in _REPORTING_STATES:
                        return name
        return None

    def succeed(self, token: str, output: dict[str, Any]) -> bool:
        """Answer a waiting task. False where nobody waits any more."""
        return self._answer(self._sfn.send_task_success, taskToken=token, output=orjson.dumps(output).decode())

    def fail(self, token: str, error: str, cause: str) -> bool:
        return self._answer(
            self._sfn.send_task_failure,
            taskToken=token,
            error=error[:_ERROR_CHARACTERS],
            cause=cause[:_CAUSE_CHARACTERS],
        )

    def heartbeat(self, token: str) -> bool:
        return self._answer(self._sfn.send_task_heartbeat, taskToken=token)

    @staticmethod
    def _answer(call: Any, **arguments: str) -> bool:
        try:
            with passing_errors():
                call(**arguments)
        except ClientError as error:
            if error_code(error) in _NOBODY_WAITS:
                return False
            raise
        return True


class Histories:
    """What became of executions; `sfn` is a boto3 Step Functions client, its errors are named by who runs the script."""

    def __init__(self, sfn: Any) -> None:
        self._sfn = sfn

    def machine_type(self, machine_arn: str) -> str:
        """STANDARD or EXPRESS."""
        return self._sfn.describe_state_machine(stateMachineArn=machine_arn)["type"]

    def failed(self, machine_arn: str) -> list[dict[str, Any]]:
        """The last executions that ended badly, one of each kind of end."""
        return [
            execution
            for status in _ENDED_BADLY
            for execution in self._sfn.list_executions(stateMachineArn=machine_arn, statusFilter=status, maxResults=1)[
                "executions"
            ]
        ]

    def describe(self, execution_arn: str) -> dict[str, Any]:
        return self._sfn.describe_execution(executionArn=execution_arn)

    def events(self, execution_arn: str) -> tuple[list[dict[str, Any]], bool]:
        """The history's last events, the oldest first, and whether these are all."""
        pages = self._sfn.get_paginator("get_execution_history").paginate(
            executionArn=execution_arn,
            reverseOrder=True,
            includeExecutionData=True,
            PaginationConfig={"PageSize": _PAGE},
        )
        events: list[dict[str, Any]] = []
        is_whole = True
        for page in pages:
            events += map(_slim, page["events"])
            if len(events) >= _MOST_EVENTS:
                is_whole = "nextToken" not in page
                break
        return events[::-1], is_whole


def _slim(event: dict[str, Any]) -> dict[str, Any]:
    """The event with its long texts cut: thousands of them must fit the function's memory."""
    return {
        key: {name: text[:_KEPT_CHARACTERS] if isinstance(text, str) else text for name, text in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in event.items()
    }


def find_execution(sfn: Any, execution_arn: str) -> dict[str, Any] | None:
    """As DescribeExecution answers; None for one that nobody knows, or not yet."""
    return or_none(lambda: sfn.describe_execution(executionArn=execution_arn), "ExecutionDoesNotExist")


_REPORTING_STATES = {"ReportFailure", "RunFailed", "TriageFailed"}
