"""Approvals of dangerous scripts: asked for, given, used once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.approvals import RUN_SECONDS, Approval, Ask, Decision, Person, Verdict, decide
from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.clients.executions import Executions
from watchfloor.errors import AccessDeniedError, ConflictError, NotFoundError

_KEEP_SECONDS = 30 * 86_400
_DECIDE_ATTEMPTS = 4
# More than the state machine tries to ask.
_MAX_TOKENS = 10


class ApprovalTable:
    """Key `approval_id`; `table` is a boto3 DynamoDB table."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def open(self, executions: Executions, approval: Approval, token: str) -> Approval:
        """Store the question and the token of the task that waits for its answer; what is known where it is not new.

        A decision that an earlier try was given goes to the task that waits now. Tokens are added, so that nobody takes
        the place of who waits already.

        Raises
        ------
        ConflictError
            It is another question than the one that has this id, or one that is over.
        """
        item = {
            **_item(approval),
            "version": 0,
            "tokens": [token],
            "digest": approval.parameters_digest,
            "calls": json.dumps(approval.calls),
            "expires_at": approval.ends_at + _KEEP_SECONDS,
        }
        try:
            with passing_errors():
                self._table.put_item(Item=item, ConditionExpression="attribute_not_exists(approval_id)")
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            self._add_token(item, token)
        known = self.get(approval.approval_id)[0]
        if known.status == "expired":
            # Between two tries; nobody can decide on it any more, so nobody shall wait for that.
            raise ConflictError(f"{known.ask.script} was approved while nobody waited for it; ask for it again")
        _tell(executions, known, [token])
        return known

    def _add_token(self, item: dict[str, Any], token: str) -> None:
        same = ("script", "digest", "requester", "calls")
        try:
            with passing_errors():
                self._table.update_item(
                    Key={"approval_id": item["approval_id"]},
                    UpdateExpression="SET tokens = list_append(tokens, :tokens)",
                    ConditionExpression=" AND ".join(f"#{name} = :{name}" for name in same)
                    + " AND size(tokens) < :most",
                    ExpressionAttributeNames={f"#{name}": name for name in same},
                    ExpressionAttributeValues={
                        **{f":{name}": item[name] for name in same},
                        ":tokens": [token],
                        ":most": _MAX_TOKENS,
                    },
                )
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            raise ConflictError(f"the approval {item['approval_id']} was asked for already, or too often") from error

    def get(self, approval_id: str) -> tuple[Approval, dict[str, Any]]:
        """The approval and its row; NotFoundError where there is none."""
        with passing_errors():
            item = self._table.get_item(Key={"approval_id": approval_id}, ConsistentRead=True).get("Item")
        if not item:
            raise NotFoundError(f"there is no approval {approval_id}")
        return _approval(item), item

    def decide(
        self, executions: Executions, approval_id: str, person: Person, verdict: Verdict, *, now: int | None = None
    ) -> Approval:
        """Note what somebody said, and tell the task that waits once it is decided.

        Raises
        ------
        NotFoundError, AccessDeniedError, ConflictError
            See `approvals.decide`; ConflictError also where nobody waits any more.
        """
        moment = int(time.time()) if now is None else now
        for _ in range(_DECIDE_ATTEMPTS):
            approval, item = self.get(approval_id)
            decided = decide(approval, person, verdict, moment)
            if decided is approval or self._write(decided, int(item["version"]), moment):
                break
        else:
            raise ConflictError(f"others decide on {approval_id} at the same time; look at it again")
        # Who says it again may have been heard the first time.
        if not _tell(executions, decided, item["tokens"]) and decided is not approval:
            # Nobody runs it now, so nobody else shall later.
            if decided.status == "approved":
                self._write(replace(decided, status="expired"), int(item["version"]) + 1, 0)
            raise ConflictError(f"nobody waits for a decision on {decided.ask.script} any more; ask for it again")
        return decided

    def expire(self, approval_id: str) -> Approval:
        """Nobody waits any more: what was not decided, or not used, is over."""
        approval, item = self.get(approval_id)
        if approval.status not in ("pending", "approved"):
            return approval
        expired = replace(approval, status="expired")
        return expired if self._write(expired, int(item["version"]), 0) else self.get(approval_id)[0]

    def message(self, approval_id: str) -> tuple[str, str] | None:
        """Channel and timestamp of the question in Slack, empty for one that a webhook posted."""
        _, item = self.get(approval_id)
        return (item["channel"], item["message_ts"]) if "channel" in item else None

    def remember_message(self, approval_id: str, channel: str, ts: str) -> None:
        with passing_errors():
            self._table.update_item(
                Key={"approval_id": approval_id},
                UpdateExpression="SET channel = :channel, message_ts = :ts",
                ExpressionAttributeValues={":channel": channel, ":ts": ts},
            )

    def note_post(self, approval_id: str, message: str) -> bool:
        """Note that a message is about to be posted; whether that was noted before."""
        name = f"posting_{message}"
        with passing_errors():
            before = self._table.update_item(
                Key={"approval_id": approval_id},
                UpdateExpression="SET #message = :yes",
                ExpressionAttributeNames={"#message": name},
                ExpressionAttributeValues={":yes": True},
                ReturnValues="ALL_OLD",
            )
        return name in before.get("Attributes", {})

    def _write(self, approval: Approval, version: int, now: int) -> bool:
        try:
            with passing_errors():
                self._table.update_item(
                    Key={"approval_id": approval.approval_id},
                    UpdateExpression="SET #status = :status, decisions = :decisions, version = :next,"
                    " valid_until = :until",
                    ConditionExpression="version = :version",
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues={
                        ":status": approval.status,
                        ":decisions": _decisions(approval),
                        ":version": version,
                        ":next": version + 1,
                        ":until": now + RUN_SECONDS,
                    },
                )
        except ClientError as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return False
            raise
        return True

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
                    UpdateExpression="SET #status = :used, used_at = :now ADD version :one",
                    ConditionExpression="#status = :approved AND script = :script AND digest = :digest"
                    " AND valid_until > :now",
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues={
                        ":used": "used",
                        ":approved": "approved",
                        ":script": script,
                        ":digest": digest,
                        ":now": now,
                        ":one": 1,
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


def _tell(executions: Executions, approval: Approval, tokens: list[str]) -> bool:
    """Answer the task that waits, where there is an answer; False where nobody waits."""
    if approval.status not in ("approved", "refused"):
        return True
    answer = {"verdict": approval.status, "by": approval.decided_by}
    told = [executions.succeed(token, answer) for token in reversed(tokens)]
    return any(told)


def _item(approval: Approval) -> dict[str, Any]:
    return {
        "approval_id": approval.approval_id,
        "script": approval.ask.script,
        "parameters": json.dumps(approval.ask.parameters),
        "requested_by": approval.ask.requested_by,
        "reason": approval.ask.reason,
        "requester": json.dumps(approval.requester.to_dict()),
        "status": approval.status,
        "decisions": _decisions(approval),
        "ends_at": approval.ends_at,
    }


def _decisions(approval: Approval) -> str:
    return json.dumps(
        [
            {"person": decision.person.to_dict(), "verdict": decision.verdict, "at": decision.at}
            for decision in approval.decisions
        ]
    )


def _approval(item: dict[str, Any]) -> Approval:
    return Approval(
        approval_id=item["approval_id"],
        ask=Ask(item["script"], json.loads(item["parameters"]), item["requested_by"], item["reason"]),
        requester=Person.from_dict(json.loads(item["requester"])),
        calls=json.loads(item["calls"]),
        ends_at=int(item["ends_at"]),
        status=item["status"],
        decisions=tuple(
            Decision(Person.from_dict(decision["person"]), decision["verdict"], decision["at"])
            for decision in json.loads(item["decisions"])
        ),
    )


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
