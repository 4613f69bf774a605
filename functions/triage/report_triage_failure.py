"""Tells of an error that could not be told in the usual way: its execution failed, timed out or was aborted."""

from __future__ import annotations

import os
from typing import Any

import orjson
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.executions import Executions
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.notices import Notices
from watchfloor.redaction import Redactor
from watchfloor.reports import failure_mail

logger, tracer, metrics = Logger(), Tracer(), Metrics()
executions = Executions(client("stepfunctions"))
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
notices = Notices(client("sns"), os.environ["ALERT_TOPIC_ARN"])
once = IdempotencyConfig(expires_after_seconds=7 * 86_400)
reported = DynamoDBPersistenceLayer(os.environ["IDEMPOTENCY_TABLE"], expiry_attr="expires_at")


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """`{"executionArn", "status"}`, from the rule on the execution's status."""
    once.register_lambda_context(context)
    report(execution_arn=event["executionArn"], status=event["status"])


@idempotent_function(data_keyword_argument="execution_arn", persistence_store=reported, config=once)
def report(*, execution_arn: str, status: str) -> None:
    """One mail an execution."""
    execution = executions.describe(execution_arn)
    fingerprint = orjson.loads(execution["input"]).get("fingerprint")
    state = executions.last_state(execution_arn)
    logger.error("triage failed", extra={"execution_arn": execution_arn, "state": state, "status": status})
    metrics.add_metric("TriagesFailed", MetricUnit.Count, 1)
    subject, text = failure_mail(
        execution_arn=execution_arn,
        status=status,
        error=execution.get("error", ""),
        cause=execution.get("cause", ""),
        state=state,
        incident=incidents.get(fingerprint) if fingerprint else None,
        redactor=Redactor(ips=os.environ["REDACT_IP_ADDRESSES"] == "true"),
    )
    notices.send(subject, text)
