"""SQS: moving messages out of a dead-letter queue."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from ministack.core import iam_actions
from ministack.services import sqs

from local.cloud import anchors

_tasks: list[dict[str, Any]] = []


def install() -> None:
    sqs._HANDLERS.update({"StartMessageMoveTask": _start, "ListMessageMoveTasks": _list})
    resource_arn = anchors.replace(
        "core.iam_actions:extract_resource_arn",
        lambda service, method, path, headers, body, *rest: (
            (_source_arn(body) if service == "sqs" else None)
            or resource_arn(service, method, path, headers, body, *rest)
        ),
    )


def _start(request: dict[str, Any], _url: str) -> dict[str, Any]:
    source_arn = request.get("SourceArn", "")
    source = sqs._queue_by_arn(source_arn)
    if source is None:
        raise sqs._Err(
            "ResourceNotFoundException",
            "The resource that you specified for the SourceArn parameter doesn't exist.",
            404,
        )
    fed_by = [queue for queue in list(sqs._queues.values()) if _dead_letters(queue) == source_arn]
    if not fed_by:
        raise sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    destination = sqs._queue_by_arn(request["DestinationArn"]) if "DestinationArn" in request else fed_by[0]
    if destination is None:
        raise sqs._Err(
            "ResourceNotFoundException",
            "The resource that you specified for the DestinationArn parameter doesn't exist.",
            404,
        )
    moved, source["messages"] = source["messages"], []
    for message in moved:
        message.update(visible_at=time.time(), receive_count=0, receipt_handle=None, first_receive_at=None)
    destination["messages"].extend(moved)
    task = {
        "TaskHandle": uuid.uuid4().hex,
        "Status": "COMPLETED",
        "SourceArn": source_arn,
        "ApproximateNumberOfMessagesMoved": len(moved),
        "ApproximateNumberOfMessagesToMove": len(moved),
        "StartedTimestamp": int(time.time() * 1000),
    }
    _tasks.insert(0, task)
    sqs.esm_wake.set()
    return {"TaskHandle": task["TaskHandle"]}


def _list(request: dict[str, Any], _url: str) -> dict[str, Any]:
    found = [task for task in _tasks if task["SourceArn"] == request.get("SourceArn")]
    return {"Results": found[: request.get("MaxResults", 1)]}


def _dead_letters(queue: dict[str, Any]) -> str | None:
    policy = queue["attributes"].get("RedrivePolicy")
    return json.loads(policy).get("deadLetterTargetArn") if policy else None


def _source_arn(body: bytes) -> str | None:
    return iam_actions._safe_json_field(body, "SourceArn") if b'"SourceArn"' in body else None
