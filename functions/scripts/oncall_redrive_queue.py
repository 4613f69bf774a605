"""Moves the messages of a dead-letter queue back to where they came from, and follows the move to its end."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.queues import find_queue, newest_move, source_names
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.queue_moves import check_move, is_over, outcome
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


def redrive_queue(parameters: RedriveQueue, run: ScriptRun) -> dict[str, Any]:
    sqs, to_queue_name = run.read("sqs"), parameters.to_queue_name
    queue = find_queue(sqs, parameters.queue_name)
    sources = source_names(sqs, queue)
    # Moves are listed of dead-letter queues only.
    check_move(queue, sources, newest_move(sqs, queue) if sources else {}, to_queue_name)
    arguments: dict[str, Any] = {"SourceArn": queue.arn}
    if to_queue_name:
        arguments["DestinationArn"] = find_queue(sqs, to_queue_name).arn
    if parameters.max_per_second:
        arguments["MaxNumberOfMessagesPerSecond"] = parameters.max_per_second
    about = {
        "queue_name": queue.name,
        "to_queue_names": [to_queue_name] if to_queue_name else sources,
        "message_count": queue.visible,
        # Somebody has received them and may still delete them; they are not moved.
        "in_flight_count": queue.in_flight,
    }
    if queue.visible == 0:
        return {**about, "moved_count": 0, "left_count": 0}
    run.write("sqs").start_message_move_task(**arguments)
    if run.dry_run:
        return about
    move = run.follow(lambda: newest_move(sqs, queue), is_over, parameters.wait_seconds)
    return {**about, **outcome(move, queue, find_queue(sqs, queue.name), parameters.wait_seconds)}


script = Script("oncall-redrive-queue", RedriveQueue, redrive_queue, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
