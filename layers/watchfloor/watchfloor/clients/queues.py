"""SQS as people on duty use it. `sqs` is a boto3 SQS client; its errors are named by who runs the script."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code
from watchfloor.queues import Queue

_POLL_SECONDS = 2


def find_queue(sqs: Any, name: str) -> Queue:
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    return Queue(name, url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"])


def source_names(sqs: Any, queue: Queue) -> list[str]:
    """Queues whose dead letters come here."""
    pages = sqs.get_paginator("list_dead_letter_source_queues").paginate(QueueUrl=queue.url)
    return sorted(source.rpartition("/")[2] for page in pages for source in page.get("queueUrls", []))


def dead_letters(sqs: Any, queue: Queue) -> dict[str, Any] | None:
    """Where messages go that nobody could deal with, and how many are there."""
    if queue.dead_letter_queue is None:
        return None
    about = {"queue_name": queue.dead_letter_queue, "after_receives": queue.most_receives}
    try:
        return {**about, "visible": find_queue(sqs, queue.dead_letter_queue).visible}
    except ClientError as error:
        # It may have a name that scripts may not touch, or be gone; the queue's own story is told all the same.
        return {**about, "visible": None, "problem": error_code(error)}


def newest_move(sqs: Any, queue: Queue) -> dict[str, Any]:
    """The last move of messages out of a dead-letter queue, empty where there was none."""
    found = sqs.list_message_move_tasks(SourceArn=queue.arn, MaxResults=1).get("Results", [])
    return found[0] if found else {}


def find_message(
    sqs: Any, queue: Queue, attribute: str, value: str, seconds: float
) -> tuple[dict[str, Any] | None, int]:
    """The message whose attribute has this value, and how many others were seen; those are given back at the end."""
    others: dict[str, str] = {}
    found = None
    until = time.monotonic() + seconds
    try:
        while found is None and (left := until - time.monotonic()) > 0:
            answer = sqs.receive_message(
                QueueUrl=queue.url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=min(_POLL_SECONDS, max(1, round(left))),
                VisibilityTimeout=round(left) + 10,
                MessageAttributeNames=[attribute],
            )
            for message in answer.get("Messages", []):
                if message.get("MessageAttributes", {}).get(attribute, {}).get("StringValue") == value:
                    found = message
                else:
                    others[message["MessageId"]] = message["ReceiptHandle"]
    finally:
        for receipt in others.values():
            sqs.change_message_visibility(QueueUrl=queue.url, ReceiptHandle=receipt, VisibilityTimeout=0)
    return found, len(others)
