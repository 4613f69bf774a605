"""Sends a marked message to a queue and waits until it arrives there, or at the queue that it should reach."""

from __future__ import annotations

import json
import os
import time
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError
from watchfloor.expectations import UnmetError
from watchfloor.scripts import Parameters, Planned

MARK = "watchfloor_test"
_MOST_OTHERS = 20
_FEWEST_RECEIVES = 5
_POLL_SECONDS = 2

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
    target = parameters.arrives_at or parameters.queue_name
    source_url = sqs.get_queue_url(QueueName=parameters.queue_name)["QueueUrl"]
    target_url = sqs.get_queue_url(QueueName=target)["QueueUrl"]
    guard(target, attributes(sqs, target_url))
    # A plan does not know the id of the call that will follow it.
    mark = str(Planned("lambda:Invoke")["RequestId"]) if run.dry_run else run.request_id
    began = time.monotonic()
    sent = run.write("sqs").send_message(
        QueueUrl=source_url,
        MessageBody=json.dumps({**parameters.body, MARK: mark}),
        MessageAttributes={MARK: {"DataType": "String", "StringValue": mark}},
        **fifo(parameters.queue_name, mark),
    )
    if run.dry_run:
        receipt = Planned("sqs:ReceiveMessage")["ReceiptHandle"]
        run.write("sqs").delete_message(QueueUrl=target_url, ReceiptHandle=receipt)
        return {"findings": [f"a message would go to {parameters.queue_name} and be awaited at {target}"]}
    found, others = await_message(sqs, target_url, mark, parameters.wait_seconds, run)
    seconds = time.monotonic() - began
    result = {
        "queue_name": parameters.queue_name,
        "arrives_at": target,
        "message_id": sent["MessageId"],
        "other_messages_seen": others,
        "waited_seconds": round(seconds, 2),
    }
    if found is None:
        missing = f"the message did not arrive at {target} within {parameters.wait_seconds} s"
        hint = "somebody else may have received it" if target == parameters.queue_name else "it may still be on its way"
        raise UnmetError(missing, {"findings": [missing, hint], **result})
    run.write("sqs").delete_message(QueueUrl=target_url, ReceiptHandle=found["ReceiptHandle"])
    # It came straight back and is gone again.
    run.changed = target != parameters.queue_name
    return {"findings": [f"the message arrived at {target} after {seconds:.1f} s and was deleted"], **result}


def attributes(sqs: Any, url: str) -> dict[str, str]:
    wanted = ["ApproximateNumberOfMessages", "RedrivePolicy"]
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted).get("Attributes", {})


def guard(name: str, found: dict[str, str]) -> None:
    """Looking for one's own message receives others too; that must not do them harm."""
    depth = int(found.get("ApproximateNumberOfMessages", 0))
    if depth > _MOST_OTHERS:
        raise ConflictError(
            f"{name} holds about {depth} messages; looking for one among them would hold up the others"
            f" (at most {_MOST_OTHERS} are accepted)"
        )
    receives = int(json.loads(found.get("RedrivePolicy") or "{}").get("maxReceiveCount", 1_000))
    if depth and receives < _FEWEST_RECEIVES:
        raise ConflictError(
            f"{name} holds messages and gives up on them after {receives} receives; looking among them could send"
            " them to its dead letter queue"
        )


def fifo(queue_name: str, mark: str) -> dict[str, str]:
    if not queue_name.endswith(".fifo"):
        return {}
    return {"MessageGroupId": MARK, "MessageDeduplicationId": mark}


def await_message(sqs: Any, url: str, mark: str, seconds: float, run: ScriptRun) -> tuple[dict[str, Any] | None, int]:
    """Our message, and how many others were seen; those are given back at the end."""
    others: dict[str, str] = {}
    mine = None
    until = time.monotonic() + min(seconds, run.remaining_seconds - 5)
    try:
        while mine is None and (left := until - time.monotonic()) > 0:
            answer = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=min(_POLL_SECONDS, max(1, round(left))),
                VisibilityTimeout=round(left) + 10,
                MessageAttributeNames=[MARK],
            )
            for message in answer.get("Messages", []):
                if message.get("MessageAttributes", {}).get(MARK, {}).get("StringValue") == mark:
                    mine = message
                else:
                    others[message["MessageId"]] = message["ReceiptHandle"]
    finally:
        for receipt in others.values():
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)
    return mine, len(others)


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
