"""Queries of CloudWatch Logs Insights."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code
from watchfloor.errors import InvalidInputError
from watchfloor.log_questions import RUNNING


class LogQueries:
    """`logs` is a boto3 CloudWatch Logs client; its errors are named by who runs the script."""

    def __init__(self, logs: Any) -> None:
        self._logs = logs

    @contextmanager
    def started(
        self, groups: Sequence[str], begin: dt.datetime, end: dt.datetime, query: str, limit: int
    ) -> Iterator[str]:
        """A running query's id; it is stopped at the end where it still runs, because scanning costs.

        Raises
        ------
        InvalidInputError
            The query cannot be understood.
        """
        try:
            query_id = self._logs.start_query(
                **({"logGroupName": groups[0]} if len(groups) == 1 else {"logGroupNames": groups}),
                startTime=int(begin.timestamp()),
                endTime=int(end.timestamp()),
                queryString=query,
                limit=limit,
            )["queryId"]
        except ClientError as error:
            if error_code(error) == "MalformedQueryException":
                raise InvalidInputError(f"query: {error.response['Error']['Message']}") from error
            raise
        try:
            yield query_id
        finally:
            if self.answer(query_id)["status"] in RUNNING:
                self._logs.stop_query(queryId=query_id)

    def answer(self, query_id: str) -> dict[str, Any]:
        """What it has found so far, as GetQueryResults answers."""
        return self._logs.get_query_results(queryId=query_id)
