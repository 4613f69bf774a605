"""Every five minutes: heartbeats for those who wait, answers where an event was lost, leases of the dead broken."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.callback_table import CallbackTable
from watchfloor.clients.executions import Executions
from watchfloor.clients.lease import Lease
from watchfloor.clients.stream_table import StreamTable
from watchfloor.clients.transform_jobs import TransformJobs

logger, tracer, metrics = Logger(), Tracer(), Metrics()
executions = Executions(client("stepfunctions"))
lease = Lease(StreamTable(table(os.environ["STREAM_TABLE"])), executions)
jobs = TransformJobs(
    client("sagemaker"), CallbackTable(table(os.environ["CALLBACK_TABLE"])), executions, os.environ["JOB_PREFIX"]
)


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """EventBridge's scheduled event -> what was found: open jobs by status, and how many runs queue."""
    try:
        queued = lease.sweep()
    finally:
        statuses = jobs.sweep()
    metrics.add_metric("OpenCallbacks", MetricUnit.Count, sum(statuses.values()) + queued)
    logger.info("swept", extra={"jobs": statuses, "queued": queued})
    return {"jobs": statuses, "queued": queued}
