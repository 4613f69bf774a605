"""Questions that people on duty ask of logs, as queries of CloudWatch Logs Insights.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from watchfloor.errors import DeadlineError
from watchfloor.redaction import Redactor
from watchfloor.scripts import dump

Question = Literal[
    "recent",
    "errors",
    "errors-by-stream",
    "slow-requests",
    "lambda-errors",
    "lambda-timeouts",
    "lambda-cold-starts",
    "lambda-memory",
    "lambda-durations",
    "lambda-slowest",
    "api-5xx",
    "api-4xx",
    "api-latency",
]
_ERROR = "/(?i)(error|exception|traceback|fatal|critical|panic|task timed out|runtime exited)/"
_ROUTE = "coalesce(routeKey, resourcePath, path) as route"
_TOOK = "coalesce(duration_ms, durationMs, latency_ms, responseLatency, responseTime, elapsed_ms) as took_ms"

QUERIES: dict[str, str] = {
    "recent": "fields @timestamp, @logStream, @message | sort @timestamp desc",
    "errors": f"fields @timestamp, @logStream, @message | filter @message like {_ERROR} | sort @timestamp desc",
    "errors-by-stream": f"filter @message like {_ERROR}"
    " | stats count(*) as errors, earliest(@timestamp) as first, latest(@timestamp) as last by @logStream"
    " | sort errors desc",
    "slow-requests": f"fields @timestamp, {_TOOK}, @message | filter ispresent(took_ms) | sort took_ms desc",
    "lambda-errors": "fields @timestamp, @requestId, @message"
    f" | filter @message like {_ERROR} and @message not like /^(START|END|REPORT) / | sort @timestamp desc",
    "lambda-timeouts": "filter @message like /Task timed out/"
    " | parse @message /Task timed out after (?<seconds>[0-9.]+) seconds/"
    " | stats count(*) as timeouts, max(seconds) as limit_seconds by bin(5m) | sort timeouts desc",
    "lambda-cold-starts": "filter @type = 'REPORT'"
    " | stats count(*) as calls, count(@initDuration) as cold_starts, avg(@initDuration) as mean_init_ms,"
    " max(@initDuration) as longest_init_ms",
    "lambda-memory": "filter @type = 'REPORT'"
    " | stats count(*) as calls, max(@memorySize / 1000 / 1000) as given_mb,"
    " avg(@maxMemoryUsed / 1000 / 1000) as mean_used_mb, max(@maxMemoryUsed / 1000 / 1000) as most_used_mb",
    "lambda-durations": "filter @type = 'REPORT'"
    " | stats count(*) as calls, avg(@duration) as mean_ms, pct(@duration, 95) as p95_ms, max(@duration) as longest_ms"
    " by bin(5m) as time | sort time desc",
    "lambda-slowest": "filter @type = 'REPORT'"
    " | fields @timestamp, @requestId, @duration, @maxMemoryUsed / 1000 / 1000 as used_mb | sort @duration desc",
    "api-5xx": f"fields @timestamp, {_ROUTE}, status, integrationErrorMessage, responseLatency, requestId"
    " | filter status >= 500 | sort @timestamp desc",
    "api-4xx": f"fields {_ROUTE} | filter status >= 400 and status < 500"
    " | stats count(*) as refused by route, status | sort refused desc",
    "api-latency": f"fields {_ROUTE} | filter ispresent(responseLatency)"
    " | stats count(*) as calls, avg(responseLatency) as mean_ms, pct(responseLatency, 95) as p95_ms,"
    " max(responseLatency) as longest_ms by route | sort p95_ms desc",
}
assert set(QUERIES) == set(get_args(Question))

# A query that goes on.
RUNNING = ("Scheduled", "Running")
_VALUE_CHARACTERS = 1_500
_RESULT_BYTES = 70_000
# us-east-1, 2026; other regions differ by a little. https://aws.amazon.com/cloudwatch/pricing/
DOLLARS_PER_GIGABYTE = 0.005


def query_text(question: str | None, query: str | None, contains: str | None) -> str:
    """The query to run: a ready-made one or one's own, on lines that contain a text."""
    text = query or QUERIES[question or "recent"]
    if contains:
        quoted = re.sub(r'(["\\])', r"\\\1", contains)
        text = f'filter @message like "{quoted}" | {text}'
    return text


def is_over(answer: Mapping[str, Any], max_gigabytes: float) -> bool:
    """Whether a query has ended, or scanned more than it may; `answer` is of GetQueryResults."""
    return answer["status"] not in RUNNING or _scanned(answer) > max_gigabytes * 1e9


def report(
    answer: Mapping[str, Any],
    question: str | None,
    query: str,
    groups: Sequence[str],
    begin: dt.datetime,
    end: dt.datetime,
) -> dict[str, Any]:
    """What a query found; raises where it ended without an answer."""
    if answer["status"] not in (*RUNNING, "Complete"):
        raise DeadlineError(f"the query ended as {answer['status']}; ask for a shorter time or fewer log groups")
    rows, left_out = shown(answer.get("results", []))
    findings = [f"{len(rows)} rows; {cost(_scanned(answer))}", *readings(question, rows)]
    if answer["status"] in RUNNING:
        findings.insert(0, "the query was stopped before its end: this is what it had found by then")
    if left_out:
        findings.append(f"{left_out} rows more would be too much for one answer; ask for a shorter time")
    return {
        "findings": findings,
        "log_groups": list(groups),
        "begin": begin.isoformat(timespec="seconds"),
        "end": end.isoformat(timespec="seconds"),
        "query": query,
        "bytes_scanned": round(_scanned(answer)),
        "records_matched": round(answer.get("statistics", {}).get("recordsMatched", 0)),
        "rows": rows,
    }


def shown(results: Sequence[Sequence[Mapping[str, str]]]) -> tuple[list[dict[str, str]], int]:
    """Rows without secrets, each value cut, as many as an answer holds; and how many are left out."""
    size = 0
    rows: list[dict[str, str]] = []
    clean = Redactor().value(
        [{item["field"]: item["value"] for item in result if item["field"] != "@ptr"} for result in results]
    )
    for index, values in enumerate(clean):
        row = {field: value[:_VALUE_CHARACTERS] for field, value in values.items()}
        size += len(dump(row))
        if size > _RESULT_BYTES:
            return rows, len(results) - index
        rows.append(row)
    return rows, 0


def readings(question: str | None, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What the answer to a ready-made question says, in words."""
    if not rows:
        return ["nothing found in this time; is it the right log group?"]
    first = rows[0]
    if question == "lambda-memory" and (given := _number(first, "given_mb")):
        share = _number(first, "most_used_mb") / given
        advice = "; it is about to run out of memory" if share >= 0.9 else ""
        return [f"at most {share:.0%} of {given:.0f} MB of memory were used{advice}"]
    if question == "lambda-cold-starts" and (calls := _number(first, "calls")):
        cold = _number(first, "cold_starts")
        return [f"{cold:.0f} of {calls:.0f} calls were cold starts ({cold / calls:.1%})"]
    if question == "lambda-timeouts":
        total = sum(_number(row, "timeouts") for row in rows)
        return [f"{total:.0f} calls ran into the time limit of {_number(first, 'limit_seconds'):g} s"]
    if question == "errors-by-stream":
        worst = first.get("@logStream", "?")
        return [f"{len(rows)} log streams have errors; {worst} has {_number(first, 'errors'):.0f} of them"]
    if question in ("lambda-slowest", "slow-requests"):
        name = "@duration" if question == "lambda-slowest" else "took_ms"
        return [f"the slowest took {_number(first, name):,.0f} ms"]
    return []


def cost(bytes_scanned: float) -> str:
    dollars = bytes_scanned / 1e9 * DOLLARS_PER_GIGABYTE
    return f"{bytes_scanned / 1e6:,.1f} MB scanned, about ${dollars:.4f}"


def _scanned(answer: Mapping[str, Any]) -> float:
    return answer.get("statistics", {}).get("bytesScanned", 0)


def _number(row: Mapping[str, Any], name: str) -> float:
    try:
        return float(row.get(name, 0))
    except ValueError:
        return 0.0
