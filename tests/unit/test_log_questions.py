"""Ready-made questions are queries that can be run, and their answers are read right."""

import datetime as dt
from typing import Any

import pytest

from local.insights import Query
from watchfloor.errors import DeadlineError
from watchfloor.log_questions import QUERIES, cost, is_over, query_text, readings, report, shown

END = dt.datetime(2026, 11, 20, 22, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize("question", QUERIES)
def test_every_question_is_a_query(question):
    Query(QUERIES[question])
    Query(query_text(question, None, 'a "quoted" \\ text | limit 1'))


def test_contains_finds_a_text_whatever_is_in_it():
    nasty = 'GET /a?b="c" | limit 1 \\ #'
    rows = [
        {"@timestamp": 1, "@message": f"before {nasty} after", "@logStream": "s", "@log": "g", "@ptr": "1"},
        {"@timestamp": 2, "@message": "GET /a", "@logStream": "s", "@log": "g", "@ptr": "2"},
    ]
    assert [row["@ptr"] for row in Query(query_text("recent", None, nasty)).run(rows)] == ["1"]


def test_own_query_takes_the_place_of_a_question():
    assert query_text(None, "fields @message", None) == "fields @message"
    assert query_text(None, None, None) == QUERIES["recent"]


@pytest.mark.parametrize(
    ("question", "row", "words"),
    [
        ("lambda-memory", {"given_mb": "128", "most_used_mb": "126"}, "98% of 128 MB of memory were used; it is about"),
        ("lambda-memory", {"given_mb": "512", "most_used_mb": "100"}, "at most 20% of 512 MB of memory were used"),
        ("lambda-cold-starts", {"calls": "200", "cold_starts": "3"}, "3 of 200 calls were cold starts (1.5%)"),
        ("lambda-timeouts", {"timeouts": "4", "limit_seconds": "3.00"}, "4 calls ran into the time limit of 3 s"),
        ("errors-by-stream", {"@logStream": "a", "errors": "7"}, "a has 7 of them"),
        ("lambda-slowest", {"@duration": "1234.5"}, "the slowest took 1,234 ms"),
    ],
)
def test_readings_say_it_in_words(question, row, words):
    assert words in readings(question, [row])[0]


def test_readings_of_nothing_and_of_what_is_no_number():
    assert "nothing found" in readings("errors", [])[0]
    assert readings("lambda-memory", [{"given_mb": "?", "most_used_mb": ""}]) == []
    assert cost(2e9) == "2,000.0 MB scanned, about $0.0100"


def answer(status: str = "Complete", rows: int = 1, scanned: float = 1e6, text: str = "line") -> dict[str, Any]:
    row = [{"field": "@message", "value": text}, {"field": "@ptr", "value": "p"}]
    return {"status": status, "results": [row] * rows, "statistics": {"bytesScanned": scanned, "recordsMatched": rows}}


def test_query_is_over_when_it_ended_or_scanned_too_much():
    assert not is_over({"status": "Scheduled"}, 2)
    assert not is_over(answer("Running", scanned=2e9), 2)
    assert is_over(answer("Running", scanned=3e9), 2)
    assert all(is_over(answer(status), 2) for status in ("Complete", "Failed", "Timeout"))


def test_report_tells_what_was_searched_and_what_it_cost():
    found = report(answer(rows=3), None, "fields @message", ["a", "b"], END - dt.timedelta(hours=1), END)
    assert found["findings"] == ["3 rows; 1.0 MB scanned, about $0.0000"]
    assert (found["log_groups"], found["begin"]) == (["a", "b"], "2026-11-20T21:00:00+00:00")
    assert (found["bytes_scanned"], found["records_matched"], len(found["rows"])) == (1_000_000, 3, 3)


def test_report_of_a_query_that_did_not_end_well():
    found = report(answer("Running"), None, "fields @message", ["a"], END, END)
    assert "stopped before its end" in found["findings"][0]
    with pytest.raises(DeadlineError, match="ended as Timeout"):
        report(answer("Timeout"), None, "fields @message", ["a"], END, END)


def test_rows_are_shown_without_secrets_and_as_many_as_an_answer_holds():
    assert shown(answer(text="mail anna@example.com")["results"]) == ([{"@message": "mail [EMAIL_1]"}], 0)
    rows, left_out = shown(answer(rows=100, text="x" * 5_000)["results"])
    assert (len(rows) + left_out, {len(row["@message"]) for row in rows}) == (100, {1_500})
    assert 0 < left_out < 100
