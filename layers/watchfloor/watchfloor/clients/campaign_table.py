"""Campaigns as lists show them: one row each. What an analyst sets stays."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError

from watchfloor.campaigns import MERGED, OPEN
from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.clients.batch_read import read_items
from watchfloor.clients.items import plain, stored

BY_STATUS = "by_status"


class CampaignTable:
    """Key `campaign_id`; index `by_status`: `status`, then `score`.

    The pipeline never writes the analyst's attributes: `status` (after the first time), `verdict`, `comment`,
    `analyst`, `feedback_at`.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def get(self, campaign_id: str) -> dict[str, Any] | None:
        with passing_errors():
            item = self._table.get_item(Key={"campaign_id": campaign_id}, ConsistentRead=True).get("Item")
        return plain(item) if item else None

    def names(self, campaign_ids: Iterable[str]) -> dict[str, str]:
        """Names of the campaigns that exist, by id."""
        return {
            item["campaign_id"]: item["name"]
            for item in read_items(self._table, "campaign_id", dict.fromkeys(campaign_ids))
        }

    def upsert(self, row: dict[str, Any], doc_uri: str) -> bool:
        """Create the row, or bring the pipeline's part of it up to date. True where it is new."""
        now = int(time.time())
        changes = {**row, "doc_uri": doc_uri, "updated_at": now}
        campaign_id = changes.pop("campaign_id")
        once = {"status": OPEN, "created_at": now}
        assignments = [f"#{name} = :{name}" for name in changes]
        assignments += [f"#{name} = if_not_exists(#{name}, :{name})" for name in once]
        with passing_errors():
            answer = self._table.update_item(
                Key={"campaign_id": campaign_id},
                UpdateExpression="SET " + ", ".join(assignments),
                ExpressionAttributeNames={f"#{name}": name for name in changes | once},
                ExpressionAttributeValues=stored({f":{name}": value for name, value in (changes | once).items()}),
                ReturnValues="ALL_OLD",
            )
        return not answer.get("Attributes")

    def mark_merged(self, campaign_id: str, into: str) -> bool:
        """Note that another campaign absorbed this one. False where there is no such campaign, or it is noted already."""
        try:
            with passing_errors():
                self._table.update_item(
                    Key={"campaign_id": campaign_id},
                    UpdateExpression="SET #status = :merged, status_before_merge = #status, merged_into = :into, "
                    "updated_at = :now",
                    ConditionExpression="attribute_exists(campaign_id) AND #status <> :merged",
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues={":merged": MERGED, ":into": into, ":now": int(time.time())},
                )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def with_status(self, status: str) -> Iterator[dict[str, Any]]:
        """Rows of one status, worst score first."""
        arguments: dict[str, Any] = {
            "IndexName": BY_STATUS,
            "KeyConditionExpression": Key("status").eq(status),
            "ScanIndexForward": False,
        }
        return self._pages(self._table.query, arguments)

    def everything(self) -> list[dict[str, Any]]:
        """Rows of every status, worst score first."""
        return sorted(self._pages(self._table.scan, {}), key=lambda row: (-row["score"], row["campaign_id"]))

    @staticmethod
    def _pages(call: Any, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
        while True:
            with passing_errors():
                page = call(**arguments)
            yield from map(plain, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            arguments = {**arguments, "ExclusiveStartKey": page["LastEvaluatedKey"]}
