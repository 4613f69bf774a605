"""Sends a marked message to a queue and waits until it arrives there, or at the queue that it should reach."""

from __future__ import annotations

import json
import os
import time
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.queues import find_message, find_queue
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.expectations import UnmetError
from watchfloor.queues import check_search
from watchfloor.scripts import Parameters, Planned

MARK = "watchfloor_test"


QueueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,75}(\.fifo)?$")]


class Roundtrip(Parameters):
    queue_name: QueueName = Field(description="The queue to send to")
    arrives_at: QueueName | None = Field(
        None, description="The queue where it should arrive, for example a dead letter queue; none: the same one"
    )
    body: dict[str, Any] = Field({}, description="What the message holds besides its mark")
    wait_seconds: int = Field(60, ge=5, le=600, description="How long to wait for it")


def send_and_find(parameters: Roundtrip, run: ScriptRun) -> dict[str, Any]:
    sqs = run.read("sqs")
    source = find_queue(sqs, parameters.queue_name)
    target = find_queue(sqs, parameters.arrives_at or parameters.queue_name)
    check_search(target)
    # A plan does not know the id of the call that will follow it.
    mark = str(Planned("lambda:Invoke")["RequestId"]) if run.dry_run else run.request_id
    began = time.monotonic()
    sent = run.write("sqs").send_message(
        QueueUrl=source.url,
        MessageBody=json.dumps({**parameters.body, MARK: mark}),
        MessageAttributes={MARK: {"DataType": "String", "StringValue": mark}},
        **({"MessageGroupId": MARK, "MessageDeduplicationId": mark} if source.name.endswith(".fifo") else {}),
    )
    if run.dry_run:
        receipt = Planned("sqs:ReceiveMessage")["ReceiptHandle"]
        run.write("sqs").delete_message(QueueUrl=target.url, ReceiptHandle=receipt)
        return {"findings": [f"a message would go to {source.name} and be awaited at {target.name}"]}
    most = min(parameters.wait_seconds, run.remaining_seconds - 5)
    found, others = find_message(sqs, target, MARK, mark, most)
    seconds = time.monotonic() - began
    result = {
        "queue_name": source.name,
        "arrives_at": target.name,
        "message_id": sent["MessageId"],
        "other_messages_seen": others,
        "waited_seconds": round(seconds, 2),
    }
    if found is None:
        missing = f"the message did not arrive at {target.name} within {parameters.wait_seconds} s"
        hint = "somebody else may have received it" if target.name == source.name else "it may still be on its way"
        raise UnmetError(missing, {"findings": [missing, hint], **result})
    run.write("sqs").delete_message(QueueUrl=target.url, ReceiptHandle=found["ReceiptHandle"])
    # It came straight back and is gone again.
    run.changed = target.name != source.name
    return {"findings": [f"the message arrived at {target.name} after {seconds:.1f} s and was deleted"], **result}


script = Script(
    "test-queue-roundtrip",
    Roundtrip,
    send_and_find,
    risk="medium",
    environment=os.environ,
    # To look for one's own message is to receive others: they are given back at once, one receive older.
    reading=("sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"),
)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
