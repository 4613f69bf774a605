"""Ready-made questions are queries that can be run, and their answers are read right."""

import pytest

from local.insights import Query
from watchfloor.log_questions import QUERIES, cost, query_text, readings


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
