"""debug-errors: the most frequent errors of a log, grouped as error triage does."""

import time
from collections.abc import Iterator

import pytest

from tests.unit.scripts import World, scripts

NAME = "debug-errors"
GROUP = "/aws/lambda/orders"
TRACE = """[ERROR] KeyError: 'price'
Traceback (most recent call last):
  File "/var/task/orders.py", line 12, in lambda_handler
    return total(event)
  File "/var/task/orders.py", line {line}, in total
    return event["price"]"""


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        made.client("logs").create_log_group(logGroupName=GROUP)
        yield made


def put(world: World, stream: str, *lines: str, seconds_ago: float = 60) -> None:
    logs = world.client("logs")
    logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    at = int((time.time() - seconds_ago) * 1000)
    events = [{"timestamp": at + n, "message": line} for n, line in enumerate(lines)]
    logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)


def test_errors_are_grouped_and_the_most_frequent_come_first(world):
    put(world, "a", *[TRACE.format(line=31)] * 3, "INFO all is well", "ERROR cannot reach anna@example.com now")
    put(world, "b", TRACE.format(line=31), seconds_ago=30)
    answer = world.call(NAME, {"function_name": "orders", "since": "30m"})
    assert answer.status_code == 200, answer.body
    first, second = answer.result["groups"]
    assert (first["count"], first["type"], first["message"]) == (4, "KeyError", "'price'")
    assert first["where"][0].startswith("/var/task/orders.py:")
    assert first["last_log_stream"] == "b"
    assert sum(first["over_time"]) == 4
    assert len(first["fingerprint"]) == 16
    assert second["count"] == 1
    assert "anna@example.com" not in str(answer.body)
    assert answer.result["findings"][0] == "5 errors of 2 kinds"
    assert answer.result["findings"][1].startswith("most frequent: 4 times KeyError: 'price' at /var/task/orders.py:")


def test_errors_fingerprint_is_the_one_of_error_triage(world):
    from watchfloor.fingerprints import fingerprint
    from watchfloor.log_events import LogBatch, LogEvent, errors_in

    put(world, "a", TRACE.format(line=31))
    shown = world.call(NAME, {"function_name": "orders"}).result["groups"][0]["fingerprint"]
    (error,) = errors_in(LogBatch("DATA_MESSAGE", "", "/other", "x", [], [LogEvent("1", 1.0, TRACE.format(line=99))]))
    assert shown == fingerprint(error).value


def test_errors_none_is_said_so(world):
    put(world, "a", "INFO fine", "WARN slow")
    answer = world.call(NAME, {"log_groups": [GROUP]})
    assert answer.result["findings"] == ["no errors in this time"]
    assert answer.result["groups"] == []


def test_errors_are_bounded(world):
    for batch in range(30):
        # Letters, because numbers do not tell errors apart.
        name = f"{chr(97 + batch % 26)}{chr(97 + batch // 26)}" * 4
        put(world, f"s{batch}", f"[ERROR] {name.title()}Error: {'x' * 20_000}")
    answer = world.call(NAME, {"function_name": "orders", "top": 25})
    assert answer.status_code == 200
    assert len(answer.result["groups"]) == 25
    assert len(str(answer.body)) < 100_000


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({}, 400),
        ({"function_name": "orders", "top": 100}, 400),
        ({"function_name": "orders", "since": "8d"}, 400),
        ({"log_groups": []}, 400),
        ({"function_name": "nobody"}, 404),
    ],
)
def test_errors_invalid_input(world, event, status):
    assert world.call(NAME, event).status_code == status
