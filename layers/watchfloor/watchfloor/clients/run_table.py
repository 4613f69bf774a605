"""One row per run: who works on it, how far it is, what came out."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.clients.items import plain, stored

RUNNING, SUCCEEDED, FAILED = "RUNNING", "SUCCEEDED", "FAILED"
# How far a run is; a run that is taken over goes on from here.
CLAIMED, ENRICHED, PUBLISHED = "claimed", "enriched", "published"


class RunTable:
    """Key `run_id`. `retention_seconds` after its last change a row is deleted (DynamoDB TTL)."""

    def __init__(self, table: Any, retention_seconds: int = 400 * 86_400) -> None:
        self._table = table
        self._retention_seconds = retention_seconds

    def get(self, run_id: str) -> dict[str, Any] | None:
        with passing_errors():
            item = self._table.get_item(Key={"run_id": run_id}, ConsistentRead=True).get("Item")
        return plain(item) if item else None

    def create(self, run_id: str, row: dict[str, Any]) -> bool:
        """False where the run exists already."""
        now = int(time.time())
        item = {
            **row,
            "run_id": run_id,
            "status": RUNNING,
            "stage": CLAIMED,
            "next_batch": 0,
            "started_at": now,
            "updated_at": now,
            "expires_at": now + self._retention_seconds,
        }
        return self._conditional(
            self._table.put_item, Item=stored(item), ConditionExpression="attribute_not_exists(run_id)"
        )

    def take_over(self, run_id: str, from_execution_arn: str, execution_arn: str, ticket: int) -> bool:
        """Give the run to another execution. False where somebody else was faster."""
        return self._update(
            run_id,
            {"execution_arn": execution_arn, "ticket": ticket, "status": RUNNING},
            condition="execution_arn = :from AND #status <> :done",
            values={":from": from_execution_arn, ":done": SUCCEEDED},
        )

    def advance(self, run_id: str, **changes: Any) -> None:
        """Note progress: stage, next_batch, counts."""
        self._update(run_id, changes)

    def finish(self, run_id: str, status: str, **changes: Any) -> bool:
        """End the run. A run that succeeded stays so: False."""
        return self._update(
            run_id, {"status": status, **changes}, condition="#status <> :done", values={":done": SUCCEEDED}
        )

    def _update(
        self, run_id: str, changes: dict[str, Any], condition: str = "", values: dict[str, Any] | None = None
    ) -> bool:
        now = int(time.time())
        changes = {**changes, "updated_at": now, "expires_at": now + self._retention_seconds}
        names = {f"#{name}": name for name in changes}
        if "#status" in condition:
            names["#status"] = "status"
        return self._conditional(
            self._table.update_item,
            Key={"run_id": run_id},
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in changes),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=stored({f":{name}": value for name, value in changes.items()} | (values or {})),
            ConditionExpression=" AND ".join(filter(None, ("attribute_exists(run_id)", condition))),
        )

    @staticmethod
    def _conditional(call: Any, **arguments: Any) -> bool:
        try:
            with passing_errors():
                call(**arguments)
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True
