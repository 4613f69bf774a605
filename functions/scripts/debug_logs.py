"""Asks CloudWatch Logs Insights a ready-made question, or one's own."""

from __future__ import annotations

import datetime as dt
import os
from typing import Annotated, Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, model_validator

from watchfloor.clients.log_queries import LogQueries
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.log_questions import Question, is_over, query_text, report
from watchfloor.scripts import Parameters
from watchfloor.timespans import When, window

_LONGEST = dt.timedelta(days=14)

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

    @property
    def all_groups(self) -> list[str]:
        return [*self.log_groups, *([f"/aws/lambda/{self.function_name}"] if self.function_name else [])]


def ask_logs(parameters: LogQuestion, run: ScriptRun) -> dict[str, Any]:
    begin, end = window(parameters.since, parameters.until, dt.datetime.now(dt.UTC), _LONGEST)
    query = query_text(parameters.question, parameters.query, parameters.contains)
    queries = LogQueries(run.read("logs"))
    with queries.started(parameters.all_groups, begin, end, query, parameters.limit) as query_id:
        answer = run.follow(
            lambda: queries.answer(query_id),
            lambda seen: is_over(seen, parameters.max_gigabytes),
            run.remaining_seconds - 5,
            every_seconds=1,
        )
    return report(answer, parameters.question, query, parameters.all_groups, begin, end)


script = Script("debug-logs", LogQuestion, ask_logs, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
