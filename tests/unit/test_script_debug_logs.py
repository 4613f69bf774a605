"""debug-logs: a question to Logs Insights, its answer bounded and without secrets."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.unit.canned import canned
from tests.unit.scripts import World, scripts

NAME = "debug-logs"
GROUP = "/aws/lambda/orders"


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        made.client("logs").create_log_group(logGroupName=GROUP)
        made.client("logs").create_log_stream(logGroupName=GROUP, logStreamName="s")
        yield made


def put(world: World, *lines: str) -> None:
    now = int(time.time() * 1000)
    events = [{"timestamp": now - 2_000 + n, "message": line} for n, line in enumerate(lines)]
    world.client("logs").put_log_events(logGroupName=GROUP, logStreamName="s", logEvents=events)


def answers(*results: dict[str, Any]) -> ExitStack:
    """GetQueryResults answers these in turn, the last one for ever."""
    queue = list(results)
    stack = ExitStack()
    stack.enter_context(canned("logs", "GetQueryResults", lambda: queue.pop(0) if len(queue) > 1 else queue[0]))
    return stack


def result(status: str = "Complete", rows: int = 1, scanned: float = 1e6, text: str = "line") -> dict[str, Any]:
    row = [{"field": "@message", "value": text}, {"field": "@ptr", "value": "p"}]
    return {"status": status, "results": [row] * rows, "statistics": {"bytesScanned": scanned, "recordsMatched": rows}}


def test_logs_tells_rows_without_secrets_and_the_cost(world):
    put(world, "ERROR: order of anna@example.com failed")
    answer = world.call(NAME, {"function_name": "orders", "question": "errors", "since": "30m"})
    assert answer.status_code == 200, answer.body
    assert answer.result["findings"][0].startswith("1 rows; ")
    assert answer.result["log_groups"] == [GROUP]
    (row,) = answer.result["rows"]
    assert row["@message"] == "ERROR: order of [EMAIL_1] failed"
    assert "@ptr" not in row
    assert not answer.body["changed"]


def test_logs_waits_for_the_query(world):
    with answers(result("Scheduled", 0), result("Running", 0), result("Complete", 3)):
        answer = world.call(NAME, {"log_groups": [GROUP], "query": "fields @message"})
    assert len(answer.result["rows"]) == 3


def test_logs_stops_a_query_that_scans_too_much(world):
    stopped: list[int] = []

    def stop() -> dict[str, Any]:
        stopped.append(1)
        return {"success": True}

    with (
        answers(result("Running", 2, 3e9)),
        canned("logs", "StopQuery", stop),
    ):
        answer = world.call(NAME, {"log_groups": [GROUP], "max_gigabytes": 2})
    assert answer.status_code == 200
    assert stopped == [1]
    assert "stopped before its end" in answer.result["findings"][0]
    assert len(answer.result["rows"]) == 2


def test_logs_answer_is_bounded(world):
    with answers(result(rows=1_000, text="x" * 5_000)):
        answer = world.call(NAME, {"log_groups": [GROUP], "limit": 1_000})
    assert len(str(answer.body)) < 100_000
    assert len(answer.result["rows"]) < 1_000
    assert "rows more would be too much" in answer.result["findings"][-1]


def test_logs_query_that_fails_or_is_malformed_or_asks_the_wrong_group(world):
    with answers(result("Timeout", 0)):
        assert world.call(NAME, {"log_groups": [GROUP]}).status_code == 504
    error = {"Error": {"Code": "MalformedQueryException", "Message": "unexpected symbol at line 1"}}
    with canned("logs", "StartQuery", lambda: error):
        answer = world.call(NAME, {"log_groups": [GROUP], "query": "nonsense |"})
    assert answer.status_code == 400
    assert answer.error["message"] == "query: unexpected symbol at line 1"
    assert world.call(NAME, {"log_groups": ["/aws/lambda/nobody"]}).status_code == 404


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"question": "errors"},
        {"log_groups": ["a group"]},
        {"function_name": "orders", "question": "everything"},
        {"function_name": "orders", "question": "errors", "query": "fields @message"},
        {"function_name": "orders", "since": "yesterday"},
        {"function_name": "orders", "since": "1h", "until": "2h"},
        {"function_name": "orders", "since": "30d"},
        {"function_name": "orders", "limit": 0},
    ],
)
def test_logs_invalid_input(world, event):
    assert world.call(NAME, event).status_code == 400
