"""oncall-rerun-execution: valid, edge and invalid input; redrives, which moto lacks, are on the local cloud."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.resources import make_role
from tests.unit.scripts import World, scripts

NAME = "oncall-rerun-execution"
WAITS = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 1, "End": True}}}


class Machine:
    """A machine of moto, whose executions end when a test says so."""

    def __init__(self, world: World) -> None:
        self.world, self.sfn = world, world.client("stepfunctions")
        role = make_role(world.client("iam"), "orders", "states")
        self.arn = self.sfn.create_state_machine(name="orders", definition=json.dumps(WAITS), roleArn=role)[
            "stateMachineArn"
        ]

    def start(self, name: str = "4711") -> str:
        return self.sfn.start_execution(stateMachineArn=self.arn, name=name, input='{"order": 1}')["executionArn"]

    def stopped(self, name: str = "4711") -> str:
        arn = self.start(name)
        self.sfn.stop_execution(executionArn=arn, error="Broken", cause="by hand")
        return arn

    def names(self) -> set[str]:
        return {row["name"] for row in self.sfn.list_executions(stateMachineArn=self.arn)["executions"]}


@pytest.fixture
def machine() -> Iterator[Machine]:
    with scripts() as world:
        yield Machine(world)


def call(machine: Machine, arn: str, **parameters: Any):
    controls = {"dry_run": parameters.pop("dry_run")} if "dry_run" in parameters else {}
    return machine.world.call(NAME, {"execution_arn": arn, "wait_seconds": 0, **parameters}, **controls)


def test_execution_begins_anew_with_the_same_input(machine):
    answer = call(machine, machine.stopped())
    assert (answer.status_code, answer.body["changed"]) == (200, True), answer.body
    assert (answer.result["how"], answer.result["status_before"]) == ("restarted", "ABORTED")
    assert answer.result["running_as"].endswith(":orders:4711-rerun-1")
    again = machine.sfn.describe_execution(executionArn=answer.result["running_as"])
    assert again["input"] == '{"order": 1}'


def test_dry_run_starts_nothing(machine):
    answer = call(machine, machine.stopped(), dry_run=True)
    assert answer.status_code == 202
    assert [planned["operation"] for planned in answer.planned_calls] == ["StartExecution"]
    assert machine.names() == {"4711"}


def test_running_execution_is_left_alone_unless_forced(machine):
    arn = machine.start()
    answer = call(machine, arn)
    assert (answer.status_code, "still running" in answer.error["message"]) == (409, True)
    assert call(machine, arn, force=True).status_code == 200


def test_execution_that_runs_again_already_is_not_started_twice(machine):
    arn = machine.stopped()
    assert call(machine, arn).status_code == 200
    answer = call(machine, arn)
    assert (answer.status_code, "4711-rerun-1 running" in answer.error["message"]) == (409, True)
    assert machine.names() == {"4711", "4711-rerun-1"}


def test_next_try_is_numbered_when_the_last_one_failed(machine):
    arn = machine.stopped()
    machine.stopped("4711-rerun-1")
    assert call(machine, arn).result["running_as"].endswith("4711-rerun-2")


def test_a_long_name_leaves_room_for_the_number(machine):
    answer = call(machine, machine.stopped("n" * 80))
    name = answer.result["running_as"].rpartition(":")[2]
    assert (len(name), name.endswith("n-rerun-1")) == (80, True)


def test_redrive_is_refused_where_step_functions_cannot(machine):
    answer = call(machine, machine.stopped(), mode="redrive")
    assert (answer.status_code, "cannot be redriven" in answer.error["message"]) == (409, True)


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        ("arn:aws:states:us-east-1:123456789012:execution:orders:none", 404),
        ("arn:aws:states:us-east-1:123456789012:express:orders:4711:1", 400),
        ("arn:aws:states:us-east-1:123456789012:stateMachine:orders", 400),
        ("4711", 400),
    ],
)
def test_what_cannot_be_run_again(machine, arn, code):
    assert call(machine, arn).status_code == code
    assert machine.names() == set()
