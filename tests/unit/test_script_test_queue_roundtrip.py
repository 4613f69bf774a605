"""test-queue-roundtrip: a message is sent and found again, and nothing else in the queue is lost."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.scripts import World, scripts
from watchfloor.clients import queues
from watchfloor.scripts import same_plan

NAME = "test-queue-roundtrip"


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        yield made


def queue(world: World, name: str, **attributes: str) -> str:
    return str(world.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def bodies(world: World, url: str) -> list[str]:
    answer = world.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return sorted(message["Body"] for message in answer.get("Messages", []))


def test_queue_roundtrip_finds_its_own_message_and_leaves_the_others(world):
    url = queue(world, "orders")
    for number in range(3):
        world.client("sqs").send_message(QueueUrl=url, MessageBody=f"order {number}")
    answer = world.call(NAME, {"queue_name": "orders", "wait_seconds": 10})
    assert answer.status_code == 200, answer.body
    assert not answer.body["changed"]
    assert "arrived at orders" in answer.result["findings"][0]
    assert bodies(world, url) == ["order 0", "order 1", "order 2"]


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_queue_roundtrip_does_what_its_dry_run_says(world, name):
    url = queue(world, name, **({"FifoQueue": "true"} if name.endswith("fifo") else {}))
    planned = world.call(NAME, {"queue_name": name}, dry_run=True)
    assert planned.status_code == 202
    assert bodies(world, url) == []
    assert [call["operation"] for call in planned.planned_calls] == ["SendMessage", "DeleteMessage"]
    assert world.call(NAME, {"queue_name": name, "wait_seconds": 10}).status_code == 200
    made = json.loads(world.records(NAME)[-1]["calls"])
    assert len(made) == 2
    assert all(map(same_plan, planned.planned_calls, made))


def test_queue_roundtrip_message_that_arrives_elsewhere(world):
    """A consumer passes the message on; it keeps the mark, not the id."""
    source, target = queue(world, "orders"), queue(world, "shipments")
    sqs = world.client("sqs")

    def consume() -> None:
        for _ in range(100):
            for message in sqs.receive_message(QueueUrl=source, MessageAttributeNames=["All"]).get("Messages", []):
                attributes = message["MessageAttributes"]
                sqs.send_message(QueueUrl=target, MessageBody=message["Body"], MessageAttributes=attributes)
                sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
                return
            threading.Event().wait(0.05)

    consumer = threading.Thread(target=consume)
    consumer.start()
    answer = world.call(NAME, {"queue_name": "orders", "arrives_at": "shipments", "wait_seconds": 10})
    consumer.join()
    assert answer.status_code == 200, answer.body
    # Somebody did something with it on its way.
    assert answer.body["changed"]
    assert bodies(world, target) == []


def test_queue_roundtrip_message_that_does_not_arrive(world, monkeypatch):
    queue(world, "orders"), queue(world, "shipments")
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(queues, "time", FakeTime(clock))
    answer = world.call(NAME, {"queue_name": "orders", "arrives_at": "shipments", "wait_seconds": 5})
    assert answer.status_code == 409
    assert answer.body["changed"]
    assert "did not arrive at shipments" in answer.error["message"]
    assert answer.error["details"]["message_id"]


class FakeTime:
    def __init__(self, clock: Iterator[int]) -> None:
        self.monotonic = lambda: float(next(clock))


def test_queue_roundtrip_does_not_look_among_many_or_impatient_messages(world):
    dead = queue(world, "dead")
    arn = world.client("sqs").get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    impatient, full = queue(world, "impatient", RedrivePolicy=policy), queue(world, "full")
    # Empty, it may be used.
    assert world.call(NAME, {"queue_name": "impatient", "wait_seconds": 5}).status_code == 200
    world.client("sqs").send_message(QueueUrl=impatient, MessageBody="order")
    for number in range(30):
        world.client("sqs").send_message(QueueUrl=full, MessageBody=str(number))
    for name in ("impatient", "full"):
        answer = world.call(NAME, {"queue_name": name})
        assert answer.status_code == 409
        assert not answer.body["changed"]
    assert bodies(world, impatient) == ["order"]


def test_queue_roundtrip_queue_that_is_not_there(world):
    assert world.call(NAME, {"queue_name": "nobody"}).status_code == 404


@pytest.mark.parametrize(
    "event", [{}, {"queue_name": "a b"}, {"queue_name": "a", "wait_seconds": 1}, {"queue_name": "a", "body": "text"}]
)
def test_queue_roundtrip_invalid_input(world, event: Any):
    assert world.call(NAME, event).status_code == 400
