"""The local cloud's Logs Insights answers what AWS would, and refuses what it does not know."""

import json

import pytest

from local.insights import Query, QueryError, shown

REPORT = (
    "REPORT RequestId: 3f1c1c9e-0000-4000-8000-000000000001\tDuration: 1200.50 ms\tBilled Duration: 1201 ms\t"
    "Memory Size: 128 MB\tMax Memory Used: 120 MB\tInit Duration: 300.10 ms\t"
)


def record(at_seconds: int, message: object, group: str = "/aws/lambda/orders") -> dict[str, object]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {
        "@timestamp": at_seconds * 1000,
        "@message": text,
        "@logStream": "s",
        "@log": group,
        "@ptr": f"p{at_seconds}",
    }


RECORDS = [
    record(60, {"level": "ERROR", "service": "orders", "ms": 20, "detail": {"codes": [7, 8]}}),
    record(61, {"level": "INFO", "service": "orders", "ms": 5}),
    record(125, {"level": "ERROR", "service": "users", "ms": 300}),
    record(130, "plain text: user=anna took 17 ms"),
    record(131, REPORT),
]


def run(query: str) -> list[dict[str, object]]:
    return Query(query).run(RECORDS)


def test_fields_filter_sort_and_limit():
    rows = run("fields @timestamp, service | filter level = 'ERROR' and ms >= 20 | sort ms desc | limit 1")
    assert rows == [{"@timestamp": 125_000, "service": "users", "@ptr": "p125"}]


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("level = 'ERROR'", 2),
        ("level != 'ERROR'", 3),
        ("not level = 'ERROR'", 3),
        ("level like /err/", 0),
        ("level like /(?i)err/", 2),
        ("@message like 'user='", 1),
        ("@message not like /user/", 3),
        ("level in ['INFO', \"ERROR\"]", 3),
        ("level not in ['INFO']", 2),
        ("ispresent(level)", 3),
        ("detail.codes.1 = 8", 1),
        ("ms / 10 > 1 and (service = 'users' or service = 'orders')", 2),
        ("@type = 'REPORT'", 1),
        ("@maxMemoryUsed / @memorySize > 0.9", 1),
        ("ispresent(@initDuration) and @duration > 1000", 1),
        ("strcontains(@message, 'took')", 1),
    ],
)
def test_filter_knows_its_operators(condition, count):
    assert len(run(f"fields @message | filter {condition}")) == count


def test_stats_by_group_and_time():
    rows = run(
        "filter ispresent(ms) | stats count(*) as n, avg(ms) as mean, max(ms), pct(ms, 50) as p by service | sort n desc"
    )
    assert rows == [
        {"service": "orders", "n": 2, "mean": 12.5, "max(ms)": 20, "p": 5.0},
        {"service": "users", "n": 1, "mean": 300.0, "max(ms)": 300, "p": 300.0},
    ]
    bins = run("filter ispresent(ms) | stats count(*) as n by bin(1m) | sort n desc")
    assert [(row["bin(1m)"], row["n"]) for row in bins] == [(60_000, 2), (120_000, 1)]
    assert shown("bin(1m)", 60_000) == "1970-01-01 00:01:00.000"
    assert run("filter level = 'NONE' | stats count(*) as n") == [{"n": 0}]


def test_parse_by_pattern_and_by_regular_expression():
    assert run("parse @message 'user=* took * ms' as who, took | filter ispresent(who) | display who, took") == [
        {"who": "anna", "took": "17", "@ptr": "p130"}
    ]
    rows = run(r"parse @message /took (?<took>\d+) ms/ | filter took > 10 | fields took | limit 5")
    assert [row["took"] for row in rows] == ["17"]
    # Without a field it is the message that is taken apart.
    assert [row["took"] for row in run("parse 'took * ms' as took | filter took = 17 | display took")] == ["17"]


def test_dedup_earliest_latest_and_comments():
    rows = run("# who\nfields service | filter ispresent(service) # all\n| dedup service")
    assert [row["service"] for row in rows] == ["orders", "users"]
    assert run("stats earliest(service) as first, latest(service) as last") == [{"first": "orders", "last": "users"}]


def test_a_line_cannot_pretend_to_be_from_elsewhere():
    pretending = record(1, {"@logStream": "other", "@message": "lie", "level": "INFO"})
    (row,) = Query("fields @logStream, @message, level").run([pretending])
    assert (row["@logStream"], row["@message"]) == ("s", pretending["@message"])


@pytest.mark.parametrize(
    "query",
    [
        "",
        "select * from logs",
        "fields @message | filter",
        "fields @message || limit 1",
        "filter level = ",
        "filter (level = 'a'",
        "filter level like 5",
        "filter level ~ 'x'",
        "filter nonsense(level) = 1",
        "stats level by service",
        "stats median_of_medians(ms)",
        "limit 0",
        "limit 20000",
        "limit many",
        "parse @message 'a * b *' as one",
        "parse @message /took/",
        "filter @message like /(/",
        "fields ,",
    ],
)
def test_what_is_not_understood_is_refused(query):
    with pytest.raises(QueryError):
        Query(query)
