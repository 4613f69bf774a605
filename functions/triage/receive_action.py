"""Takes what people press in Slack: checks that Slack sent it, does it, and says who did."""

from __future__ import annotations

import base64
import os
import time
from typing import Any

import orjson
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.aws import client, table
from watchfloor.clients.executions import Executions
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.lambda_functions import LambdaFunctions
from watchfloor.clients.secrets import read_secret
from watchfloor.clients.slack import MAX_ACTION_BYTES, parse_action, verify_signature
from watchfloor.clients.slack_actions import SlackActions
from watchfloor.errors import AccessDeniedError, InvalidInputError

logger, tracer, metrics = Logger(), Tracer(), Metrics()
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
approvals = ApprovalTable(table(os.environ["APPROVAL_TABLE"]))
executions = Executions(client("stepfunctions", brief=True))
functions = LambdaFunctions(client("lambda", brief=True))
secret_arn = os.environ["SLACK_WEBHOOK_URL"]


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """A request of the HTTP API (payload 2.0) -> its answer. Slack waits three seconds for it."""
    body = event.get("body") or ""
    if len(body) > 2 * MAX_ACTION_BYTES:
        return {"statusCode": 413}
    raw = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    settings = read_secret(secret_arn, "SlackSecretArn") if secret_arn else {}
    now = time.time()
    try:
        signature = verify_signature(settings.get("signing_secret", ""), event.get("headers", {}), raw, now)
    except AccessDeniedError:
        logger.warning("a request without Slack's signature was refused")
        return {"statusCode": 401}
    if not incidents.claim_request(signature):
        logger.warning("a request that came before was left alone")
        return {"statusCode": 200}
    try:
        action = parse_action(raw)
        answer = SlackActions(settings, incidents, approvals, executions, refresh).take(action, now)
    except InvalidInputError as error:
        logger.warning("refused", extra={"error": str(error)})
        return {"statusCode": 400}
    metrics.add_metric("ActionsTaken", MetricUnit.Count, 1)
    logger.info("action", extra={"action": action.action_id, "value": action.value, "user": action.user_id})
    if answer is None:
        return {"statusCode": 200}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": orjson.dumps(answer).decode()}


def refresh(fingerprint: str) -> None:
    """Have the message brought up to date now; Slack does not wait for that."""
    functions.invoke_later(os.environ["REFRESH_FUNCTION"], orjson.dumps({"fingerprint": fingerprint}))
