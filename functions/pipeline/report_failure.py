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
from watchfloor.runs import RunSource, failed_source, failure_message, root_failure

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
    execution_arn = event["executionArn"]
    execution = executions.describe(execution_arn)
    source = failed_source(execution["input"])
    # The rule's event need not say why; an execution that still runs does not know it yet.
    error, cause = root_failure(*(event.get(name) or execution.get(name) or "" for name in ("error", "cause")))
    report(execution_arn=execution_arn, status=event["status"], error=error, cause=cause, source=source)
    row = runs.get(source.run_id) if source else None
    if source and row and row["execution_arn"] == execution_arn:
        runs.finish(source.run_id, FAILED, error=error)
        lease.release(source.stream, row["ticket"])


@idempotent_function(data_keyword_argument="execution_arn", persistence_store=reported, config=once)
def report(*, execution_arn: str, status: str, error: str, cause: str, source: RunSource | None) -> None:
    """One mail an execution, whoever tells of its end first."""
    state = executions.last_state(execution_arn)
    logger.error("run failed", extra={"execution_arn": execution_arn, "state": state, "error": error})
    metrics.add_metric("RunsFailed", MetricUnit.Count, 1)
    subject, text = failure_message(
        execution_arn=execution_arn, status=status, state=state, error=error, cause=cause, source=source
    )
    notices.send(subject, text)
