"""Every minute: starts that were held back or lost, silences that end, live counts of messages."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.executions import Executions
from watchfloor.clients.incident_messages import IncidentMessages
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.notices import Notices
from watchfloor.clients.secrets import read_secret
from watchfloor.clients.slack import Slack
from watchfloor.clients.triage_starts import TriageStarts
from watchfloor.errors import InvalidInputError, NotFoundError, WatchfloorError
from watchfloor.incidents import AWAKE, REFRESH, START, awake, hour_of, next_hour, postponed, refreshed
from watchfloor.messages import held_back_message
from watchfloor.reports import held_mail

# Slack takes about fifty updates a minute; and the rest of the work needs some time.
MOST_REFRESHED, RESERVED_MILLISECONDS = 40, 30_000
POSTPONED_SECONDS = 300

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
notices = Notices(client("sns"), os.environ["SNS_TOPIC_ARN"])
per_hour = int(os.environ["INCIDENTS_PER_HOUR"])
starts = TriageStarts(
    incidents,
    Executions(client("stepfunctions")),
    os.environ["MACHINE_ARN"],
    per_hour=per_hour,
    context_wait_seconds=int(os.environ["CONTEXT_WAIT_SECONDS"]),
)
secret_arn = os.environ["SLACK_WEBHOOK_URL"]


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """EventBridge's scheduled event, or `{fingerprint}` of the one message to bring up to date -> what was done."""
    slack = Slack(read_secret(secret_arn, "SlackSecretArn"), "the secret of SlackSecretArn") if secret_arn else None
    messages = IncidentMessages(incidents, slack, documents)
    if "fingerprint" in event:
        return {"refreshed": int(messages.refresh(event["fingerprint"]))}
    now = time.time()
    waiting = [incidents.get(fingerprint) for fingerprint in incidents.due(START, now)]
    started = [incident.name for incident in waiting if incident.needs_start and starts.start(incident)]
    for fingerprint in incidents.due(AWAKE, now):
        incidents.change(fingerprint, lambda incident: awake(incident, now=now))
    updated = 0
    for fingerprint in incidents.due(REFRESH, now, limit=200):
        if updated == MOST_REFRESHED or context.get_remaining_time_in_millis() < RESERVED_MILLISECONDS:
            break
        updated += refresh(messages, fingerprint, now)
    told = tell_held(slack, now)
    if updated:
        # A metric that is sent every minute costs as much as one that says something.
        metrics.add_metric("MessagesRefreshed", MetricUnit.Count, updated)
    logger.info("refreshed", extra={"started": started, "refreshed": updated, "held": told})
    return {"started": started, "refreshed": updated, "held": told}


def refresh(messages: IncidentMessages, fingerprint: str, now: float) -> bool:
    """Bring one message up to date; what fails makes room for the others."""
    try:
        return messages.refresh(fingerprint)
    except (InvalidInputError, NotFoundError) as error:
        # It would fail for ever; the next error, or whoever changes the incident, has it tried again.
        logger.warning("cannot be refreshed", extra={"fingerprint": fingerprint, "error": str(error)})
        incidents.change(fingerprint, lambda incident: refreshed(incident, now=now))
    except WatchfloorError as error:
        logger.warning("not refreshed", extra={"fingerprint": fingerprint, "error": str(error)})
        incidents.change(fingerprint, lambda incident: postponed(incident, until=now + POSTPONED_SECONDS))
    return False


def tell_held(slack: Slack | None, now: float) -> int:
    """Tell once an hour that incidents are held back; how many were told of."""
    held = incidents.held(now)
    if not held or not incidents.claim_held_notice(hour_of(now)):
        return 0
    rows = [
        {"fingerprint": row.fingerprint, "title": row.title, "count": row.count, "log_group": row.log_groups[0]}
        for row in held
    ]
    notice = {"limit": per_hour, "incidents": rows, "until": next_hour(now)}
    try:
        notices.send(*held_mail(notice))
    except WatchfloorError:
        incidents.release_held_notice(hour_of(now))
        raise
    try:
        if slack:
            slack.post(held_back_message(notice), key=f"held-{hour_of(now)}")
    except WatchfloorError as error:
        # The mail has told it.
        logger.warning("not told in Slack", extra={"error": str(error)})
    return len(held)
