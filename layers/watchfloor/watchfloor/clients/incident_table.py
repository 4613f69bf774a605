"""Incidents in DynamoDB: counted exactly, changed by one at a time, found by what is to be done.

Items, by key `fingerprint` and sort key `item`: `incident` (the incident as it is now), `day#<date>` (its errors of a
day), `generation#<n>` (how an earlier generation ended), `report#<n>` (what was found out about a generation), `message`
(where Slack has it). Under other keys: `delivery#<digest>` (what is counted already), `request#<signature>` (what Slack sent
already), `limit#starts` and `limit#tokens` (what was used of an hour and of a day).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.clients.items import plain, stored
from watchfloor.errors import ConflictError, InvalidInputError, TransientError
from watchfloor.incidents import START, Incident

# DynamoDB has at most this many items in a transaction.
TRANSACTION_ITEMS = 100
# Deliveries come again for six hours, and from the dead letter queue for fourteen days.
_DELIVERY_SECONDS = 15 * 86_400
_LIMIT_SECONDS = 3 * 86_400
# A signature of Slack's holds for five minutes.
_REQUEST_SECONDS = 3_600
_TRIES = 30
_MAX_HOPS = 10
_REFUSED = "ConditionalCheckFailed"
# What errors add to; what must be the same for adding to be all they do; and what only moves one way, as others find it.
_COUNTS = ("total", "count")
_STEADY = ("generation", "started", "status", "merged_into", "to_do")
_ENDS = {"first_seen": ">=", "since": ">=", "last_seen": "<="}
_THROTTLED = {"ThrottlingError", "ProvisionedThroughputExceeded"}


@dataclass(frozen=True)
class Counted:
    """An incident before and after a delivery, and what the delivery adds to its days."""

    before: Incident
    after: Incident
    per_day: Mapping[str, int]


class IncidentTable:
    """Key `fingerprint`, sort key `item`. `retention_seconds` after its last change an item is deleted (DynamoDB TTL)."""

    def __init__(self, table: Any, retention_seconds: int = 400 * 86_400) -> None:
        self._table = table
        self._client = table.meta.client
        self._retention_seconds = retention_seconds

    # --- incidents

    def get(self, fingerprint: str) -> Incident:
        """The incident; version 0 where there is none yet."""
        row = self._item(fingerprint, "incident")
        return Incident.from_json(row) if row else Incident(fingerprint)

    def survivor(self, fingerprint: str) -> Incident:
        """The incident for which a fingerprint's errors count."""
        incident = self.get(fingerprint)
        for _ in range(_MAX_HOPS):
            if not incident.merged_into:
                return incident
            incident = self.get(incident.merged_into)
        raise ConflictError(f"{fingerprint} is merged into others more than {_MAX_HOPS} times")

    def change(self, fingerprint: str, edit: Callable[[Incident], Incident]) -> Incident:
        """Change an incident; `edit` is asked again where somebody else changed it meanwhile."""
        for attempt in range(_TRIES):
            before = self.get(fingerprint)
            after = edit(before)
            if after == before or self._conditional(
                self._table.put_item, Item=self._row(before, after), **self._unchanged(before)
            ):
                return after
            _pause(attempt)
        raise TransientError(f"incident {fingerprint} is changed by too many at once")

    def merge(self, fingerprint: str, into: str, edit: Callable[[Incident, Incident], Incident]) -> Incident:
        """Merge an incident into the one for which `into` counts; never into a circle."""
        for attempt in range(_TRIES):
            target = self.survivor(into)
            if not target.generation:
                raise InvalidInputError(f"there is no incident {into}")
            before = self.get(fingerprint)
            after = edit(before, target)
            same = {"TableName": self._table.name, "Key": {"fingerprint": target.fingerprint, "item": "incident"}}
            put = {"TableName": self._table.name, "Item": self._row(before, after)}
            try:
                self._transact(
                    [
                        {"Put": {**put, **self._unchanged(before)}},
                        {"ConditionCheck": {**same, "ConditionExpression": "merged_into = :none"} | _VALUES_NONE},
                    ]
                )
                return after
            except ConflictError:
                _pause(attempt)
        raise TransientError(f"incident {fingerprint} is changed by too many at once")

    def count(self, delivery: str, changes: Sequence[Counted]) -> bool:
        """Count a delivery's errors, all or nothing. False where they are counted already.

        Raises
        ------
        ConflictError
            Where somebody else changed one of the incidents meanwhile: read them again.
        """
        now = int(time.time())
        name = self._table.name
        marker = {"fingerprint": f"delivery#{delivery}", "item": "delivery", "expires_at": now + _DELIVERY_SECONDS}
        absent = "attribute_not_exists(fingerprint)"
        writes: list[dict[str, Any]] = [{"Put": {"TableName": name, "Item": marker, "ConditionExpression": absent}}]
        for change in changes:
            if _only_counts(change.before, change.after):
                writes.append({"Update": self._counts(change.before, change.after)})
            else:
                row = self._row(change.before, change.after)
                writes.append({"Put": {"TableName": name, "Item": row, **self._unchanged(change.before)}})
            if change.before.generation and change.after.generation > change.before.generation:
                writes.append({"Put": {"TableName": name, "Item": self._ended(change.before)}})
            for day, count in change.per_day.items():
                writes.append({"Update": self._day(change.after.fingerprint, day, count)})
        try:
            self._transact(writes)
        except _Refused as refusal:
            if refusal.positions == [0] or 0 in refusal.positions:
                return False
            raise
        return True

    def per_day(self, fingerprint: str, days: int = 30) -> dict[str, int]:
        """Errors of each of the last days that had any."""
        rows = self._query(fingerprint, "day#", newest=days)
        return {row["item"].removeprefix("day#"): row["count"] for row in rows}

    # --- what is to be done

    def due(self, to_do: str, now: float, limit: int = 100) -> list[str]:
        """Fingerprints of incidents that wait for it, longest first."""
        with passing_errors():
            found = self._table.query(
                IndexName="by_to_do",
                KeyConditionExpression=Key("to_do").eq(to_do) & Key("due_at").lte(stored(float(now))),
                Limit=limit,
            )
        return [row["fingerprint"] for row in found["Items"]]

    def held(self, now: float, limit: int = 200) -> list[Incident]:
        """Incidents whose start waits for the next hour."""
        with passing_errors():
            found = self._table.query(IndexName="by_to_do", KeyConditionExpression=_later_starts(now), Limit=limit)
        return [incident for row in found["Items"] if (incident := self.get(row["fingerprint"])).is_held]

    def held_count(self, now: float) -> int:
        """How many starts wait for the next hour."""
        with passing_errors():
            found = self._table.query(
                IndexName="by_to_do",
                KeyConditionExpression=_later_starts(now),
                Select="COUNT",
            )
        return found["Count"]

    def recent(self, limit: int = 100) -> list[dict[str, Any]]:
        """`fingerprint`, `title`, `status`, `total`, `last_seen` of incidents, those seen last first."""
        with passing_errors():
            found = self._table.query(
                IndexName="by_time", KeyConditionExpression=Key("listed").eq("yes"), ScanIndexForward=False, Limit=limit
            )
        return [plain(row) for row in found["Items"] if not row.get("merged_into")]

    # --- what was found out

    def put_report(self, fingerprint: str, generation: int, **facts: Any) -> None:
        item = {"fingerprint": fingerprint, "item": _numbered("report", generation), **facts}
        with passing_errors():
            self._table.put_item(Item=stored({**item, "expires_at": self._expiry()}))

    def report(self, fingerprint: str, generation: int) -> dict[str, Any] | None:
        return self._item(fingerprint, _numbered("report", generation))

    def ended(self, fingerprint: str, limit: int = 5) -> list[dict[str, Any]]:
        """How earlier generations ended, newest first."""
        return self._query(fingerprint, "generation#", newest=limit)

    def same_kind(self, kind: str, limit: int = 6) -> list[Incident]:
        """Incidents that look alike, newest first."""
        if not kind:
            return []
        with passing_errors():
            found = self._table.query(
                IndexName="by_kind", KeyConditionExpression=Key("kind").eq(kind), ScanIndexForward=False, Limit=limit
            )
        return [self.get(row["fingerprint"]) for row in found["Items"]]

    # --- its message

    def message(self, fingerprint: str) -> dict[str, Any]:
        return self._item(fingerprint, "message") or {}

    def keep_message(self, fingerprint: str, **facts: Any) -> None:
        facts = {**facts, "expires_at": self._expiry()}
        with passing_errors():
            self._table.update_item(
                Key={"fingerprint": fingerprint, "item": "message"},
                UpdateExpression="SET " + ", ".join(f"#{key} = :{key}" for key in facts),
                ExpressionAttributeNames={f"#{key}": key for key in facts},
                ExpressionAttributeValues=stored({f":{key}": value for key, value in facts.items()}),
            )

    # --- limits

    def take_start(self, hour: str, name: str, limit: int) -> bool:
        """Take one of the hour's starts; False where all are taken. The same name takes one only."""
        return self._conditional(
            self._table.update_item,
            Key={"fingerprint": "limit#starts", "item": f"hour#{hour}"},
            UpdateExpression="SET expires_at = :expiry ADD #names :name",
            ConditionExpression="attribute_not_exists(#names) OR contains(#names, :one) OR size(#names) < :limit",
            ExpressionAttributeNames={"#names": "names"},
            ExpressionAttributeValues={
                ":name": {name},
                ":one": name,
                ":limit": limit,
                ":expiry": int(time.time()) + _LIMIT_SECONDS,
            },
        )

    def claim_request(self, signature: str) -> bool:
        """True the first time that a signed request comes."""
        expiry = int(time.time()) + _REQUEST_SECONDS
        return self._conditional(
            self._table.put_item,
            Item={"fingerprint": f"request#{signature}", "item": "request", "expires_at": expiry},
            ConditionExpression="attribute_not_exists(fingerprint)",
        )

    def claim_held_notice(self, hour: str) -> bool:
        """True once an hour: whoever gets it tells that starts are held back."""
        return self._conditional(
            self._table.update_item,
            Key={"fingerprint": "limit#starts", "item": f"hour#{hour}"},
            UpdateExpression="SET is_told = :yes, expires_at = :expiry",
            ConditionExpression="attribute_not_exists(is_told)",
            ExpressionAttributeValues={":yes": True, ":expiry": int(time.time()) + _LIMIT_SECONDS},
        )

    def release_held_notice(self, hour: str) -> None:
        """Whoever claimed it could not tell."""
        with passing_errors():
            self._table.update_item(
                Key={"fingerprint": "limit#starts", "item": f"hour#{hour}"}, UpdateExpression="REMOVE is_told"
            )

    def reserve_tokens(self, day: str, tokens: int, limit: int) -> bool:
        """Set so many of the day's tokens aside; False where they are not left."""
        if tokens > limit:
            return False
        return self._conditional(
            self._table.update_item,
            Key={"fingerprint": "limit#tokens", "item": f"day#{day}"},
            UpdateExpression="SET expires_at = :expiry ADD tokens :tokens",
            ConditionExpression="attribute_not_exists(tokens) OR tokens <= :room",
            ExpressionAttributeValues={
                ":tokens": tokens,
                ":room": limit - tokens,
                ":expiry": int(time.time()) + _LIMIT_SECONDS,
            },
        )

    def settle_tokens(self, day: str, difference: int) -> None:
        """Correct a reservation by what was used more (or less)."""
        with passing_errors():
            self._table.update_item(
                Key={"fingerprint": "limit#tokens", "item": f"day#{day}"},
                UpdateExpression="ADD tokens :difference",
                ExpressionAttributeValues={":difference": difference},
            )

    # --- how it is stored

    def _expiry(self) -> int:
        return int(time.time()) + self._retention_seconds

    def _row(self, before: Incident, after: Incident) -> dict[str, Any]:
        row = {**after.to_json(), "item": "incident", "version": before.version + 1, "expires_at": self._expiry()}
        if not after.to_do:
            del row["to_do"], row["due_at"]
        if not after.kind:
            del row["kind"]
        if after.generation:
            row["listed"] = "yes"
        return stored(row)

    @staticmethod
    def _unchanged(before: Incident) -> dict[str, Any]:
        """Nobody else changed the incident since it was read."""
        if not before.version:
            return {"ConditionExpression": "attribute_not_exists(fingerprint)"}
        return {
            "ConditionExpression": "#version = :version",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":version": before.version},
        }

    def _counts(self, before: Incident, after: Incident) -> dict[str, Any]:
        """Errors added to what others add meanwhile, as long as the incident stays what it is."""
        same = {name: getattr(before, name) for name in _STEADY}
        ends = {name: getattr(after, name) for name in _ENDS if getattr(after, name) != getattr(before, name)}
        conditions = [f"#{name} = :{name}" for name in same] + [f"#{name} {_ENDS[name]} :{name}" for name in ends]
        values = {**same, **ends, **{name: getattr(after, name) - getattr(before, name) for name in _COUNTS}}
        names = [*values, "version", "expires_at"]
        return {
            "TableName": self._table.name,
            "Key": {"fingerprint": before.fingerprint, "item": "incident"},
            "UpdateExpression": "SET "
            + ", ".join(f"#{name} = :{name}" for name in (*ends, "expires_at"))
            + " ADD "
            + ", ".join(f"#{name} :{name}" for name in (*_COUNTS, "version")),
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeNames": {f"#{name}": name for name in names},
            "ExpressionAttributeValues": stored(
                {f":{name}": value for name, value in {**values, "version": 1, "expires_at": self._expiry()}.items()}
            ),
        }

    def _ended(self, incident: Incident) -> dict[str, Any]:
        kept = (
            "generation",
            "status",
            "count",
            "since",
            "last_seen",
            "title",
            "by",
            "note",
            "changed_at",
            "back_after",
        )
        row = {key: value for key, value in incident.to_json().items() if key in kept}
        item = _numbered("generation", incident.generation)
        return stored({**row, "fingerprint": incident.fingerprint, "item": item, "expires_at": self._expiry()})

    def _day(self, fingerprint: str, day: str, count: int) -> dict[str, Any]:
        return {
            "TableName": self._table.name,
            "Key": {"fingerprint": fingerprint, "item": f"day#{day}"},
            "UpdateExpression": "SET expires_at = :expiry ADD #count :count",
            "ExpressionAttributeNames": {"#count": "count"},
            "ExpressionAttributeValues": {":count": count, ":expiry": self._expiry()},
        }

    def _item(self, fingerprint: str, item: str) -> dict[str, Any] | None:
        with passing_errors():
            found = self._table.get_item(Key={"fingerprint": fingerprint, "item": item}, ConsistentRead=True)
        return plain(found["Item"]) if "Item" in found else None

    def _query(self, fingerprint: str, prefix: str, newest: int) -> list[dict[str, Any]]:
        with passing_errors():
            found = self._table.query(
                KeyConditionExpression=Key("fingerprint").eq(fingerprint) & Key("item").begins_with(prefix),
                ScanIndexForward=False,
                Limit=newest,
                ConsistentRead=True,
            )
        return [plain(row) for row in found["Items"]]

    def _transact(self, writes: list[dict[str, Any]]) -> None:
        try:
            with passing_errors():
                self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            if error_code(error) not in ("TransactionCanceledException", "TransactionInProgressException"):
                raise
            codes = [reason.get("Code", "None") for reason in error.response.get("CancellationReasons", [])]
            if _THROTTLED & set(codes):
                raise TransientError(f"table {self._table.name} is throttled") from error
            raise _Refused([number for number, code in enumerate(codes) if code == _REFUSED]) from error

    @staticmethod
    def _conditional(call: Any, **arguments: Any) -> bool:
        try:
            with passing_errors():
                call(**arguments)
        except ClientError as error:
            # Another one's transaction is at the same item.
            if error_code(error) in ("ConditionalCheckFailedException", "TransactionConflictException"):
                return False
            raise
        return True


class _Refused(ConflictError):
    """A transaction was refused: positions of the writes whose condition did not hold, none where another was faster."""

    def __init__(self, positions: Iterable[int]) -> None:
        super().__init__("somebody else changed the same incident")
        self.positions = list(positions)


def _only_counts(before: Incident, after: Incident) -> bool:
    counted = {name: getattr(after, name) for name in (*_COUNTS, *_ENDS)}
    return bool(before.version and before.to_do) and replace(before, **counted) == after


_VALUES_NONE = {"ExpressionAttributeValues": {":none": ""}}


def _later_starts(now: float) -> Any:
    return Key("to_do").eq(START) & Key("due_at").gt(stored(float(now)))


def _numbered(name: str, generation: int) -> str:
    return f"{name}#{generation:06d}"


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))
