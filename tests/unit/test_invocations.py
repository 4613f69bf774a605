"""What came of calling a function, and whether it is what a test expects."""

import base64
import json

import pytest

from watchfloor.errors import ConflictError, InvalidInputError
from watchfloor.expectations import UnmetError, ValueCheck
from watchfloor.invocations import Outcome, about_function, check_event, problems, report

WELL = Outcome('{"total": 8}', 12.4, version="$LATEST", log=base64.b64encode(b"START\nmail anna@example.com").decode())
BROKEN = Outcome(
    json.dumps({"errorType": "ValueError", "errorMessage": "no price for anna@example.com"}), 5, "Unhandled"
)
ABOUT = {"FunctionName": "orders", "State": "Active"}


def test_error_is_told_by_the_runtime_and_shows_no_secret():
    assert WELL.error is None
    assert BROKEN.error == {"type": "ValueError", "message": "no price for [EMAIL_1]"}


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", "[" * 100_000])
def test_error_that_says_nothing_of_itself_has_lambda_s_word(text):
    assert Outcome(text, 5, "Unhandled").error == {"type": "Unhandled", "message": ""}


def test_problems_of_a_call_that_should_go_well():
    total = ValueCheck.model_validate({"path": "$.total", "equals": 8})
    assert problems(WELL, checks=[total], max_ms=13) == []
    assert problems(WELL, max_ms=12) == ["it should take at most 12 ms, and took 12 ms"]
    assert problems(BROKEN) == ["it ended with ValueError: no price for [EMAIL_1]"]
    assert "$.total should hold a value" in problems(BROKEN, checks=[total])[1]


def test_problems_repeat_no_secret_of_the_answer():
    check = ValueCheck.model_validate({"path": "$.user", "equals": "ann"})
    (said,) = problems(Outcome('{"user": {"mail": "anna@example.com", "password": "hunter2"}}', 5), checks=[check])
    assert said == '$.user should be equal to "ann", and is {"mail": "[EMAIL_1]", "password": "[PASSWORD_1]"}'


def test_problems_of_a_call_that_should_fail():
    assert problems(BROKEN, expect_error="ValueError") == []
    assert problems(BROKEN, expect_error="KeyError") == ["it should end with KeyError, and ended with ValueError"]
    assert problems(WELL, expect_error="KeyError") == ["it should end with KeyError, and ended without an error"]


def test_report_shows_answer_and_log_without_secrets():
    found = report(ABOUT, WELL, [])
    assert found["findings"] == ["orders answered as expected in 12 ms"]
    assert (found["answer"], found["log_tail"]) == ('{"total": 8}', ["START", "mail [EMAIL_1]"])
    with pytest.raises(UnmetError, match="too slow; wrong") as failed:
        report(ABOUT, WELL, ["too slow", "wrong"])
    assert failed.value.details["findings"] == ["too slow", "wrong"]


def test_function_that_cannot_be_called_is_refused():
    assert about_function({**ABOUT, "Role": "arn"}) == ABOUT
    assert about_function({**ABOUT, "State": "Inactive"})["State"] == "Inactive"
    with pytest.raises(ConflictError, match="orders is Failed: no image"):
        about_function({**ABOUT, "State": "Failed", "StateReason": "no image"})


def test_event_is_json():
    assert check_event(b'{"a": 1}', "a.json") == b'{"a": 1}'
    with pytest.raises(InvalidInputError, match=r"a\.json is no JSON"):
        check_event(b"{", "a.json")
