"""Calls scripts of a deployed stack: at once, or through the machine that asks people first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from local.pipeline import UserError
from local.progress import Follower
from local.sandbox import Deployment
from watchfloor.approvals import Ask, approval_id_of, decision_digest
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.caller_proof import prove

# Lambda's own longest, and a little.
_CALL_SECONDS = 920


@dataclass(frozen=True)
class Outcome:
    """What a script answered.

    Attributes
    ----------
    body
        The answer; empty where people did not let the script run.
    approval
        How the approval ended: `approval_id`, `decision`, `by`, `error?`; empty for a script that needs none.
    """

    status_code: int
    body: dict[str, Any]
    approval: dict[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return self.status_code < 300

    def to_dict(self) -> dict[str, Any]:
        return {
            "statusCode": self.status_code,
            "body": self.body,
            **({"approval": self.approval} if self.approval else {}),
        }


class Stack:
    """The scripts of one deployed stack; `name` is the stack's."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self._deployment = deployment
        self._name = name
        if "ScriptApprovalArn" not in deployment.outputs:
            raise UserError(f"the stack {name} has no scripts", "Deploy this version to it first.")

    def call(self, script: str, event: Mapping[str, Any]) -> Outcome:
        """Call a script and wait for its answer."""
        answer = self._invoke(f"{self._prefix()}{script}", event)
        return Outcome(answer["statusCode"], json.loads(answer["body"]))

    @contextmanager
    def ask(self, ask: Ask) -> Iterator[tuple[str, Follower]]:
        """Start the machine that asks people first: the approval's id, and the execution to follow."""
        with self._signed_by(ask.requested_by) as sign:
            sfn = self._deployment.client("stepfunctions")
            given = {
                "script": ask.script,
                "parameters": ask.parameters,
                "requested_by": ask.requested_by,
                "reason": ask.reason,
                "proof": sign(ask.digest),
            }
            started = sfn.start_execution(
                stateMachineArn=self._deployment.outputs["ScriptApprovalArn"], input=json.dumps(given)
            )
            arn = started["executionArn"]
            yield approval_id_of(arn), Follower(sfn, arn)

    def decide(self, approval_id: str, verdict: str, by: str) -> dict[str, Any]:
        """Approve or refuse as oneself, or as `by` on the local cloud."""
        with self._signed_by(by) as sign:
            event = {
                "approval_id": approval_id,
                "verdict": verdict,
                "proof": sign(decision_digest(approval_id, verdict)),
            }
            return self._invoke(self._deployment.outputs["DecideApprovalFunctionName"], event)

    def caller(self) -> str:
        """Who one is to AWS: the user's or the session's name."""
        return self._deployment.client("sts").get_caller_identity()["Arn"].rpartition("/")[2]

    def approvals(self) -> ApprovalTable:
        return ApprovalTable(self._deployment.table("ApprovalTableName"))

    def _invoke(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        config = Config(connect_timeout=10, read_timeout=_CALL_SECONDS, retries={"total_max_attempts": 1})
        client = self._deployment.cloud.session().client("lambda", config=config)
        answer = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
        payload = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            told = payload.get("errorMessage") if isinstance(payload, dict) else payload
            raise UserError(f"{function} broke: {told}", f"Its log group is /aws/lambda/{function}.")
        return payload

    def _prefix(self) -> str:
        found = self._deployment.client("cloudformation").describe_stacks(StackName=self._name)["Stacks"][0]
        given = {item["ParameterKey"]: item.get("ParameterValue", "") for item in found.get("Parameters", [])}
        return given.get("ScriptPrefix", "")

    @contextmanager
    def _signed_by(self, name: str) -> Iterator[Callable[[str], dict[str, str]]]:
        """Something that proves for what stands behind a digest who one is.

        On AWS by one's own credentials. The local cloud has no people: there the name becomes an IAM user.
        """
        session = self._deployment.cloud.session()
        sts_url, region = session.client("sts").meta.endpoint_url, session.region_name
        if not self._deployment.cloud.endpoint_url:
            credentials = session.get_credentials()
            frozen = credentials.get_frozen_credentials() if credentials else None
            yield lambda digest: prove(frozen, sts_url, region, digest)
            return
        iam = session.client("iam")
        try:
            iam.create_user(UserName=name)
        except iam.exceptions.EntityAlreadyExistsException:
            pass
        key = iam.create_access_key(UserName=name)["AccessKey"]
        try:
            local = ReadOnlyCredentials(key["AccessKeyId"], key["SecretAccessKey"], None)
            yield lambda digest: prove(local, sts_url, region, digest)
        finally:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])


def outcome_of(execution: Follower) -> Outcome:
    """What a finished execution of `script_approval` came to."""
    if execution.status != "SUCCEEDED":
        raise UserError(
            f"the execution that asks for approval ended as {execution.status}: {execution.error} {execution.cause}",
            "The script's record in ScriptAuditTable says whether it ran.",
        )
    output = dict(execution.output)
    # Who is not let is refused, as by the script itself.
    return Outcome(output.pop("status_code", 403), output.pop("answer", {}), output)
