"""Moves the messages of a dead-letter queue back to where they came from, and follows the move to its end."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError, DeadlineError, InvalidInputError, WatchfloorError
from watchfloor.scripts import Parameters

QueueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,75}(\.fifo)?$|^[A-Za-z0-9_-]{76,80}$")]
LOOK_EVERY_SECONDS = 2


class RedriveQueue(Parameters):
    queue_name: QueueName = Field(description="The dead-letter queue")
    to_queue_name: QueueName | None = Field(
        None, description="Where the messages go; without it each goes back to the queue it came from"
    )
    max_per_second: int | None = Field(
        None, ge=1, le=500, description="Messages a second at most; without it as fast as SQS does it"
    )
    wait_seconds: int = Field(300, ge=0, le=840, description="How long to follow the move; 0 does not wait")


class MoveFailedError(WatchfloorError):
    """SQS gave up the move."""


def redrive_queue(parameters: RedriveQueue, run: ScriptRun) -> dict[str, Any]:
    queue = look_at(run, parameters.queue_name)
    sources = source_names(run, queue["url"])
    if not sources:
        raise ConflictError(f"{parameters.queue_name} is no dead-letter queue: no queue names it in its redrive policy")
    about = {
        "queue_name": parameters.queue_name,
        "to_queue_names": [parameters.to_queue_name] if parameters.to_queue_name else sources,
        "message_count": queue["visible"],
        # Somebody has received them and may still delete them; they are not moved.
        "in_flight_count": queue["in_flight"],
    }
    tasks = run.read("sqs").list_message_move_tasks(SourceArn=queue["arn"], MaxResults=1).get("Results", [])
    if tasks and tasks[0]["Status"] in ("RUNNING", "CANCELLING"):
        raise ConflictError(f"messages of {parameters.queue_name} are being moved already: {progress(tasks[0])}")
    arguments: dict[str, Any] = {"SourceArn": queue["arn"]}
    if parameters.to_queue_name:
        if parameters.to_queue_name == parameters.queue_name:
            raise InvalidInputError("to_queue_name: is the dead-letter queue itself")
        arguments["DestinationArn"] = look_at(run, parameters.to_queue_name)["arn"]
    if parameters.max_per_second:
        arguments["MaxNumberOfMessagesPerSecond"] = parameters.max_per_second
    if queue["visible"] == 0:
        return {**about, "moved_count": 0, "left_count": 0}
    run.write("sqs").start_message_move_task(**arguments)
    if run.dry_run:
        return about
    task = follow(run, queue["arn"], parameters.wait_seconds)
    if task["Status"] == "FAILED":
        raise MoveFailedError(f"SQS gave up: {task.get('FailureReason', 'no reason given')}; {progress(task)}")
    if task["Status"] != "COMPLETED" and parameters.wait_seconds:
        raise DeadlineError(
            f"the move of {parameters.queue_name} still goes on after {parameters.wait_seconds} s, and will:"
            f" {progress(task)}"
        )
    left = look_at(run, parameters.queue_name)
    return {
        **about,
        "move_status": task["Status"],
        "moved_count": task.get("ApproximateNumberOfMessagesMoved", 0),
        "left_count": left["visible"],
        # Fewer than were counted: received, expired or deleted by somebody meanwhile.
        "missing_count": max(0, queue["visible"] - task.get("ApproximateNumberOfMessagesMoved", 0) - left["visible"])
        if task["Status"] == "COMPLETED"
        else None,
    }


def look_at(run: ScriptRun, name: str) -> dict[str, Any]:
    """A queue's address and how many messages it holds."""
    sqs = run.read("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", *counts])["Attributes"]
    visible, in_flight = (int(found[count]) for count in counts)
    return {"url": url, "arn": found["QueueArn"], "visible": visible, "in_flight": in_flight}


def source_names(run: ScriptRun, url: str) -> list[str]:
    pages = run.read("sqs").get_paginator("list_dead_letter_source_queues").paginate(QueueUrl=url)
    return sorted(source.rpartition("/")[2] for page in pages for source in page.get("queueUrls", []))


def follow(run: ScriptRun, arn: str, seconds: int) -> dict[str, Any]:
    """The newest move out of the queue at its end, or as it stood when the time was up."""
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        seen.append(run.read("sqs").list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"][0])
        return seen[-1]["Status"] not in ("RUNNING", "CANCELLING")

    run.wait_until(look, seconds, every_seconds=LOOK_EVERY_SECONDS)
    return seen[-1]


def progress(task: dict[str, Any]) -> str:
    moved, all_of = task.get("ApproximateNumberOfMessagesMoved", 0), task.get("ApproximateNumberOfMessagesToMove", "?")
    told = f"{task['Status']}, {moved} of {all_of} messages moved"
    if task["Status"] == "RUNNING" and "TaskHandle" in task:
        told += f"; `aws sqs cancel-message-move-task --task-handle {task['TaskHandle']}` ends it"
    return told


script = Script("oncall-redrive-queue", RedriveQueue, redrive_queue, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
