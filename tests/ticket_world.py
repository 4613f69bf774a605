"""What the ticket tests share: AWS as moto plays it, a Lambda context, a clock, and workers that can be cut off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import orjson
import pytest
from moto import mock_aws

BUCKET, LINKS = "watchfloor-data", "links"
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "DATA_BUCKET": BUCKET,
    "LINK_TABLE": LINKS,
    "EVENT_THRESHOLD": "3",
    "TACTIC_THRESHOLD": "1",
    "POWERTOOLS_SERVICE_NAME": "pipeline",
    "POWERTOOLS_METRICS_NAMESPACE": "Watchfloor",
    "POWERTOOLS_TRACE_DISABLED": "true",
}


@dataclass
class Context:
    """Of a Lambda invocation; `remaining` milliseconds, one after another, the last for ever."""

    remaining: tuple[int, ...] = (900_000,)
    aws_request_id: str = "request-1"
    function_name = "tickets"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:tickets"

    def get_remaining_time_in_millis(self) -> int:
        now, *later = self.remaining
        self.remaining = tuple(later) or (now,)
        return now


class Clock:
    """Time that passes on request only."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def aws() -> Iterator[None]:
    """An empty account with the data bucket, and the environment of our functions."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield


def create_link_table(name: str = LINKS) -> Any:
    return boto3.resource("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "cluster_id", "AttributeType": "S"},
            {"AttributeName": "integration", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "cluster_id", "KeyType": "HASH"},
            {"AttributeName": "integration", "KeyType": "RANGE"},
        ],
    )


def put_document(document: dict[str, Any]) -> None:
    """Where process_flow leaves it."""
    key = f"scratch/{document['run_id']}/enrich_alert_input.json"
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=orjson.dumps(document))


def put_secret(value: Any) -> str:
    """Its ARN."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    client = boto3.client("secretsmanager")
    return client.create_secret(Name=f"secret-{threading.get_ident()}-{id(value)}", SecretString=text)["ARN"]


class OneAtATime:
    """A table whose calls do not overlap: moto checks a condition and writes in two steps, DynamoDB in one."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._table, name)

        def call(**arguments: Any) -> Any:
            with self._lock:
                return method(**arguments)

        return call


class Crash(BaseException):
    """The worker dies: nothing of its own runs any more, and no `except Exception` sees it."""


class Fuse:
    """Cuts a worker off at its n-th step; before and after every call of what it guards is a step."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.blown_at = ""

    def guard(self, target: Any) -> Any:
        return _Guarded(target, self)

    def step(self, where: str) -> None:
        if self.left == 0:
            self.blown_at = where
            self.left = -1
            raise Crash(where)
        self.left -= self.left > 0


class _Guarded:
    def __init__(self, target: Any, fuse: Fuse) -> None:
        self._target = target
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._guarded(name, value) if callable(value) else value

    def _guarded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._fuse.step(f"before {name}")
            answer = method(*arguments, **named)
            self._fuse.step(f"after {name}")
            return answer

        return call
