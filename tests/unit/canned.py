"""AWS operations that moto does not know, answered by a function of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from watchfloor.clients import script_runtime


@contextmanager
def canned(service: str, operation: str, answer: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Answer an operation instead of moto; `{"Error": {...}}` is an error of 400. The request itself is validated."""

    def respond(**_: Any) -> Any:
        content = answer()
        status = 400 if "Error" in content else 200
        metadata = {"ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "canned", "HTTPHeaders": {}}}
        return AWSResponse("", status, HTTPHeaders(), None), content | metadata

    script_runtime._session()
    script_runtime._client.cache_clear()
    session = boto3.DEFAULT_SESSION
    assert session is not None
    name = f"before-call.{service}.{operation}"
    session.events.register_first(name, respond)
    try:
        yield
    finally:
        session.events.unregister(name, respond)
        script_runtime._client.cache_clear()
