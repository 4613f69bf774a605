"""Asks CloudWatch Logs Insights a ready-made question, or one's own."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field, model_validator

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import DeadlineError, InvalidInputError
from watchfloor.log_questions import Question, cost, query_text, readings
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters, dump
from watchfloor.timespans import When, window

_LONGEST = dt.timedelta(days=14)
_VALUE_CHARACTERS = 1_500
_RESULT_BYTES = 70_000
_RUNNING = ("Scheduled", "Running")

LogGroup = Annotated[str, Field(pattern=r"^[A-Za-z0-9_/.#-]{1,512}$")]


class LogQuestion(Parameters):
    log_groups: list[LogGroup] = Field([], max_length=10, description="Log groups to search")
    function_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,140}$", description="A Lambda function, instead of its log group"
    )
    question: Question | None = Field(None, description="A ready-made question")
    query: str | None = Field(None, min_length=3, max_length=5_000, description="A query of your own, in its place")
    contains: str | None = Field(
        None, min_length=1, max_length=200, description="Only lines with this text, such as a request's id"
    )
    since: When = Field("1h", description="Begin: 30m, 2h, 3d, or a time such as 2026-11-20T18:00Z")
    until: When = Field("now", description="End, in the same form")
    limit: int = Field(50, ge=1, le=1_000, description="Rows at most")
    max_gigabytes: float = Field(20, gt=0, le=1_000, description="Stop when so much was scanned; it is paid by that")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.log_groups and not self.function_name:
            raise ValueError("give log_groups or function_name")
        if self.question and self.query:
            raise ValueError("give question or query, not both")
        return self


def ask_logs(parameters: LogQuestion, run: ScriptRun) -> dict[str, Any]:
    begin, end = window(parameters.since, parameters.until, dt.datetime.now(dt.UTC), _LONGEST)
    groups = list(parameters.log_groups)
    if parameters.function_name:
        groups.append(f"/aws/lambda/{parameters.function_name}")
    text = query_text(parameters.question, parameters.query, parameters.contains)
    logs = run.read("logs")
    with started(logs, groups, begin, end, text, parameters.limit) as query_id:
        answer = run.wait_until(
            lambda: ended(logs, query_id, parameters.max_gigabytes), run.remaining_seconds - 5, every_seconds=1
        ) or logs.get_query_results(queryId=query_id)
    rows, left_out = shown(answer.get("results", []))
    scanned = answer.get("statistics", {}).get("bytesScanned", 0)
    findings = [f"{len(rows)} rows; {cost(scanned)}", *readings(parameters.question, rows)]
    if answer["status"] in _RUNNING:
        findings.insert(0, "the query was stopped before its end: this is what it had found by then")
    elif answer["status"] != "Complete":
        raise DeadlineError(f"the query ended as {answer['status']}; ask for a shorter time or fewer log groups")
    if left_out:
        findings.append(f"{left_out} rows more would be too much for one answer; ask for a shorter time")
    return {
        "findings": findings,
        "log_groups": groups,
        "begin": begin.isoformat(timespec="seconds"),
        "end": end.isoformat(timespec="seconds"),
        "query": text,
        "bytes_scanned": round(scanned),
        "records_matched": round(answer.get("statistics", {}).get("recordsMatched", 0)),
        "rows": rows,
    }


@contextmanager
def started(logs: Any, groups: list[str], begin: dt.datetime, end: dt.datetime, text: str, limit: int) -> Iterator[str]:
    """A running query; it is stopped at the end where it still runs, because scanning costs."""
    try:
        query_id = logs.start_query(
            **({"logGroupName": groups[0]} if len(groups) == 1 else {"logGroupNames": groups}),
            startTime=int(begin.timestamp()),
            endTime=int(end.timestamp()),
            queryString=text,
            limit=limit,
        )["queryId"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "MalformedQueryException":
            raise InvalidInputError(f"query: {error.response['Error']['Message']}") from error
        raise
    try:
        yield query_id
    finally:
        if logs.get_query_results(queryId=query_id)["status"] in _RUNNING:
            logs.stop_query(queryId=query_id)


def ended(logs: Any, query_id: str, max_gigabytes: float) -> dict[str, Any] | None:
    """The query's answer once it has ended, or scanned more than it may."""
    answer = logs.get_query_results(queryId=query_id)
    too_much = answer.get("statistics", {}).get("bytesScanned", 0) > max_gigabytes * 1e9
    return answer if answer["status"] not in _RUNNING or too_much else None


def shown(results: list[list[dict[str, str]]]) -> tuple[list[dict[str, str]], int]:
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


script = Script("debug-logs", LogQuestion, ask_logs, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
