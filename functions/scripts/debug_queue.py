"""A queue at a glance: depth, age, flow, who reads it, its dead letters, and on request a sample of them."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.metrics import Metrics
from watchfloor.clients.queues import dead_letters, find_queue, source_names
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.queues import HOURS, METRICS, Queue, check_sample, report, sample
from watchfloor.scripts import Parameters


class QueueQuestion(Parameters):
    queue_name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,75}(\.fifo)?$", description="The queue")
    sample: int = Field(
        0, ge=0, le=10, description="Messages to show; only of a queue that sends none on to dead letters itself"
    )


def look_at_queue(parameters: QueueQuestion, run: ScriptRun) -> dict[str, Any]:
    sqs, now = run.read("sqs"), dt.datetime.now(dt.UTC)
    queue = find_queue(sqs, parameters.queue_name)
    flow = Metrics(run.read("cloudwatch"), "AWS/SQS", "QueueName").values(
        [queue.name], METRICS, now - dt.timedelta(hours=HOURS), now, period_seconds=300
    )
    mappings = run.read("lambda").list_event_source_mappings(EventSourceArn=queue.arn)["EventSourceMappings"]
    result = report(queue, flow[queue.name], mappings, dead_letters(sqs, queue), source_names(sqs, queue))
    if parameters.sample:
        check_sample(queue)
        result["sample"] = sample(received(queue, parameters.sample, run))
    return result


def received(queue: Queue, most: int, run: ScriptRun) -> list[dict[str, Any]]:
    """Some messages, left where they are, though each is one receive older afterwards."""
    # SQS shows a message only by receiving it; visible again after no time, it stays for whoever reads the queue.
    answer = run.write("sqs", planned={}).receive_message(
        QueueUrl=queue.url,
        MaxNumberOfMessages=most,
        VisibilityTimeout=0,
        WaitTimeSeconds=2,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return answer.get("Messages", [])


script = Script("debug-queue", QueueQuestion, look_at_queue, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
