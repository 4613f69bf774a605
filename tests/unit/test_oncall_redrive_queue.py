"""oncall-redrive-queue: valid, edge and invalid input. moto moves no messages; here a stand-in does as SQS would."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.resources import make_dead_letter_queue
from tests.unit.scripts import World, module, scripts
from watchfloor.clients import script_runtime

NAME = "oncall-redrive-queue"
FAILED = {"queue_name": "orders-failed"}


class Moves:
    """SQS's moves: what was asked for, and how it stands when it is looked at."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.stands: list[dict[str, Any]] = []

    def start(self, **arguments: Any) -> dict[str, str]:
        self.asked.append(arguments)
        return {"TaskHandle": "handle"}

    def look(self, **_: Any) -> dict[str, Any]:
        if not self.asked:
            return {"Results": []}
        return {"Results": [self.stands.pop(0) if len(self.stands) > 1 else self.stands[0]]}


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Moves:
    made = Moves()
    client = script_runtime._client

    def patched(service: str, *settings: Any) -> Any:
        found = client(service, *settings)
        if service == "sqs":
            monkeypatch.setattr(found, "start_message_move_task", made.start, raising=False)
            monkeypatch.setattr(found, "list_message_move_tasks", made.look, raising=False)
        return found

    monkeypatch.setattr(script_runtime, "_client", patched)
    return made


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        sqs = made.client("sqs")
        _, dead = make_dead_letter_queue(sqs, "orders-failed", "orders")
        for number in range(3):
            sqs.send_message(QueueUrl=dead, MessageBody=str(number))
        yield made


def empty(world: World) -> None:
    sqs = world.client("sqs")
    sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName="orders-failed")["QueueUrl"])


def test_messages_are_moved_and_counted(world, moves):
    moves.stands = [
        {"Status": "RUNNING", "TaskHandle": "handle"},
        {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 2},
    ]
    answer = world.call(NAME, {**FAILED, "max_per_second": 5})
    assert (answer.status_code, answer.body["changed"]) == (200, True), answer.body
    assert answer.result["to_queue_names"] == ["orders"]
    counts = ("message_count", "moved_count", "left_count", "missing_count")
    # The stand-in leaves the messages where they are.
    assert [answer.result[name] for name in counts] == [3, 2, 3, 0]
    assert [call["MaxNumberOfMessagesPerSecond"] for call in moves.asked] == [5]


def test_dry_run_asks_for_no_move(world, moves):
    answer = world.call(NAME, FAILED, dry_run=True)
    assert answer.status_code == 202
    assert [call["operation"] for call in answer.planned_calls] == ["StartMessageMoveTask"]
    assert "DestinationArn" not in answer.planned_calls[0]["parameters"]
    assert moves.asked == []


def test_another_destination_is_found_by_its_name(world, moves):
    (call,) = world.call(NAME, {**FAILED, "to_queue_name": "orders"}, dry_run=True).planned_calls
    assert call["parameters"]["DestinationArn"].endswith(":orders")


def test_empty_queue_is_left_alone(world, moves):
    empty(world)
    answer = world.call(NAME, FAILED)
    assert (answer.status_code, answer.body["changed"], answer.result["moved_count"]) == (200, False, 0)
    assert moves.asked == []


def test_move_that_goes_on_longer_says_how_to_end_it(world, moves):
    moves.stands = [{"Status": "RUNNING", "TaskHandle": "handle", "ApproximateNumberOfMessagesMoved": 1}]
    answer = world.call(NAME, {**FAILED, "wait_seconds": 10})
    assert (answer.status_code, answer.body["changed"]) == (504, True)
    assert "cancel-message-move-task --task-handle handle" in answer.error["message"]


def test_move_that_sqs_gives_up_is_a_fault(world, moves):
    moves.stands = [{"Status": "FAILED", "FailureReason": "AccessDenied"}]
    answer = world.call(NAME, FAILED)
    assert (answer.status_code, "AccessDenied" in answer.error["message"]) == (500, True)


def test_second_move_at_the_same_time_is_refused(world, moves):
    moves.asked.append({})
    moves.stands = [{"Status": "RUNNING", "TaskHandle": "handle"}]
    answer = world.call(NAME, FAILED)
    assert (answer.status_code, "already" in answer.error["message"]) == (409, True)


@pytest.mark.parametrize(
    ("event", "code", "says"),
    [
        ({"queue_name": "none"}, 404, "queue"),
        ({"queue_name": "orders"}, 409, "no dead-letter queue"),
        ({**FAILED, "to_queue_name": "orders-failed"}, 400, "itself"),
        ({**FAILED, "to_queue_name": "none"}, 404, "queue"),
        ({**FAILED, "max_per_second": 501}, 400, "max_per_second"),
        ({"queue_name": "https://sqs/1/orders"}, 400, "queue_name"),
        ({}, 400, "queue_name: is missing"),
    ],
)
def test_what_cannot_be_redriven(world, moves, event, code, says):
    answer = world.call(NAME, event)
    assert (answer.status_code, answer.body["changed"]) == (code, False)
    assert says in answer.error["message"]
    assert moves.asked == []


@pytest.mark.parametrize("name", ["a", "a" * 80, f"{'a' * 75}.fifo"])
def test_queue_names_as_sqs_takes_them(name):
    with scripts():
        assert module("oncall_redrive_queue").RedriveQueue(queue_name=name).queue_name == name
