"""Which waiting task belongs to which transform job."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors

OPEN_INDEX = "open"
_KEEP_SECONDS = 90 * 86_400


@dataclass(frozen=True)
class Callback:
    """A task that waits for a job.

    `attempt` counts the jobs that failed before this one, `capacity_failures` those for want of capacity.
    """

    job_key: str
    token: str | None
    attempt: int
    capacity_failures: int


class CallbackTable:
    """Key `job_key`; sparse index `open` (key `is_open`) over those that still wait."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def open(self, job_key: str, token: str, input_etag: str) -> Callback:
        """Store the token of the task that waits now. Another input than last time makes it another attempt."""
        with passing_errors():
            known = self._table.get_item(Key={"job_key": job_key}, ConsistentRead=True).get("Item", {})
            item = self._table.update_item(
                Key={"job_key": job_key},
                UpdateExpression="SET #token = :token, is_open = :yes, input_etag = :etag, expires_at = :expires "
                "ADD attempt :failed, capacity_failures :zero",
                ExpressionAttributeNames={"#token": "token"},
                ExpressionAttributeValues={
                    ":token": token,
                    ":yes": "yes",
                    ":etag": input_etag,
                    ":expires": int(time.time()) + _KEEP_SECONDS,
                    ":failed": int(known.get("input_etag", input_etag) != input_etag),
                    ":zero": 0,
                },
                ReturnValues="ALL_NEW",
            )["Attributes"]
        return _callback(item)

    def get(self, job_key: str) -> Callback | None:
        with passing_errors():
            item = self._table.get_item(Key={"job_key": job_key}, ConsistentRead=True).get("Item")
        return _callback(item) if item else None

    def count_failure(self, callback: Callback, capacity: bool) -> None:
        """Make the next job another attempt; counted once, however often it is told."""
        self._update(
            callback.job_key,
            UpdateExpression="SET attempt = :next, capacity_failures = :capacity",
            ConditionExpression="attempt = :attempt",
            ExpressionAttributeValues={
                ":attempt": callback.attempt,
                ":next": callback.attempt + 1,
                ":capacity": callback.capacity_failures + int(capacity),
            },
        )

    def close(self, callback: Callback) -> None:
        """The wait is over (unless another one began under the same key)."""
        self._update(
            callback.job_key,
            UpdateExpression="REMOVE #token, is_open",
            ConditionExpression="#token = :token",
            ExpressionAttributeNames={"#token": "token"},
            ExpressionAttributeValues={":token": callback.token},
        )

    def still_open(self) -> list[Callback]:
        """All that wait, whatever they wait for."""
        callbacks: list[Callback] = []
        start: dict[str, Any] = {}
        while True:
            with passing_errors():
                page = self._table.query(IndexName=OPEN_INDEX, KeyConditionExpression=Key("is_open").eq("yes"), **start)
            callbacks += [_callback(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return callbacks
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _update(self, job_key: str, **arguments: Any) -> None:
        try:
            with passing_errors():
                self._table.update_item(Key={"job_key": job_key}, **arguments)
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise


def _callback(item: dict[str, Any]) -> Callback:
    return Callback(
        item["job_key"], item.get("token"), int(item.get("attempt", 0)), int(item.get("capacity_failures", 0))
    )
