"""Expectations say in words what an answer lacks."""

import json

import pytest
from pydantic import ValidationError

from watchfloor.expectations import MISSING, Expectation, ValueCheck, same, value_at

DOCUMENT = {"items": [{"name": "first", "price": 3}, {"name": "last"}], "a b": {"c.d": None}, "ok": True}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("$.items[0].name", "first"),
        ("$.items[-1].name", "last"),
        ("$['a b'][\"c.d\"]", None),
        ("$.items[2]", MISSING),
        ("$.items.name", MISSING),
        ("$.ok.no", MISSING),
    ],
)
def test_value_at_finds_what_stands_there(path, value):
    found = value_at(DOCUMENT, path)
    assert found is value or found == value


@pytest.mark.parametrize("path", ["items", "", "$.", "$[", "$.a..b", "$[a]", "$.a[*]"])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(ValidationError):
        ValueCheck.model_validate({"path": path, "exists": True})


@pytest.mark.parametrize(
    "check",
    [
        {"path": "$.ok", "equals": True},
        {"path": "$.items[0].price", "equals": 3.0, "at_least": 3, "at_most": 3},
        {"path": "$.items", "length": 2, "type": "array"},
        {"path": "$.items[0].name", "contains": "irs", "matches": "^f.*t$", "one_of": ["first", "second"]},
        {"path": "$.gone", "exists": False},
        {"path": "$['a b']['c.d']", "equals": None, "type": "null"},
    ],
)
def test_value_check_met(check):
    assert ValueCheck(**check).problem(DOCUMENT) is None


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ({"path": "$.ok", "equals": 1}, "$.ok should be equal to 1, and is true"),
        ({"path": "$.items[0].price", "at_least": 4}, "$.items[0].price should be at least 4.0, and is 3"),
        ({"path": "$.ok", "at_most": 4}, "$.ok should be at most 4.0, and is true"),
        ({"path": "$.items", "contains": "first"}, "contains"),
        ({"path": "$.gone", "exists": True}, "$.gone should hold a value, and holds nothing"),
        ({"path": "$.gone", "equals": None}, "holds nothing"),
        ({"path": "$.ok", "exists": False}, "$.ok should hold nothing, and holds true"),
        ({"path": "$.items[0].name", "matches": "^z"}, "text that matches"),
        ({"path": "$.items[0].name", "type": "number"}, "of the type"),
    ],
)
def test_value_check_unmet_says_what_is_there(check, words):
    assert words in (ValueCheck(**check).problem(DOCUMENT) or "")


@pytest.mark.parametrize(
    "check", [{"path": "$"}, {"path": "$", "matches": "("}, {"path": "$", "equal": 1}, {"equals": 1}]
)
def test_value_check_that_says_nothing_is_refused(check):
    with pytest.raises(ValidationError):
        ValueCheck(**check)


def test_expectation_names_everything_that_is_wrong():
    expectation = Expectation.model_validate(
        {
            "status": [200, 204],
            "max_ms": 100,
            "headers": {"Content-Type": "application/json", "X-Missing": "a"},
            "body_contains": ["ok", "fine"],
            "json": [{"path": "$.a", "equals": 1}],
        }
    )
    assert not list(expectation.problems(204, {"content-type": "Application/JSON", "x-missing": "a"}, '"ok fine"', 1))[
        1:
    ]
    found = list(expectation.problems(500, {"content-type": "text/html"}, "<html>ok", 250.4))
    assert found == [
        "the status should be 200 or 204, and is 500",
        "the answer should take at most 100 ms, and took 250 ms",
        'the header Content-Type should contain "application/json", and is "text/html"',
        'the header X-Missing should contain "a", and is nothing',
        'the body should contain "fine", and begins with "<html>ok"',
        'the body should be JSON, and begins with "<html>ok"',
    ]


def test_a_message_shows_no_more_than_a_little_of_a_long_value():
    check = ValueCheck.model_validate({"path": "$.x", "equals": "short"})
    assert len(check.problem({"x": "y" * 10_000}) or "") < 600
    deep = "[" * 100_000
    assert "should be JSON" in next(iter(Expectation.model_validate({"json": [check]}).problems(200, {}, deep, 1)))


def test_same_is_equality_of_json():
    assert same(1, 1.0)
    assert same({"a": [1, None]}, json.loads('{"a": [1.0, null]}'))
    assert not same(1, True)
    assert not same(0, None)
    assert not same("1", 1)
    assert not same([1], [1, 2])
