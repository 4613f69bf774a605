"""SQS: whose dead-letter queue a queue is, and moving messages out of it, at the rate asked for and with the permissions
it takes."""

from __future__ import annotations

import contextvars
import json
import threading
import time
import uuid
from typing import Any

from ministack.core import iam_actions
from ministack.services import sqs

from local.cloud import anchors
from local.cloud.overlay import roles

# What a move does in its caller's name, besides the action that is called like the operation.
_ON_SOURCE = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
# How long a move without a rate takes to begin.
_DELAY_SECONDS = 0.2
_KEPT = 10

_tasks: list[dict[str, Any]] = []
_lock = threading.Lock()


def install() -> None:
    handlers: dict[str, Any] = sqs._HANDLERS
    handlers |= {
        "StartMessageMoveTask": _start,
        "ListMessageMoveTasks": _list,
        "CancelMessageMoveTask": _cancel,
        "ListDeadLetterSourceQueues": _sources,
    }
    resource_arn = anchors.replace(
        "core.iam_actions:extract_resource_arn",
        lambda service, method, path, headers, body, *rest: (
            (_source_arn(body) if service == "sqs" else None)
            or resource_arn(service, method, path, headers, body, *rest)
        ),
    )


def _start(request: dict[str, Any], _url: str) -> dict[str, Any]:
    source_arn = request.get("SourceArn", "")
    source = _queue(source_arn, "SourceArn")
    fed_by = [queue for queue in list(sqs._queues.values()) if _dead_letters(queue) == source_arn]
    if not fed_by:
        raise sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
    destination = _queue(request["DestinationArn"], "DestinationArn") if "DestinationArn" in request else None
    _require(source_arn, *_ON_SOURCE)
    for queue in [destination] if destination else fed_by:
        _require(queue["attributes"]["QueueArn"], "sqs:SendMessage")
    task: dict[str, Any] = {
        "TaskHandle": uuid.uuid4().hex,
        "Status": "RUNNING",
        "SourceArn": source_arn,
        "ApproximateNumberOfMessagesMoved": 0,
        "ApproximateNumberOfMessagesToMove": len(_visible(source)),
        "StartedTimestamp": int(time.time() * 1000),
        **{name: request[name] for name in ("DestinationArn", "MaxNumberOfMessagesPerSecond") if name in request},
    }
    with _lock:
        if any(other["SourceArn"] == source_arn and other["Status"] == "RUNNING" for other in _tasks):
            raise sqs._Err(
                "AWS.SimpleQueueService.UnsupportedOperation",
                "There is already a task running. Only one active task is allowed for a source queue arn at a given "
                "time.",
            )
        _tasks.insert(0, task)
    threading.Thread(
        target=contextvars.copy_context().run, args=(_move, task, source, destination, fed_by), daemon=True
    ).start()
    return {"TaskHandle": task["TaskHandle"]}


def _move(task: dict[str, Any], source: Any, destination: Any, fed_by: list[Any]) -> None:
    rate = task.get("MaxNumberOfMessagesPerSecond")
    homes = {queue["attributes"]["QueueArn"]: queue for queue in fed_by}
    while task["Status"] == "RUNNING":
        time.sleep(1 / rate if rate else _DELAY_SECONDS)
        moved = _visible(source)[: 1 if rate else None]
        for message in moved:
            source["messages"].remove(message)
        task["ApproximateNumberOfMessagesMoved"] += len(moved)
        if not _visible(source) and task["Status"] == "RUNNING":
            task["Status"] = "COMPLETED"
        for message in moved:
            home = destination or homes.get(message["sys"].get("DeadLetterQueueSourceArn"), fed_by[0])
            message.update(visible_at=time.time(), receive_count=0, receipt_handle=None, first_receive_at=None)
            home["messages"].append(message)
        sqs.esm_wake.set()


def _list(request: dict[str, Any], _url: str) -> dict[str, Any]:
    source_arn = request.get("SourceArn", "")
    _queue(source_arn, "SourceArn")
    _require(source_arn, *_ON_SOURCE)
    found = [_shown(task) for task in _tasks if task["SourceArn"] == source_arn][:_KEPT]
    return {"Results": found[: request.get("MaxResults", 1)]}


def _cancel(request: dict[str, Any], _url: str) -> dict[str, Any]:
    handle = request.get("TaskHandle")
    for task in _tasks:
        if task["TaskHandle"] == handle and task["Status"] == "RUNNING":
            _require(task["SourceArn"], "sqs:CancelMessageMoveTask", *_ON_SOURCE)
            task["Status"] = "CANCELLED"
            return {"ApproximateNumberOfMessagesMoved": task["ApproximateNumberOfMessagesMoved"]}
    raise sqs._Err("ResourceNotFoundException", "The task does not exist or does not run any more.", 404)


def _sources(request: dict[str, Any], url: str) -> dict[str, Any]:
    queue = sqs._queues.get(request.get("QueueUrl") or url)
    if queue is None:
        raise sqs._Err("AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.", 400)
    arn = queue["attributes"]["QueueArn"]
    return {"queueUrls": [feeder["url"] for feeder in list(sqs._queues.values()) if _dead_letters(feeder) == arn]}


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    """A task has a handle only while it can be cancelled."""
    return task if task["Status"] == "RUNNING" else {key: value for key, value in task.items() if key != "TaskHandle"}


def _queue(arn: str, field: str) -> Any:
    queue = sqs._queue_by_arn(arn)
    if queue is None:
        raise sqs._Err(
            "ResourceNotFoundException",
            f"The resource that you specified for the {field} parameter doesn't exist.",
            404,
        )
    return queue


def _visible(queue: Any) -> list[Any]:
    now = time.time()
    return [message for message in list(queue["messages"]) if message["visible_at"] <= now]


def _require(arn: str, *actions: str) -> None:
    for action in actions:
        refusal = roles.caller_denied(action, arn)
        if refusal:
            raise sqs._Err("AccessDenied", refusal, 403)


def _dead_letters(queue: dict[str, Any]) -> str | None:
    policy = queue["attributes"].get("RedrivePolicy")
    return json.loads(policy).get("deadLetterTargetArn") if policy else None


def _source_arn(body: bytes) -> str | None:
    return iam_actions._safe_json_field(body, "SourceArn") if b'"SourceArn"' in body else None
