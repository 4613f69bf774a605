"""Which task waits for which transform job."""

import pytest

from tests.unit.tables import table
from watchfloor.clients.callback_table import Callback, CallbackTable


@pytest.fixture
def raw():
    with table("CallbackTable") as raw:
        yield raw


@pytest.fixture
def callbacks(raw):
    return CallbackTable(raw)


def test_first_wait_is_attempt_zero(callbacks):
    assert callbacks.open("flow-1", "token", "etag") == Callback("flow-1", "token", 0, 0)
    assert callbacks.get("flow-1") == Callback("flow-1", "token", 0, 0)


def test_unknown_job_is_none(callbacks):
    assert callbacks.get("flow-1") is None


def test_wait_that_begins_again_is_the_same_attempt_with_the_new_token(callbacks):
    callbacks.open("flow-1", "first", "etag")
    assert callbacks.open("flow-1", "second", "etag") == Callback("flow-1", "second", 0, 0)


def test_other_input_is_another_attempt(callbacks):
    callbacks.open("flow-1", "first", "etag")
    assert callbacks.open("flow-1", "second", "other").attempt == 1
    assert callbacks.open("flow-1", "third", "other").attempt == 1


def test_failed_job_makes_another_attempt_once(callbacks):
    callback = callbacks.open("flow-1", "token", "etag")
    for _ in range(2):
        callbacks.count_failure(callback, capacity=False)
    assert callbacks.open("flow-1", "second", "etag") == Callback("flow-1", "second", 1, 0)


def test_want_of_capacity_is_counted_apart(callbacks):
    for expected in ((0, 0), (1, 1), (2, 2)):
        callback = callbacks.open("flow-1", "token", "etag")
        assert (callback.attempt, callback.capacity_failures) == expected
        callbacks.count_failure(callback, capacity=True)


def test_closed_wait_has_no_token_but_keeps_its_count(callbacks):
    callback = callbacks.open("flow-1", "token", "etag")
    callbacks.count_failure(callback, capacity=True)
    callbacks.close(callback)
    callbacks.close(callback)
    assert callbacks.get("flow-1") == Callback("flow-1", None, 1, 1)
    assert callbacks.still_open() == []


def test_newer_wait_is_not_closed_by_the_older_one(callbacks):
    older = callbacks.open("flow-1", "first", "etag")
    callbacks.open("flow-1", "second", "etag")
    callbacks.close(older)
    assert callbacks.get("flow-1").token == "second"
    assert len(callbacks.still_open()) == 1


def test_open_waits_are_all_found(callbacks):
    for number in range(3):
        callbacks.open(f"flow-{number}", f"token-{number}", "etag")
    callbacks.close(callbacks.get("flow-1"))
    assert sorted(callback.job_key for callback in callbacks.still_open()) == ["flow-0", "flow-2"]


def test_many_open_waits_are_all_found(callbacks):
    """DynamoDB answers a megabyte at a time."""
    for number in range(5):
        callbacks.open(f"flow-{number}", "t" * 300_000, "etag")
    assert len(callbacks.still_open()) == 5


def test_close_of_a_row_that_expired_is_no_error(callbacks, raw):
    callback = callbacks.open("flow-1", "token", "etag")
    raw.delete_item(Key={"job_key": "flow-1"})
    callbacks.close(callback)
    callbacks.count_failure(callback, capacity=True)
    assert callbacks.get("flow-1") is None
