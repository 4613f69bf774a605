"""Approvals of dangerous scripts: asked for, given, used once."""

from __future__ import annotations

import json
import time
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.errors import AccessDeniedError


class ApprovalTable:
    """Key `approval_id`; `table` is a boto3 DynamoDB table."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def use(self, approval_id: str, script: str, digest: str) -> list[dict[str, Any]]:
        """Use an approval up for one run of this script with these parameters; the write calls that were approved.

        Raises
        ------
        AccessDeniedError
            Where it does not hold: not given, given for something else, too old, used already.
        """
        now = int(time.time())
        try:
            with passing_errors():
                used = self._table.update_item(
                    Key={"approval_id": approval_id},
                    UpdateExpression="SET #status = :used, used_at = :now",
                    ConditionExpression="#status = :approved AND script = :script AND digest = :digest"
                    " AND valid_until > :now",
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues={
                        ":used": "used",
                        ":approved": "approved",
                        ":script": script,
                        ":digest": digest,
                        ":now": now,
                    },
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )["Attributes"]
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            item: Any = error.response.get("Item")
            raise AccessDeniedError(_why_not(item, approval_id, script, digest)) from error
        return json.loads(used["calls"])


def _why_not(item: dict[str, Any] | None, approval_id: str, script: str, digest: str) -> str:
    """`item` in DynamoDB's own notation, as the error holds it."""
    if not item:
        return f"there is no approval {approval_id}"
    status = item["status"]["S"]
    if item["script"]["S"] != script or item["digest"]["S"] != digest:
        return f"the approval {approval_id} is for another script or for other parameters"
    if status != "approved":
        return f"the approval {approval_id} is {status}; each one is good for one run"
    return f"the approval {approval_id} is too old to be used"
