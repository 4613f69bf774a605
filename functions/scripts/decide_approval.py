"""Takes the decision of somebody who is known to AWS, where there is no Slack to press a button in."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.approvals import account_of, parse_decision, person_of_arn
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.aws import client, table
from watchfloor.clients.caller_proof import verified_arn
from watchfloor.clients.executions import Executions
from watchfloor.errors import AccessDeniedError, WatchfloorError
from watchfloor.scripts import status_code

logger, tracer = Logger(), Tracer()
approvals = ApprovalTable(table(os.environ["APPROVAL_TABLE"]))
executions = Executions(client("stepfunctions"))
roles = [name for name in os.environ["APPROVER_ROLES"].split(",") if name]
sts_url = client("sts").meta.endpoint_url


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{approval_id, verdict: approved | refused, proof}` -> `{statusCode, status, given, needed | error}`."""
    try:
        approval_id, verdict, digest = parse_decision(event)
        arn = verified_arn(event.get("proof"), sts_url, digest)
        person = person_of_arn(arn, account_of(context.invoked_function_arn), roles)
        if not person.is_proven:
            raise AccessDeniedError(
                f"{arn} cannot decide: an IAM user can, or a session of IAM Identity Center or of a role in ApproverRoles"
            )
        decided = approvals.decide(executions, approval_id, person, verdict)
    except WatchfloorError as error:
        logger.warning("not decided", extra={"reason": str(error)})
        return {"statusCode": status_code(error), "error": str(error)}
    logger.info("decided", extra={"approval_id": approval_id, "verdict": verdict, "status": decided.status})
    return {"statusCode": 200, "status": decided.status, "given": decided.given, "needed": decided.needed}
