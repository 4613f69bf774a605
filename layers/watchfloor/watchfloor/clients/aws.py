"""How every AWS client of ours is made: bounded in time, its errors by our names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError

from watchfloor.errors import AccessDeniedError, TransientError

T = TypeVar("T")

_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})
# For what can be done without.
_BRIEF = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "max_attempts": 2})
_PASSING = {
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "KMSAccessDeniedException", "403"}


def client(service: str, *, brief: bool = False) -> Any:
    """A boto3 client with time limits and standard retries; `brief` ones give up after some seconds."""
    return boto3.client(service, config=_BRIEF if brief else _CONFIG)  # type: ignore[call-overload]


def table(name: str) -> Any:
    """A DynamoDB table with time limits and standard retries."""
    return boto3.resource("dynamodb", config=_CONFIG).Table(name)


def error_code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def or_none(call: Callable[[], T], *missing: str) -> T | None:
    """What an AWS call answers; None where its error has one of these codes, which say that there is no such thing."""
    try:
        return call()
    except ClientError as error:
        if error_code(error) in missing:
            return None
        raise


@contextmanager
def passing_errors() -> Iterator[None]:
    """What goes away by itself leaves as TransientError, what is forbidden as AccessDeniedError, the rest as it is."""
    try:
        yield
    except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
        raise TransientError(str(error)) from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # A HEAD request's error has no body, so its code is the status only.
        if error_code(error) in _PASSING or status == 429 or status >= 500:
            raise TransientError(str(error)) from error
        if error_code(error) in _DENIED:
            raise AccessDeniedError(str(error)) from error
        raise
