"""Cases of the run's clusters in OpenSearch and Kibana; called again while the answer is "more".

Each is written if it is configured, and one that fails does not keep the other from its work.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.kibana_cases import KibanaCases
from watchfloor.clients.link_table import LinkTable
from watchfloor.clients.opensearch_cases import OpenSearchCases
from watchfloor.clients.secrets import read_secret
from watchfloor.layout import RunLayout
from watchfloor.ticketing import Links, Progress, Tracker, raise_tickets
from watchfloor.tickets import Thresholds

# One cluster's requests fit into this, timeouts included.
RESERVE_MILLISECONDS = 60_000

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
link_table = table(os.environ["LINK_TABLE"])
opensearch_url = os.environ.get("OPENSEARCH_URL", "")
opensearch_secret_arn = os.environ.get("OPENSEARCH_SECRET_ARN", "")
kibana_secret_arn = os.environ.get("KIBANA_SECRET_ARN", "")
thresholds = Thresholds(int(os.environ["EVENT_THRESHOLD"]), int(os.environ["TACTIC_THRESHOLD"]))


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{run_id, next?, ...}` -> `{run_id, status: done | more | skipped, next, created, updated, ...}`."""
    run_id, progress = event["run_id"], Progress.of(event)
    logger.append_keys(run_id=run_id)
    trackers = configured(f"{run_id}/{context.aws_request_id}")
    if not trackers:
        progress.reason = "no cases are configured; the parameters OpenSearchUrl and KibanaSecretArn do so"
        return {"run_id": run_id, **progress.result("skipped")}
    created, updated = progress.created, progress.updated
    is_done = raise_tickets(
        documents.read_json(RunLayout(run_id).enrich_alert_input),
        trackers,
        progress,
        thresholds=thresholds,
        console_url=os.environ.get("CONSOLE_URL", ""),
        has_time=lambda: context.get_remaining_time_in_millis() >= RESERVE_MILLISECONDS,
    )
    metrics.add_metric("CasesCreated", MetricUnit.Count, progress.created - created)
    metrics.add_metric("CasesUpdated", MetricUnit.Count, progress.updated - updated)
    result = progress.result("done" if is_done else "more")
    logger.info("cases written", extra={"cases": result})
    return {"run_id": run_id, **result}


def configured(owner: str) -> dict[str, Callable[[], tuple[Tracker, Links]]]:
    """How to connect to each service that has its parameter."""
    trackers: dict[str, Callable[[], tuple[Tracker, Links]]] = {}
    if opensearch_url:
        trackers["opensearch"] = lambda: (connect_opensearch(), LinkTable(link_table, "opensearch", owner))
    if kibana_secret_arn:
        trackers["kibana"] = lambda: (connect_kibana(), LinkTable(link_table, "kibana", owner))
    return trackers


def connect_opensearch() -> OpenSearchCases:
    """By the user and password of the secret; without one, signed with the function's role."""
    if opensearch_secret_arn:
        secret = read_secret(opensearch_secret_arn, "OpenSearchSecretArn")
        return OpenSearchCases(opensearch_url, (secret.get("user", ""), secret.get("password", "")))
    return OpenSearchCases(opensearch_url, boto3.Session().get_credentials(), os.environ["AWS_REGION"])


def connect_kibana() -> KibanaCases:
    return KibanaCases(read_secret(kibana_secret_arn, "KibanaSecretArn"), "the secret of KibanaSecretArn")
