"""Reports a run that failed, however it did, and lets the next run of its stream have its turn."""

from __future__ import annotations

import os
from typing import Any

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
from watchfloor.clients.lease import Lease
from watchfloor.clients.notices import Notices
from watchfloor.clients.run_table import FAILED, RunTable
from watchfloor.clients.stream_table import StreamTable
from watchfloor.runs import RunSource, failed_source, failure_message

logger, tracer, metrics = Logger(), Tracer(), Metrics()
executions = Executions(client("stepfunctions"))
runs = RunTable(table(os.environ["RUN_TABLE"]))
lease = Lease(StreamTable(table(os.environ["STREAM_TABLE"])), executions)
notices = Notices(client("sns"), os.environ["ALERT_TOPIC_ARN"])
once = IdempotencyConfig(expires_after_seconds=7 * 86_400)
reported = DynamoDBPersistenceLayer(os.environ["IDEMPOTENCY_TABLE"], expiry_attr="expires_at")


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """`{"executionArn", "status", "error", "cause"}`, from a Catch or from the rule on the execution's status."""
    once.register_lambda_context(context)
    execution_arn, error = event["executionArn"], event.get("error") or ""
    source = failed_source(executions.describe(execution_arn)["input"])
    report(execution_arn=execution_arn, event=event, source=source)
    row = runs.get(source.run_id) if source else None
    if source and row and row["execution_arn"] == execution_arn:
        runs.finish(source.run_id, FAILED, error=error)
        lease.release(source.stream, row["ticket"])


@idempotent_function(data_keyword_argument="execution_arn", persistence_store=reported, config=once)
def report(*, execution_arn: str, event: dict[str, Any], source: RunSource | None) -> None:
    """One mail an execution, whoever tells of its end first."""
    state, error = executions.last_state(execution_arn), event.get("error") or ""
    logger.error("run failed", extra={"execution_arn": execution_arn, "state": state, "error": error})
    metrics.add_metric("RunsFailed", MetricUnit.Count, 1)
    subject, text = failure_message(
        execution_arn=execution_arn,
        status=event["status"],
        state=state,
        error=error,
        cause=event.get("cause") or "",
        source=source,
    )
    notices.send(subject, text)
