"""An execution's history tells where it ended, why, and how it came there."""

import datetime as dt
import json
from typing import Any

import pytest

from watchfloor.errors import InvalidInputError, NotFoundError
from watchfloor.execution_history import (
    check_keeps_history,
    explained,
    followed,
    last_failed,
    path,
    read_history,
    report,
    said,
)
from watchfloor.redaction import Redactor

BEGIN = dt.datetime(2026, 11, 20, 3, 0, tzinfo=dt.UTC)
CHILD = "arn:aws:states:us-east-1:123456789012:execution:child:{}"


class Events:
    """Builds a history; every event comes a second after the one before."""

    def __init__(self) -> None:
        self.list: list[dict[str, Any]] = []

    def add(self, kind: str, previous: int, details_key: str = "", **details: Any) -> int:
        number = len(self.list) + 1
        event = {
            "type": kind,
            "id": number,
            "previousEventId": previous,
            "timestamp": BEGIN + dt.timedelta(seconds=number),
        }
        if details_key:
            event[details_key] = details
        self.list.append(event)
        return number

    def enter(self, name: str, previous: int, kind: str = "Task", data: Any = None) -> int:
        return self.add(
            f"{kind}StateEntered", previous, "stateEnteredEventDetails", name=name, input=json.dumps(data or {})
        )

    def leave(self, name: str, previous: int, kind: str = "Task") -> int:
        return self.add(f"{kind}StateExited", previous, "stateExitedEventDetails", name=name, output="{}")

    def attempt(self, previous: int, error: str = "", cause: str = "", **more: Any) -> int:
        scheduled = self.add("TaskScheduled", previous, "taskScheduledEventDetails", resource="invoke")
        if not error:
            return self.add("TaskSucceeded", scheduled, "taskSucceededEventDetails", output="{}")
        return self.add("TaskFailed", scheduled, "taskFailedEventDetails", error=error, cause=cause, **more)

    def end(self, previous: int, kind: str = "ExecutionFailed", **details: Any) -> None:
        key = kind[0].lower() + kind[1:] + "EventDetails"
        self.add(kind, previous, key, **details)


def test_failing_state_with_its_attempts_input_and_cause():
    events = Events()
    first = events.leave("Prepare", events.attempt(events.enter("Prepare", 0)))
    charge = events.enter("Charge", first, data={"mail": "anna@example.com", "price": 3})
    failed = events.attempt(
        events.attempt(charge, "Timeout", "slow"), "CardError", '{"errorMessage": "no for anna@example.com"}'
    )
    events.end(failed, error="CardError", cause="no")
    history = read_history(events.list)
    found = explained(history, Redactor())
    state = found["failing_state"]
    assert (state["name"], state["attempts"]) == ("Charge", 2)
    assert state["input"] == {"mail": "[EMAIL_1]", "price": 3}
    assert [each["error"] for each in state["earlier_failures"]] == ["Timeout"]
    assert found["error"] == "CardError"
    assert found["cause"] == {"errorMessage": "no for [EMAIL_1]"}
    assert said(history, "FAILED") == ["it failed in Charge after 2 attempts: CardError"]
    assert [(step["state"], step["outcome"], step["attempts"]) for step in path(history)] == [
        ("Prepare", "passed", 1),
        ("Charge", "failed", 2),
    ]


def test_error_that_was_caught_is_not_the_one_that_ended_it():
    events = Events()
    risky = events.leave("Risky", events.attempt(events.enter("Risky", 0), "Small", "caught"))
    last = events.enter("GiveUp", risky, "Fail")
    events.end(last, error="Given.Up", cause="on purpose")
    history = read_history(events.list)
    assert history.failing is not None
    assert history.failing.name == "GiveUp"
    assert [step["outcome"] for step in path(history)] == ["caught or retried", "not finished"]
    assert explained(history, Redactor())["error"] == "Given.Up"
    assert explained(history, Redactor())["cause"] == "on purpose"


def test_failure_in_a_branch_is_found_inside_of_it():
    events = Events()
    both = events.enter("Both", 0, "Parallel")
    started = events.add("ParallelStateStarted", both)
    one, other = events.enter("One", started), events.enter("Other", started)
    running = events.add("TaskScheduled", one, "taskScheduledEventDetails", resource="x")
    inner = events.attempt(other, "Broken", "inside")
    events.add("TaskStateAborted", running)
    events.end(events.add("ParallelStateFailed", started), error="Broken", cause="inside")
    history = read_history(events.list)
    state = explained(history, Redactor())["failing_state"]
    assert inner
    assert (state["name"], state["inside"]) == ("Other", ["Both"])
    assert [step["inside"] for step in path(history)] == [None, "Both", "Both"]


def test_states_after_a_branch_belong_to_the_machine_again():
    events = Events()
    both = events.enter("Both", 0, "Parallel")
    started = events.add("ParallelStateStarted", both)
    done = events.leave("One", events.attempt(events.enter("One", started)))
    succeeded = events.add("ParallelStateSucceeded", done)
    left = events.leave("Both", succeeded, "Parallel")
    events.enter("After", left, "Wait")
    history = read_history(events.list)
    assert [(step["state"], step["inside"]) for step in path(history)] == [
        ("Both", None),
        ("One", "Both"),
        ("After", None),
    ]
    assert said(history, "RUNNING") == ["the execution running; it is in After"]


def test_child_executions_are_named_the_last_first():
    events = Events()
    call = events.enter("Call", 0)
    for number in (1, 2):
        cause = json.dumps({"ExecutionArn": CHILD.format(number), "Status": "FAILED"})
        call = events.attempt(call, "States.TaskFailed", cause, resourceType="states")
    events.end(call, error="States.TaskFailed", cause="")
    state = explained(read_history(events.list), Redactor())["failing_state"]
    assert state["child_executions"] == [CHILD.format(2), CHILD.format(1)]


def test_text_that_looks_like_an_execution_is_not_followed():
    events = Events()
    failed = events.attempt(events.enter("Call", 0), "Error", f"see {CHILD.format(1)}", resourceType="lambda")
    events.end(failed, error="Error", cause="")
    assert explained(read_history(events.list), Redactor())["failing_state"]["child_executions"] == []


def test_ends_that_no_state_failed_for():
    runtime = Events()
    runtime.end(runtime.enter("Read", 0, "Pass"), error="States.Runtime", cause="Invalid path '$.nope'")
    assert said(read_history(runtime.list), "FAILED") == [
        "it failed in Read: States.Runtime",
        "the machine itself is wrong there: a path or a parameter that is not in the input",
    ]
    late = Events()
    late.enter("Wait", 0, "Wait")
    late.end(0, "ExecutionTimedOut")
    assert said(read_history(late.list), "TIMED_OUT") == ["it ran out of time in Wait: no error named"]
    at_once = Events()
    at_once.end(0, error="States.DataLimitExceeded", cause="too large")
    assert said(read_history(at_once.list), "FAILED")[0].startswith("the execution failed before its first state")


def test_history_without_its_beginning_is_read():
    events = Events()
    failed = events.attempt(events.enter("Charge", 0), "CardError", "no")
    events.end(failed, error="CardError", cause="no")
    history = read_history(events.list[1:])
    assert said(history, "FAILED")[0].startswith("the execution failed before its first state: CardError")
    assert path(history) == []


def test_long_texts_are_cut():
    events = Events()
    entered = events.enter("Charge", 0, data={"x": "y" * 50_000})
    events.end(events.attempt(entered, "E", "c" * 50_000), error="E", cause="c" * 50_000)
    found = explained(read_history(events.list), Redactor())
    assert len(found["failing_state"]["input"]) < 9_000
    assert len(found["cause"]) < 5_000


def described(arn: str, **changes: Any) -> dict[str, Any]:
    name = arn.rpartition(":")[2]
    return {"executionArn": arn, "name": name, "status": "FAILED", "startDate": BEGIN, **changes}


def test_report_of_a_history_that_was_not_read_whole_says_so():
    events = Events()
    events.end(events.attempt(events.enter("Charge", 0), "CardError", "no"), error="CardError", cause="no")
    found = report(described(CHILD.format("c1")), events.list, Redactor(), is_whole=False, is_child=False)
    assert found["findings"] == [
        "it failed in Charge: CardError",
        "its history is long: only the last 4 events were read",
    ]
    assert (found["stopped"], found["path"][0]["state"]) == (None, "Charge")
    assert found["link"].startswith("https://us-east-1.console.aws.amazon.com/states/home?region=us-east-1#")


def test_report_takes_error_and_cause_from_the_execution_where_its_history_has_none():
    about = described(CHILD.format("c1"), error="Broken", cause="by anna@example.com")
    found = report(about, [], Redactor(), is_whole=True, is_child=False)
    assert (found["error"], found["cause"]) == ("Broken", "by [EMAIL_1]")


def test_children_are_followed_to_some_depth_and_not_in_circles():
    asked: list[tuple[str, bool]] = []

    def look(arn: str, *, is_child: bool) -> dict[str, Any]:
        asked.append((arn, is_child))
        failing = {"child_executions": [f"{arn}+"]} if len(arn) > 1 else None
        return {"execution_arn": arn, "name": arn, "findings": [f"{arn} failed"], "failing_state": failing}

    found = followed("ab", look)
    assert asked == [("ab", False), ("ab+", True), ("ab++", True)]
    assert found["findings"] == [
        "ab failed",
        "in its child execution ab+: ab+ failed",
        "in its child execution ab++: ab++ failed",
    ]
    assert [child["execution_arn"] for child in found["followed"]] == ["ab+", "ab++"]
    assert followed("a", look)["followed"] == []
    circle = {"execution_arn": "a", "name": "a", "failing_state": {"child_executions": ["a"]}}
    assert followed("a", lambda arn, is_child: {**circle, "findings": []})["followed"] == []


def test_last_failed_is_the_one_that_ended_last():
    ended = [{"executionArn": f"e{day}", "stopDate": BEGIN + dt.timedelta(days=day)} for day in (1, 3, 2)]
    assert last_failed(ended, "orders") == "e3"
    with pytest.raises(NotFoundError, match="no execution of orders failed"):
        last_failed([], "orders")


def test_express_executions_keep_no_history():
    check_keeps_history(CHILD.format("c1"))
    for arn, kind in (("arn:aws:states:a:1:express:orders:1:2", "STANDARD"), ("orders", "EXPRESS")):
        with pytest.raises(InvalidInputError, match="keeps no history"):
            check_keeps_history(arn, kind)
