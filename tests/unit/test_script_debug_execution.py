"""debug-execution: why an execution failed, with its child executions followed."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.unit.canned import canned
from tests.unit.scripts import World, scripts
from tests.unit.test_execution_history import CHILD, Events

NAME = "debug-execution"
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:orders"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:orders:{}"
START = dt.datetime(2026, 11, 20, 3, 0, tzinfo=dt.UTC)


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        yield made


def described(arn: str, status: str = "FAILED") -> dict[str, Any]:
    return {
        "executionArn": arn,
        "stateMachineArn": MACHINE,
        "name": arn.rpartition(":")[2],
        "status": status,
        "startDate": START,
        "stopDate": START + dt.timedelta(seconds=9),
    }


def executions(*told: tuple[str, Events]) -> ExitStack:
    """Executions that are asked for one after the other."""
    stack = ExitStack()
    about, histories = [described(arn) for arn, _ in told], [events.list for _, events in told]
    stack.enter_context(canned("sfn", "DescribeExecution", lambda: about.pop(0)))
    stack.enter_context(canned("sfn", "GetExecutionHistory", lambda: {"events": list(reversed(histories.pop(0)))}))
    return stack


def failing(error: str, **more: Any) -> Events:
    events = Events()
    events.end(events.attempt(events.enter("Charge", 0), error, **more), error=error, cause="")
    return events


def test_execution_is_explained_and_its_child_followed(world):
    cause = json.dumps({"ExecutionArn": CHILD.format("c1")})
    parent = failing("States.TaskFailed", cause=cause, resourceType="states")
    with executions((EXECUTION.format("e1"), parent), (CHILD.format("c1"), failing("CardError", cause="refused"))):
        answer = world.call(NAME, {"execution_arn": EXECUTION.format("e1")})
    assert answer.status_code == 200, answer.body
    assert answer.result["findings"] == [
        "it failed in Charge: States.TaskFailed",
        "in its child execution c1: it failed in Charge: CardError",
    ]
    assert answer.result["failing_state"]["child_executions"] == [CHILD.format("c1")]
    (child,) = answer.result["followed"]
    assert (child["error"], child["cause"]) == ("CardError", "refused")
    assert answer.result["link"].endswith(EXECUTION.format("e1"))
    assert not answer.body["changed"]


def test_execution_found_by_its_machine_is_the_one_that_failed_last(world):
    machine = {"type": "STANDARD", "stateMachineArn": MACHINE, "name": "orders", "definition": "{}", "roleArn": "arn:r"}
    machine["creationDate"] = START  # type: ignore[assignment]
    lists = [
        [{**described(EXECUTION.format("old")), "stopDate": START}],
        [{**described(EXECUTION.format("new"), "TIMED_OUT"), "stopDate": START + dt.timedelta(hours=1)}],
        [],
    ]
    with (
        canned("sfn", "DescribeStateMachine", lambda: machine),
        canned("sfn", "ListExecutions", lambda: {"executions": lists.pop(0)}),
        executions((EXECUTION.format("new"), failing("CardError"))),
    ):
        answer = world.call(NAME, {"state_machine_name": "orders"})
    assert answer.result["execution_arn"] == EXECUTION.format("new")
    with (
        canned("sfn", "DescribeStateMachine", lambda: machine),
        canned("sfn", "ListExecutions", lambda: {"executions": []}),
    ):
        assert world.call(NAME, {"state_machine_name": "orders"}).status_code == 404


def test_execution_of_an_express_machine_says_where_to_look(world):
    arn = EXECUTION.format("e1").replace(":execution:", ":express:") + ":1"
    answer = world.call(NAME, {"execution_arn": arn})
    assert answer.status_code == 400
    assert "express execution keeps no history" in answer.error["message"]


def test_execution_with_a_long_history_is_read_from_its_end(world):
    events = Events()
    events.list = [{"type": "X", "id": n, "previousEventId": n - 1, "timestamp": START} for n in range(6_000)]
    events.end(events.attempt(events.enter("Charge", 0), "CardError", "no"), error="CardError", cause="no")
    pages = [list(reversed(events.list))[at : at + 1_000] for at in range(0, 7_000, 1_000)]
    with (
        canned("sfn", "DescribeExecution", lambda: described(EXECUTION.format("e1"))),
        canned("sfn", "GetExecutionHistory", lambda: {"events": pages.pop(0), "nextToken": f"page-{len(pages)}"}),
    ):
        answer = world.call(NAME, {"execution_arn": EXECUTION.format("e1")})
    assert answer.result["failing_state"]["name"] == "Charge"
    assert answer.result["findings"][1] == "its history is long: only the last 5,000 events were read"


def test_execution_that_is_not_there(world):
    error = {"Error": {"Code": "ExecutionDoesNotExist", "Message": "Execution Does Not Exist"}}
    with canned("sfn", "DescribeExecution", lambda: error):
        assert world.call(NAME, {"execution_arn": EXECUTION.format("gone")}).status_code == 404


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"execution_arn": MACHINE},
        {"execution_arn": EXECUTION.format("a"), "state_machine_name": "orders"},
        {"state_machine_name": "or ders"},
    ],
)
def test_execution_invalid_input(world, event):
    assert world.call(NAME, event).status_code == 400
