"""A stream's queue of runs, and the model state that goes from file to file.

Items of a stream, by sort key `item`: `counter` (the last ticket drawn), `ticket#<n>` (one per run that is under
way, oldest first), `state` (pointer to the models' state in S3, with a version).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.errors import ConflictError


@dataclass(frozen=True)
class Ticket:
    """A run's place in the queue; `token` is there while it waits for its turn, `holds` once it got it."""

    stream: str
    number: int
    run_id: str
    execution_arn: str
    token: str | None = None
    holds: bool = False


@dataclass(frozen=True)
class StreamState:
    """Where the models' state lies after `version` runs; keys are None before the first one."""

    version: int = 0
    run_id: str | None = None
    cluster_key: str | None = None
    flow_key: str | None = None


class StreamTable:
    """Key `stream`, sort key `item`."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def draw_ticket(self, stream: str) -> int:
        with passing_errors():
            answer = self._table.update_item(
                Key={"stream": stream, "item": "counter"},
                UpdateExpression="ADD #last :one",
                ExpressionAttributeNames={"#last": "last"},
                ExpressionAttributeValues={":one": 1},
                ReturnValues="UPDATED_NEW",
            )
        return int(answer["Attributes"]["last"])

    def put_ticket(self, ticket: Ticket) -> None:
        item = {
            "stream": ticket.stream,
            "item": _ticket_item(ticket.number),
            "run_id": ticket.run_id,
            "execution_arn": ticket.execution_arn,
        }
        if ticket.token:
            item["token"] = ticket.token
        with passing_errors():
            self._table.put_item(Item=item)

    def give_lease(self, ticket: Ticket) -> bool:
        """Mark the ticket as the one that holds the lease. False where its wait is over, or began anew."""
        return self._of_waiting(ticket, "SET holds = :yes", {":yes": True})

    def end_wait(self, ticket: Ticket) -> None:
        """Note that the ticket's wait is over (unless it waits again by now)."""
        self._of_waiting(ticket, "REMOVE #token", {})

    def _of_waiting(self, ticket: Ticket, change: str, values: dict[str, Any]) -> bool:
        """Change a ticket that still waits by its token; False where it does not."""
        try:
            with passing_errors():
                self._table.update_item(
                    Key={"stream": ticket.stream, "item": _ticket_item(ticket.number)},
                    UpdateExpression=change,
                    ConditionExpression="#token = :token",
                    ExpressionAttributeNames={"#token": "token"},
                    ExpressionAttributeValues={":token": ticket.token, **values},
                )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def remove_ticket(self, stream: str, number: int) -> None:
        with passing_errors():
            self._table.delete_item(Key={"stream": stream, "item": _ticket_item(number)})

    def queue(self, stream: str) -> list[Ticket]:
        """Tickets of the stream, oldest first."""
        condition = Key("stream").eq(stream) & Key("item").begins_with("ticket#")
        with passing_errors():
            return [_ticket(item) for item in _all(self._table.query, KeyConditionExpression=condition)]

    def all_tickets(self) -> list[Ticket]:
        with passing_errors():
            return [
                _ticket(item) for item in _all(self._table.scan, FilterExpression=Attr("item").begins_with("ticket#"))
            ]

    def state(self, stream: str) -> StreamState:
        with passing_errors():
            item = self._table.get_item(Key={"stream": stream, "item": "state"}, ConsistentRead=True).get("Item")
        if not item:
            return StreamState()
        return StreamState(int(item["version"]), item["run_id"], item["cluster_key"], item["flow_key"])

    def advance_state(self, stream: str, base_version: int, run_id: str, cluster_key: str, flow_key: str) -> None:
        """Move the pointer on by one version; ConflictError where another run moved it first. May be repeated."""
        try:
            with passing_errors():
                self._table.put_item(
                    Item={
                        "stream": stream,
                        "item": "state",
                        "version": base_version + 1,
                        "run_id": run_id,
                        "cluster_key": cluster_key,
                        "flow_key": flow_key,
                    },
                    ConditionExpression="#version = :base OR (#version = :next AND run_id = :run)"
                    if base_version
                    else "attribute_not_exists(#version) OR (#version = :next AND run_id = :run)",
                    ExpressionAttributeNames={"#version": "version"},
                    ExpressionAttributeValues={":next": base_version + 1, ":run": run_id}
                    | ({":base": base_version} if base_version else {}),
                )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                raise ConflictError(f"the state of stream {stream} is no longer at version {base_version}") from error
            raise


def _ticket_item(number: int) -> str:
    return f"ticket#{number:012d}"


def _ticket(item: dict[str, Any]) -> Ticket:
    number = int(item["item"].removeprefix("ticket#"))
    return Ticket(
        item["stream"], number, item["run_id"], item["execution_arn"], item.get("token"), item.get("holds", False)
    )


def _all(call: Any, **arguments: Any) -> Iterator[dict[str, Any]]:
    while True:
        page = call(ConsistentRead=True, **arguments)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]
