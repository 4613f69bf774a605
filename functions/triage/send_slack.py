"""Tells of an incident in Slack."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.incident_messages import IncidentMessages
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.secrets import read_secret
from watchfloor.clients.slack import Slack

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
# The name of the environment variable is the users' own; its value is a secret's ARN, never the URL.
secret_arn = os.environ["SLACK_WEBHOOK_URL"]


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{fingerprint, generation}` -> `{status: sent | unknown | skipped}`."""
    fingerprint, generation = event["fingerprint"], event["generation"]
    logger.append_keys(fingerprint=fingerprint, generation=generation)
    slack = Slack(read_secret(secret_arn, "SlackSecretArn"), "the secret of SlackSecretArn") if secret_arn else None
    status = IncidentMessages(incidents, slack, documents).tell(fingerprint, generation)
    metrics.add_metric("SlackMessagesSent", MetricUnit.Count, int(status == "sent"))
    logger.info("told in Slack", extra={"status": status})
    return {"status": status}
