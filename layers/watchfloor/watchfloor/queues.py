"""What SQS says of a queue: how it stands, what is wrong with it, and what may be done to its messages."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchfloor.errors import ConflictError
from watchfloor.redaction import Redactor

HOURS = 3
# Metric and statistic, in spans of five minutes.
METRICS: dict[str, tuple[str, str]] = {
    "age": ("ApproximateAgeOfOldestMessage", "Maximum"),
    "sent": ("NumberOfMessagesSent", "Sum"),
    "received": ("NumberOfMessagesReceived", "Sum"),
    "deleted": ("NumberOfMessagesDeleted", "Sum"),
}
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
_MOST_IN_FLIGHT = {False: 120_000, True: 20_000}
_BODY_CHARACTERS = 3_000
_MOST_OTHERS = 20
_FEWEST_RECEIVES = 5


@dataclass(frozen=True)
class Queue:
    """A queue; `attributes` are SQS's own, of which all values are texts."""

    name: str
    url: str
    attributes: Mapping[str, str]

    @property
    def arn(self) -> str:
        return self.attributes["QueueArn"]

    @property
    def visible(self) -> int:
        return int(self.attributes["ApproximateNumberOfMessages"])

    @property
    def in_flight(self) -> int:
        return int(self.attributes["ApproximateNumberOfMessagesNotVisible"])

    @property
    def dead_letter_queue(self) -> str | None:
        """Name of where its dead letters go."""
        return self._redrive["deadLetterTargetArn"].rpartition(":")[2] if self._redrive else None

    @property
    def most_receives(self) -> int | None:
        """After how many a message is a dead letter."""
        return int(self._redrive["maxReceiveCount"]) if self._redrive else None

    @property
    def _redrive(self) -> dict[str, Any]:
        return json.loads(self.attributes.get("RedrivePolicy") or "{}")


def report(
    queue: Queue,
    flow: Mapping[str, Sequence[float]],
    mappings: Iterable[Mapping[str, Any]],
    dead: Mapping[str, Any] | None,
    sources: Sequence[str],
) -> dict[str, Any]:
    """A queue at a glance.

    Parameters
    ----------
    flow
        Values of METRICS, the latest first.
    mappings
        Event source mappings of the functions that read it.
    dead
        Its dead letter queue: `queue_name`, `after_receives`, `visible` (None where it could not be seen, with the
        `problem`).
    sources
        Queues whose dead letters it holds.
    """
    readers = [_reader(mapping) for mapping in mappings]
    about = {
        "visible": queue.visible,
        "in_flight": queue.in_flight,
        "delayed": int(queue.attributes["ApproximateNumberOfMessagesDelayed"]),
        "oldest_seconds": round(flow["age"][0]) if flow["age"] else None,
        **{f"{key}_in_{HOURS}_hours": sum(map(round, flow[key])) for key in ("sent", "received", "deleted")},
        "retention_seconds": int(queue.attributes["MessageRetentionPeriod"]),
        "visibility_seconds": int(queue.attributes["VisibilityTimeout"]),
    }
    return {
        "findings": findings(queue.name, about, flow, readers, dead, sources),
        "queue_name": queue.name,
        **about,
        "is_fifo": queue.attributes.get("FifoQueue") == "true",
        "consumers": readers,
        "dead_letter_queue": dead,
        "dead_letters_of": sources,
    }


def _reader(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "function": mapping["FunctionArn"].split(":function:")[-1],
        "state": mapping["State"],
        "batch_size": mapping.get("BatchSize"),
        "last_result": mapping.get("LastProcessingResult"),
    }


def findings(
    name: str,
    about: Mapping[str, Any],
    flow: Mapping[str, Sequence[float]],
    readers: Sequence[Mapping[str, Any]],
    dead: Mapping[str, Any] | None,
    sources: Sequence[str],
) -> list[str]:
    """What is wrong with the queue, the worst first."""
    found = []
    waiting, oldest = about["visible"], about["oldest_seconds"] or 0
    if oldest > 0.8 * about["retention_seconds"]:
        found.append(
            f"messages are about to be lost: the oldest is {_span(oldest)} old, and {_span(about['retention_seconds'])}"
            " is as long as they are kept"
        )
    if off := [reader["function"] for reader in readers if reader["state"] not in ("Enabled", "Enabling")]:
        found.append(f"its consumer {', '.join(off)} is switched off")
    received, sent, deleted = (sum(flow[key][:6]) for key in ("received", "sent", "deleted"))
    if waiting and not sources and not received and not about["in_flight"]:
        found.append(f"nobody read it in the last half hour, and {waiting} messages wait")
    elif waiting and sent > 1.2 * deleted and sent - deleted > 10:
        found.append(f"it grows: {sent:.0f} came and {deleted:.0f} were done in the last half hour")
    elif waiting and received > 3 * deleted and received > 10:
        found.append(f"its readers fail: {received:.0f} receives, but {deleted:.0f} messages done in half an hour")
    if about["in_flight"] > 0.9 * _MOST_IN_FLIGHT[name.endswith(".fifo")]:
        found.append(f"{about['in_flight']} messages are in flight, which is about as many as SQS allows")
    if dead and "NonExistent" in dead.get("problem", ""):
        found.append(f"its dead letter queue {dead['queue_name']} does not exist")
    if dead and dead["visible"]:
        found.append(f"{dead['visible']} messages are in its dead letter queue {dead['queue_name']}")
    if sources and waiting:
        found.append(f"{waiting} dead letters of {', '.join(sources)} lie here (oncall-redrive-queue sends them back)")
    if not dead and not sources:
        found.append("it has no dead letter queue: a message that nobody can deal with comes back until it is lost")
    age = f", the oldest {_span(oldest)} old" if oldest else ""
    return [*found, f"{waiting} messages wait{age}; {about['in_flight']} are being worked on"]


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def check_sample(queue: Queue) -> None:
    """Refuse a look at messages that could make dead letters of them."""
    if queue.dead_letter_queue:
        raise ConflictError(
            f"sample: {queue.name} sends messages on to dead letters after some receives, and a look is a receive; ask"
            " for its dead letter queue instead"
        )


def sample(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages of ReceiveMessage, each once, without secrets, long bodies cut."""
    redactor, shown = Redactor(), {}
    for message in messages:
        system = message.get("Attributes", {})
        shown[message["MessageId"]] = {
            "message_id": message["MessageId"],
            "sent": _moment(system.get("SentTimestamp")),
            "first_received": _moment(system.get("ApproximateFirstReceiveTimestamp")),
            "receives": int(system.get("ApproximateReceiveCount", 0)),
            "attributes": redactor.value(
                {name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()}
            ),
            "body": redactor.start(message["Body"], _BODY_CHARACTERS),
            "body_characters": len(message["Body"]),
        }
    return list(shown.values())


def _moment(milliseconds: str | None) -> str | None:
    if not milliseconds:
        return None
    return dt.datetime.fromtimestamp(int(milliseconds) / 1000, dt.UTC).isoformat(timespec="seconds")


def check_search(queue: Queue) -> None:
    """Refuse to look for a message among others, which receives these too, where that could do them harm."""
    if queue.visible > _MOST_OTHERS:
        raise ConflictError(
            f"{queue.name} holds about {queue.visible} messages; looking for one among them would hold up the others"
            f" (at most {_MOST_OTHERS} are accepted)"
        )
    if queue.visible and queue.most_receives is not None and queue.most_receives < _FEWEST_RECEIVES:
        raise ConflictError(
            f"{queue.name} holds messages and gives up on them after {queue.most_receives} receives; looking among them"
            " could send them to its dead letter queue"
        )
