"""Errors of a log, grouped, in words."""

from watchfloor.error_groups import findings

FIRST = {"count": 7, "type": "KeyError", "message": "'price' " + "x" * 500, "where": ["total in app.py:12", "main"]}


def test_findings_tell_how_many_and_which_is_the_most_frequent():
    total, first = findings([FIRST, {**FIRST, "count": 1}], 8)
    assert total == "8 errors of 2 kinds"
    assert first.startswith("most frequent: 7 times KeyError: 'price' xxx")
    assert first.endswith("xxx at total in app.py:12")
    assert len(first) < 280


def test_findings_of_errors_without_type_and_place_and_of_none():
    assert findings([{"count": 1, "type": "", "message": "order refused", "where": []}], 1)[1] == (
        "most frequent: 1 times error: order refused"
    )
    assert findings([], 0) == ["no errors in this time"]
