"""Which ticket a cluster has in Jira, OpenSearch and Kibana."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.errors import TransientError
from watchfloor.ticketing import Link
from watchfloor.tickets import Ticket

# Longer than any one call to a ticket service lasts; every write renews the claim.
CLAIM_SECONDS = 120


class LinkTable:
    """Rows of one integration; key `cluster_id`, `integration`.

    A row is claimed (`claimed_by`, `claimed_at`) while a worker writes its ticket; a claim that was not given back
    expires after `CLAIM_SECONDS`. Implements `watchfloor.ticketing.Links`.

    Parameters
    ----------
    table
        boto3 DynamoDB Table resource.
    integration
        "jira", "opensearch" or "kibana".
    owner
        This worker, unlike any other one and any other attempt.
    retention_seconds
        A row that nothing was written to for this long is deleted (DynamoDB TTL); its ticket is found by label then.
    """

    def __init__(
        self,
        table: Any,
        integration: str,
        owner: str,
        retention_seconds: int = 400 * 86_400,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._integration = integration
        self._owner = owner
        self._retention_seconds = retention_seconds
        self._clock = clock

    def get(self, cluster_id: str) -> Link | None:
        with passing_errors():
            item = self._table.get_item(Key=self._key(cluster_id), ConsistentRead=True).get("Item")
        return _link(item) if item else None

    def claim(self, cluster_id: str) -> Link:
        """Take the row; TransientError while somebody else has it."""
        return self._update(
            cluster_id,
            set_={"claimed_by": self._owner},
            condition="attribute_not_exists(claimed_by) OR claimed_at < :expired",
            values={":expired": self._now() - CLAIM_SECONDS},
            refusal="is being worked on by another run",
        )

    def release(self, cluster_id: str) -> None:
        """Give the row back as it is; nothing happens where the claim is lost already."""
        try:
            with passing_errors():
                self._table.update_item(
                    Key=self._key(cluster_id),
                    UpdateExpression="REMOVE claimed_by, claimed_at",
                    ConditionExpression="claimed_by = :me",
                    ExpressionAttributeValues={":me": self._owner},
                )
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise

    def attempt(self, cluster_id: str) -> None:
        """Note that a ticket is about to be created."""
        self._update(cluster_id, set_={"create_attempted_at": self._now()})

    def forget_attempt(self, cluster_id: str) -> None:
        """The service refused: nothing was created."""
        self._update(cluster_id, remove=["create_attempted_at"])

    def point(self, cluster_id: str, ticket: Ticket) -> Link:
        """This is the cluster's ticket from now on, though not all is written to it yet."""
        return self._update(
            cluster_id,
            set_={"external_id": ticket.id, "url": ticket.url},
            remove=["create_attempted_at", "fingerprint", "outcome"],
        )

    def finish(self, cluster_id: str, run_id: str, outcome: str, fingerprint: str) -> None:
        """All is written; the claim is given back."""
        self._update(
            cluster_id,
            set_={"run_id": run_id, "outcome": outcome, "fingerprint": fingerprint},
            remove=["claimed_by", "claimed_at"],
        )

    def merge(self, cluster_id: str, run_id: str, into: str, survivor: Ticket | None) -> None:
        """The cluster lives on in `into`; the row leads to its ticket, where there is one."""
        target = {"external_id": survivor.id, "url": survivor.url} if survivor else {}
        self._update(
            cluster_id, set_={"merged_into": into, "run_id": run_id, **target}, remove=["claimed_by", "claimed_at"]
        )

    def _update(
        self,
        cluster_id: str,
        *,
        set_: dict[str, Any] | None = None,
        remove: list[str] | None = None,
        condition: str = "claimed_by = :me",
        values: dict[str, Any] | None = None,
        refusal: str = "was taken over by another run",
    ) -> Link:
        changes = {**(set_ or {}), "expires_at": self._now() + self._retention_seconds}
        if "claimed_at" not in (remove or []):
            changes["claimed_at"] = self._now()
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in changes)
        if remove:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in remove)
        given = {f":{name}": value for name, value in changes.items()} | (values or {})
        if ":me" in condition:
            given[":me"] = self._owner
        try:
            with passing_errors():
                item = self._table.update_item(
                    Key=self._key(cluster_id),
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={f"#{name}": name for name in (*changes, *(remove or []))},
                    ExpressionAttributeValues=given,
                    ReturnValues="ALL_NEW",
                )["Attributes"]
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                raise TransientError(f"{self._integration}: cluster {cluster_id} {refusal}") from error
            raise
        return _link(item)

    def _key(self, cluster_id: str) -> dict[str, str]:
        return {"cluster_id": cluster_id, "integration": self._integration}

    def _now(self) -> int:
        return int(self._clock())


def _link(item: dict[str, Any]) -> Link:
    attempted = item.get("create_attempted_at")
    return Link(
        cluster_id=item["cluster_id"],
        external_id=item.get("external_id"),
        url=item.get("url", ""),
        fingerprint=item.get("fingerprint"),
        run_id=item.get("run_id", ""),
        outcome=item.get("outcome", ""),
        create_attempted_at=None if attempted is None else int(attempted),
        merged_into=item.get("merged_into"),
    )
