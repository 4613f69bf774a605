"""debug-queue: what is wrong with a queue, and a sample of dead letters that stay where they are."""

import datetime as dt
import json
from collections.abc import Iterator

import pytest

from tests.unit.canned import canned
from tests.unit.scripts import World, scripts
from watchfloor.scripts import same_plan

NAME = "debug-queue"


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        yield made


def queue(world: World, name: str, dead: str = "", **attributes: str) -> str:
    sqs = world.client("sqs")
    if dead:
        url = sqs.get_queue_url(QueueName=dead)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def metric(world: World, queue_name: str, name: str, value: float) -> None:
    data = {"MetricName": name, "Dimensions": [{"Name": "QueueName", "Value": queue_name}], "Value": value}
    data["Timestamp"] = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2)
    world.client("cloudwatch").put_metric_data(Namespace="AWS/SQS", MetricData=[data])


def test_queue_with_dead_letters_says_how_many_and_where(world):
    dead, orders = queue(world, "orders-dead"), queue(world, "orders", "orders-dead")
    for number in range(2):
        world.client("sqs").send_message(QueueUrl=dead, MessageBody=f"order {number}")
    world.client("sqs").send_message(QueueUrl=orders, MessageBody="order 3")
    metric(world, "orders", "ApproximateAgeOfOldestMessage", 7_200)
    answer = world.call(NAME, {"queue_name": "orders"})
    assert answer.status_code == 200, answer.body
    result = answer.result
    assert result["dead_letter_queue"] == {"queue_name": "orders-dead", "after_receives": 3, "visible": 2}
    assert (result["visible"], result["in_flight"], result["oldest_seconds"]) == (1, 0, 7_200)
    assert result["findings"] == [
        "nobody read it in the last half hour, and 1 messages wait",
        "2 messages are in its dead letter queue orders-dead",
        "1 messages wait, the oldest 2 hours old; 0 are being worked on",
    ]
    other = world.call(NAME, {"queue_name": "orders-dead"}).result
    assert other["dead_letters_of"] == ["orders"]
    assert other["findings"][0].startswith("2 dead letters of orders lie here")
    assert not answer.body["changed"]


def test_queue_sample_shows_dead_letters_and_leaves_them(world):
    url = queue(world, "orders-dead")
    attributes = {"mail": {"DataType": "String", "StringValue": "anna@example.com"}}
    world.client("sqs").send_message(
        QueueUrl=url, MessageBody="anna@example.com " + "x" * 9_000, MessageAttributes=attributes
    )
    planned = world.call(NAME, {"queue_name": "orders-dead", "sample": 5}, dry_run=True)
    assert planned.status_code == 202
    answer = world.call(NAME, {"queue_name": "orders-dead", "sample": 5})
    assert answer.status_code == 200, answer.body
    # A look is a receive, and a receive is counted.
    assert answer.body["changed"]
    (message,) = answer.result["sample"]
    assert message["body"].startswith("[EMAIL_1] xxx")
    assert message["attributes"] == {"mail": "[EMAIL_1]"}
    assert (message["receives"], message["body_characters"]) == (1, 9_017)
    assert len(message["body"]) < 3_100
    made = json.loads(world.records(NAME)[-1]["calls"])
    assert all(map(same_plan, planned.planned_calls, made))
    left = world.client("sqs").receive_message(QueueUrl=url)["Messages"]
    assert left[0]["Body"].endswith("xxx")


def test_queue_sample_is_refused_where_a_look_could_move_a_message(world):
    queue(world, "orders-dead"), queue(world, "orders", "orders-dead")
    answer = world.call(NAME, {"queue_name": "orders", "sample": 1})
    assert answer.status_code == 409
    assert not answer.body["changed"]


def test_queue_dead_letter_queue_out_of_reach_does_not_hide_the_queue(world):
    queue(world, "gone")
    queue(world, "orders", "gone")
    sqs = world.client("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName="gone")["QueueUrl"])
    answer = world.call(NAME, {"queue_name": "orders"})
    assert answer.status_code == 200
    assert answer.result["dead_letter_queue"]["visible"] is None
    assert "its dead letter queue gone does not exist" in answer.result["findings"]


def test_queue_consumer_that_is_switched_off_comes_first(world):
    url = queue(world, "orders")
    world.client("sqs").send_message(QueueUrl=url, MessageBody="order")
    function = "arn:aws:lambda:us-east-1:123456789012:function:ship"
    mapping = {"FunctionArn": function, "State": "Disabled", "BatchSize": 10}
    with canned("lambda", "ListEventSourceMappings", lambda: {"EventSourceMappings": [mapping]}):
        answer = world.call(NAME, {"queue_name": "orders"})
    assert answer.result["consumers"][0]["function"] == "ship"
    assert answer.result["findings"][0] == "its consumer ship is switched off"


def test_queue_that_is_not_there(world):
    assert world.call(NAME, {"queue_name": "nobody"}).status_code == 404


@pytest.mark.parametrize(
    "event", [{}, {"queue_name": "a/b"}, {"queue_name": "a", "sample": 11}, {"queue_name": "a", "sample": -1}]
)
def test_queue_invalid_input(world, event):
    assert world.call(NAME, event).status_code == 400
