"""Takes what people press in Slack: checks that Slack sent it, does it, and says who did."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from typing import Any

import orjson
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor import incidents as change
from watchfloor.approvals import Person, Verdict
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.aws import client, table
from watchfloor.clients.executions import Executions
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.lambda_functions import LambdaFunctions
from watchfloor.clients.secrets import read_secret
from watchfloor.clients.slack import MAX_ACTION_BYTES, Action, Slack, approvers, parse_action, verify_signature
from watchfloor.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError
from watchfloor.foreign_text import Mrkdwn
from watchfloor.messages import (
    ACKNOWLEDGE,
    APPROVE,
    MERGE,
    MERGE_CHOSEN,
    REFUSE,
    RESOLVE,
    RESOLVE_NOTED,
    SILENCE,
    SILENCES,
    merge_view,
    resolve_view,
)

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
    try:
        verify_signature(settings.get("signing_secret", ""), event.get("headers", {}), raw, time.time())
    except AccessDeniedError:
        logger.warning("a request without Slack's signature was refused")
        return {"statusCode": 401}
    try:
        action = parse_action(raw)
        answer = ACTIONS[action.action_id](action) if action.action_id in ACTIONS else None
    except InvalidInputError as error:
        logger.warning("refused", extra={"error": str(error)})
        return {"statusCode": 400}
    metrics.add_metric("ActionsTaken", MetricUnit.Count, 1)
    logger.info("action", extra={"action": action.action_id, "value": action.value, "user": action.user_id})
    if answer is None:
        return {"statusCode": 200}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": orjson.dumps(answer).decode()}


def acknowledge(action: Action) -> None:
    say(action, lambda incident: change.acknowledge(incident, by=action.user_name, now=time.time()))


def silence(action: Action) -> None:
    if action.selected not in SILENCES:
        raise InvalidInputError(f"no time to be silent: {action.selected[:20]!r}")
    now = time.time()
    until = now + SILENCES[action.selected]
    say(action, lambda incident: change.silence(incident, by=action.user_name, until=until, now=now))


def ask_resolution(action: Action) -> None:
    title = incidents.get(action.value).title
    open_view(action, resolve_view(action.value, title, action.channel, action.message_ts))


def resolve(action: Action) -> None:
    note = action.inputs.get("note", "")
    say(action, lambda incident: change.resolve(incident, by=action.user_name, note=note, now=time.time()))


def ask_merge(action: Action) -> None:
    others = [(row["fingerprint"], row["title"]) for row in incidents.recent()]
    title = incidents.get(action.value).title
    open_view(action, merge_view(action.value, title, others, action.channel, action.message_ts))


def merge(action: Action) -> dict[str, Any] | None:
    try:
        incidents.merge(
            action.value,
            action.selected,
            lambda one, into: change.merge(one, into, by=action.user_name, now=time.time()),
        )
    except (ConflictError, InvalidInputError) as error:
        return {"response_action": "errors", "errors": {"into": str(error)}}
    refresh(action.value)
    return None


def decide(action: Action, verdict: Verdict) -> None:
    """On a script that waits for an approval; the machine that waits brings the message up to date."""
    settings = read_secret(secret_arn, "SlackSecretArn")
    slack = Slack(settings, timeout_seconds=2, patience_seconds=0)
    chosen = approvers(settings)
    try:
        user = slack.colleague(action.user_id)
        if verdict == "approved" and chosen is not None and user.id not in chosen:
            raise AccessDeniedError(f"{user.id} is not among the approvers that Slack's secret names")
        names = (action.user_name, user.id, user.email)
        person = Person(tuple(filter(None, names)), is_proven=True, provider="slack")
        approval = approvals.decide(executions, action.value, person, verdict)
    except (AccessDeniedError, ConflictError, NotFoundError) as error:
        told = str(error)
    else:
        if approval.status != "pending":
            return
        told = f"Your approval counts; {approval.given} of {approval.needed} are given."
    slack.tell(action.channel, action.user_id, Mrkdwn().line(told, 500))


def say(action: Action, edit: Callable[[change.Incident], change.Incident]) -> None:
    incidents.change(action.value, edit)
    refresh(action.value)


def refresh(fingerprint: str) -> None:
    """Have the message brought up to date now; Slack does not wait for that."""
    functions.invoke_later(os.environ["REFRESH_FUNCTION"], orjson.dumps({"fingerprint": fingerprint}))


def open_view(action: Action, view: dict[str, Any]) -> None:
    # Slack gives us three seconds; there is none to be patient with.
    slack = Slack(read_secret(secret_arn, "SlackSecretArn"), timeout_seconds=2, patience_seconds=0)
    slack.open_view(action.trigger_id, view)


ACTIONS: dict[str, Callable[[Action], dict[str, Any] | None]] = {
    ACKNOWLEDGE: acknowledge,
    SILENCE: silence,
    RESOLVE: ask_resolution,
    RESOLVE_NOTED: resolve,
    MERGE: ask_merge,
    MERGE_CHOSEN: merge,
    APPROVE: lambda action: decide(action, "approved"),
    REFUSE: lambda action: decide(action, "refused"),
}
