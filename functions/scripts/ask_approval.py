"""Shows the plan of a dangerous script to people; the task that waits is answered by whoever decides."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.approvals import Approval, Ask, Person, checked_plan, shown
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.aws import client, table
from watchfloor.clients.executions import Executions
from watchfloor.clients.secrets import read_secret
from watchfloor.clients.slack import Slack
from watchfloor.messages import approval_message

logger, tracer = Logger(), Tracer()
approvals = ApprovalTable(table(os.environ["APPROVAL_TABLE"]))
executions = Executions(client("stepfunctions"))
slack_secret = os.environ.get("SLACK_SECRET_ARN", "")


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """`{token, request, plan}`; a try that comes again asks no second time."""
    request = event["request"]
    approval = approvals.open(
        executions,
        Approval(
            request["approval_id"],
            Ask(request["script"], request["parameters"], request["requested_by"], request["reason"]),
            Person.from_dict(request["requester"]),
            checked_plan(event["plan"]),
            ends_at=int(time.time()) + request["seconds"],
        ),
        event["token"],
    )
    logger.info("approval asked for", extra={"approval_id": approval.approval_id, "script": approval.ask.script})
    if slack_secret:
        slack = Slack(read_secret(slack_secret, "SlackSecretArn"), "the secret of SlackSecretArn")
        again = approvals.note_post(approval.approval_id, "question")
        posted = slack.post(approval_message(shown(approval)), f"approval-{approval.approval_id}", again=again)
        approvals.remember_message(approval.approval_id, posted.channel, posted.ts)
