"""A queue at a glance: depth, age, flow, who reads it, its dead letters, and on request a sample of them."""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters

_HOURS = 3
_PERIOD_SECONDS = 300
_BODY_CHARACTERS = 3_000
_METRICS = {
    "age": ("ApproximateAgeOfOldestMessage", "Maximum"),
    "sent": ("NumberOfMessagesSent", "Sum"),
    "received": ("NumberOfMessagesReceived", "Sum"),
    "deleted": ("NumberOfMessagesDeleted", "Sum"),
}
_MOST_IN_FLIGHT = {False: 120_000, True: 20_000}


class QueueQuestion(Parameters):
    queue_name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,75}(\.fifo)?$", description="The queue")
    sample: int = Field(
        0, ge=0, le=10, description="Messages to show; only of a queue that sends none on to dead letters itself"
    )


def look_at_queue(parameters: QueueQuestion, run: ScriptRun) -> dict[str, Any]:
    sqs = run.read("sqs")
    url = sqs.get_queue_url(QueueName=parameters.queue_name)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    now = dt.datetime.now(dt.UTC)
    flow = metrics(parameters.queue_name, now, run)
    readers = consumers(found["QueueArn"], run)
    dead = dead_letter_queue(sqs, found)
    feeding = sources(sqs, url)
    about = {
        "visible": int(found["ApproximateNumberOfMessages"]),
        "in_flight": int(found["ApproximateNumberOfMessagesNotVisible"]),
        "delayed": int(found["ApproximateNumberOfMessagesDelayed"]),
        "oldest_seconds": flow["age"][0] if flow["age"] else None,
        f"sent_in_{_HOURS}_hours": sum(flow["sent"]),
        f"received_in_{_HOURS}_hours": sum(flow["received"]),
        f"deleted_in_{_HOURS}_hours": sum(flow["deleted"]),
        "retention_seconds": int(found["MessageRetentionPeriod"]),
        "visibility_seconds": int(found["VisibilityTimeout"]),
    }
    result = {
        "findings": said(parameters.queue_name, about, flow, readers, dead, feeding),
        "queue_name": parameters.queue_name,
        **about,
        "is_fifo": found.get("FifoQueue") == "true",
        "consumers": readers,
        "dead_letter_queue": dead,
        "dead_letters_of": feeding,
    }
    if parameters.sample:
        result["sample"] = sample(parameters, url, found, run)
    return result


def metrics(queue_name: str, now: dt.datetime, run: ScriptRun) -> dict[str, list[float]]:
    """Values of five minutes each, the latest first."""
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SQS",
                    "MetricName": metric,
                    "Dimensions": [{"Name": "QueueName", "Value": queue_name}],
                },
                "Period": _PERIOD_SECONDS,
                "Stat": statistic,
            },
        }
        for name, (metric, statistic) in _METRICS.items()
    ]
    answer = run.read("cloudwatch").get_metric_data(
        MetricDataQueries=queries, StartTime=now - dt.timedelta(hours=_HOURS), EndTime=now, ScanBy="TimestampDescending"
    )
    found: dict[str, list[float]] = {name: [] for name in _METRICS}
    for series in answer["MetricDataResults"]:
        found[series["Id"]] = [round(value) for value in series["Values"]]
    return found


def consumers(queue_arn: str, run: ScriptRun) -> list[dict[str, Any]]:
    """Functions that read the queue, and whether they do at the moment."""
    mappings = run.read("lambda").list_event_source_mappings(EventSourceArn=queue_arn)["EventSourceMappings"]
    return [
        {
            "function": mapping["FunctionArn"].split(":function:")[-1],
            "state": mapping["State"],
            "batch_size": mapping.get("BatchSize"),
            "last_result": mapping.get("LastProcessingResult"),
        }
        for mapping in mappings
    ]


def dead_letter_queue(sqs: Any, found: dict[str, str]) -> dict[str, Any] | None:
    """Where messages go that nobody could deal with, and how many are there."""
    policy = json.loads(found.get("RedrivePolicy") or "{}")
    if not policy:
        return None
    name = policy["deadLetterTargetArn"].rpartition(":")[2]
    about = {"queue_name": name, "after_receives": int(policy["maxReceiveCount"])}
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    except ClientError as error:
        # It may have a name that scripts may not touch, or be gone; the queue's own story is told all the same.
        return {**about, "visible": None, "problem": error.response["Error"]["Code"]}
    return {**about, "visible": int(attributes["Attributes"]["ApproximateNumberOfMessages"])}


def sources(sqs: Any, url: str) -> list[str]:
    """Queues whose dead letters come here."""
    return [each.rpartition("/")[2] for each in sqs.list_dead_letter_source_queues(QueueUrl=url).get("queueUrls", [])]


def said(
    name: str,
    about: dict[str, Any],
    flow: dict[str, list[float]],
    readers: list[dict[str, Any]],
    dead: dict[str, Any] | None,
    feeding: list[str],
) -> list[str]:
    """What is wrong with the queue, the worst first."""
    findings = []
    waiting, oldest = about["visible"], about["oldest_seconds"] or 0
    if oldest > 0.8 * about["retention_seconds"]:
        findings.append(
            f"messages are about to be lost: the oldest is {span(oldest)} old, and {span(about['retention_seconds'])}"
            " is as long as they are kept"
        )
    if off := [reader["function"] for reader in readers if reader["state"] not in ("Enabled", "Enabling")]:
        findings.append(f"its consumer {', '.join(off)} is switched off")
    received, sent, deleted = (sum(flow[key][:6]) for key in ("received", "sent", "deleted"))
    if waiting and not feeding and not received and not about["in_flight"]:
        findings.append(f"nobody read it in the last half hour, and {waiting} messages wait")
    elif waiting and sent > 1.2 * deleted and sent - deleted > 10:
        findings.append(f"it grows: {sent:.0f} came and {deleted:.0f} were done in the last half hour")
    elif waiting and received > 3 * deleted and received > 10:
        findings.append(f"its readers fail: {received:.0f} receives, but {deleted:.0f} messages done in half an hour")
    if about["in_flight"] > 0.9 * _MOST_IN_FLIGHT[name.endswith(".fifo")]:
        findings.append(f"{about['in_flight']} messages are in flight, which is about as many as SQS allows")
    if dead and "NonExistent" in dead.get("problem", ""):
        findings.append(f"its dead letter queue {dead['queue_name']} does not exist")
    if dead and dead["visible"]:
        findings.append(f"{dead['visible']} messages are in its dead letter queue {dead['queue_name']}")
    if feeding and waiting:
        findings.append(
            f"{waiting} dead letters of {', '.join(feeding)} lie here (oncall-redrive-queue sends them back)"
        )
    if not dead and not feeding:
        findings.append("it has no dead letter queue: a message that nobody can deal with comes back until it is lost")
    age = f", the oldest {span(oldest)} old" if oldest else ""
    return [*findings, f"{waiting} messages wait{age}; {about['in_flight']} are being worked on"]


def span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def sample(parameters: QueueQuestion, url: str, found: dict[str, str], run: ScriptRun) -> list[dict[str, Any]]:
    """Some messages, left where they are, though each is one receive older afterwards."""
    if found.get("RedrivePolicy"):
        raise ConflictError(
            f"sample: {parameters.queue_name} sends messages on to dead letters after some receives, and a look is a"
            " receive; ask for its dead letter queue instead"
        )
    # SQS shows a message only by receiving it; visible again after no time, it stays for whoever reads the queue.
    answer = run.write("sqs", planned={}).receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=parameters.sample,
        VisibilityTimeout=0,
        WaitTimeSeconds=2,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    redactor, shown = Redactor(), {}
    for message in answer.get("Messages", []):
        system = message.get("Attributes", {})
        shown[message["MessageId"]] = {
            "message_id": message["MessageId"],
            "sent": moment(system.get("SentTimestamp")),
            "first_received": moment(system.get("ApproximateFirstReceiveTimestamp")),
            "receives": int(system.get("ApproximateReceiveCount", 0)),
            "attributes": redactor.value(
                {name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()}
            ),
            "body": redactor.start(message["Body"], _BODY_CHARACTERS),
            "body_characters": len(message["Body"]),
        }
    return list(shown.values())


def moment(milliseconds: str | None) -> str | None:
    if not milliseconds:
        return None
    return dt.datetime.fromtimestamp(int(milliseconds) / 1000, dt.UTC).isoformat(timespec="seconds")


script = Script("debug-queue", QueueQuestion, look_at_queue, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
