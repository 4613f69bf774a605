"""test-lambda: a function is called with an event, and its answer compared with what it should be."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto.awslambda.models import LambdaFunction

from tests.machines.stack import physical_id
from tests.resources import make_function
from tests.unit.scripts import World, scripts

NAME = "test-lambda"


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        made.client("s3").create_bucket(Bucket=physical_id("DataBucket"))
        make_function(made.client("lambda"), made.client("iam"), "orders")
        yield made


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Any]], list[Any]]:
    """Makes every function answer by a Python function; the list is of the events that came."""

    def install(function: Callable[[Any], Any]) -> list[Any]:
        events: list[Any] = []

        def invoke(_self: Any, event: str | None = None) -> tuple[str, bool, str]:
            events.append(json.loads(event) if isinstance(event, str | bytes) else event)
            try:
                return json.dumps(function(events[-1])), False, "START\nmail anna@example.com\nEND"
            except ValueError as error:
                return json.dumps({"errorType": "ValueError", "errorMessage": str(error)}), True, "START\nEND"

        monkeypatch.setattr(LambdaFunction, "_invoke_lambda", invoke)
        return events

    return install


def test_lambda_that_answers_as_expected(world, behave):
    events = behave(lambda event: {"total": event["price"] * 2})
    answer = world.call(
        NAME,
        {
            "function_name": "orders",
            "event": {"price": 4},
            "checks": [{"path": "$.total", "equals": 8}],
            "max_ms": 60_000,
        },
    )
    assert answer.status_code == 200, answer.body
    assert answer.body["changed"]
    assert events == [{"price": 4}]
    assert json.loads(answer.result["answer"]) == {"total": 8}
    assert answer.result["function"]["FunctionName"] == "orders"
    assert "anna@example.com" not in str(answer.body)


def test_lambda_event_from_the_bucket_and_an_error_that_is_wanted(world, behave):
    def refuse(event: Any) -> None:
        raise ValueError("no price")

    behave(refuse)
    place = {"Bucket": physical_id("DataBucket"), "Key": "config/tests/orders/empty.json"}
    world.client("s3").put_object(**place, Body=b"{}")
    event = {"function_name": "orders", "event_name": "orders/empty.json"}
    assert world.call(NAME, {**event, "expect_error": "ValueError"}).status_code == 200
    failed = world.call(NAME, event)
    assert failed.status_code == 409
    assert failed.error["message"] == "it ended with ValueError: no price"
    other = world.call(NAME, {**event, "expect_error": "KeyError"})
    assert "should end with KeyError, and ended with ValueError" in other.error["message"]


def test_lambda_dry_run_calls_nothing(world, behave):
    events = behave(lambda event: {})
    answer = world.call(NAME, {"function_name": "orders", "event": {"a": 1}}, dry_run=True)
    assert answer.status_code == 202
    assert events == []
    (call,) = answer.planned_calls
    assert (call["service"], call["operation"]) == ("lambda", "Invoke")
    assert call["parameters"]["FunctionName"] == "orders"


def test_lambda_that_is_not_there(world):
    for target in ({"function_name": "nobody"}, {"function_name": "orders", "qualifier": "live"}):
        assert world.call(NAME, {**target, "event": {}}).status_code == 404
    missing = world.call(NAME, {"function_name": "orders", "event_name": "orders/none.json"})
    assert missing.status_code == 404
    assert "config/tests/orders/none.json" in missing.error["message"]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"function_name": "orders"},
        {"function_name": "orders", "event": {}, "event_name": "a.json"},
        {"function_name": "arn:aws:lambda:us-east-1:1:function:x", "event": {}},
        {"function_name": "orders", "event_name": "../secret.json"},
        {"function_name": "orders", "event": "text"},
        {"function_name": "orders", "event": {}, "checks": [{"path": "$.a"}]},
    ],
)
def test_lambda_invalid_input(world, event):
    assert world.call(NAME, event).status_code == 400
