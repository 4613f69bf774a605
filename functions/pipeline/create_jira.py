"""Jira issues of the run's clusters, as many as the time allows; called again while the answer is "more"."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.jira_issues import JiraIssues
from watchfloor.clients.link_table import LinkTable
from watchfloor.clients.secrets import read_secret
from watchfloor.layout import RunLayout
from watchfloor.ticketing import Links, Progress, Tracker, raise_tickets
from watchfloor.tickets import Thresholds

# One cluster's requests fit into this, timeouts included.
RESERVE_MILLISECONDS = 60_000

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
link_table = table(os.environ["LINK_TABLE"])
secret_arn = os.environ.get("JIRA_SECRET_ARN", "")
thresholds = Thresholds(int(os.environ["EVENT_THRESHOLD"]), int(os.environ["TACTIC_THRESHOLD"]))


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{run_id, next?, ...}` -> `{run_id, status: done | more | skipped, next, created, updated, ...}`."""
    run_id, progress = event["run_id"], Progress.of(event)
    logger.append_keys(run_id=run_id)
    if not secret_arn:
        progress.reason = "Jira is not configured; the parameter JiraSecretArn names its secret"
        return {"run_id": run_id, **progress.result("skipped")}
    created, updated = progress.created, progress.updated
    is_done = raise_tickets(
        documents.read_json(RunLayout(run_id).enrich_alert_input),
        {"jira": lambda: connect(f"{run_id}/{context.aws_request_id}")},
        progress,
        thresholds=thresholds,
        console_url=os.environ.get("CONSOLE_URL", ""),
        has_time=lambda: context.get_remaining_time_in_millis() >= RESERVE_MILLISECONDS,
    )
    metrics.add_metric("JiraIssuesCreated", MetricUnit.Count, progress.created - created)
    metrics.add_metric("JiraIssuesUpdated", MetricUnit.Count, progress.updated - updated)
    result = progress.result("done" if is_done else "more")
    logger.info("Jira issues written", extra={"issues": result})
    return {"run_id": run_id, **result}


def connect(owner: str) -> tuple[Tracker, Links]:
    settings = read_secret(secret_arn, "JiraSecretArn")
    return JiraIssues(settings, "the secret of JiraSecretArn"), LinkTable(link_table, "jira", owner)
