"""Says how a request to run a dangerous script ended: in Slack where it was asked, and as the execution's output."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.approvals import doubted, outcome_of, shown
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.aws import table
from watchfloor.clients.secrets import read_secret
from watchfloor.clients.slack import Slack
from watchfloor.errors import NotFoundError
from watchfloor.messages import decided_message

logger, tracer = Logger(), Tracer()
approvals = ApprovalTable(table(os.environ["APPROVAL_TABLE"]))
slack_secret = os.environ.get("SLACK_SECRET_ARN", "")


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The state as it is -> `{script, approval_id, decision, by, answer | error}`."""
    outcome = outcome_of(event)
    logger.info("ended", extra={"approval_id": outcome["approval_id"], "decision": outcome["decision"]})
    if "request" not in event:
        return outcome
    try:
        approval = approvals.expire(outcome["approval_id"])
    except NotFoundError:
        # It did not come so far that people were asked.
        return outcome
    outcome = doubted(outcome, approval)
    message = approvals.message(approval.approval_id)
    if slack_secret and message:
        slack = Slack(read_secret(slack_secret, "SlackSecretArn"), "the secret of SlackSecretArn")
        channel, ts = message
        told = {**shown(approval), "decision": outcome["decision"], "by": outcome["by"]}
        if slack.can_thread:
            slack.update(channel, ts, decided_message(told))
        again = approvals.note_post(approval.approval_id, "end")
        end = decided_message({**told, "result": outcome.get("error") or outcome.get("answer")})
        slack.post(end, f"approval-{approval.approval_id}-end", ts or None, again=again)
    return outcome
