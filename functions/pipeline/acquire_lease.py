"""Queues a run for its stream's turn; the task waits for its callback."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.executions import Executions
from watchfloor.clients.lease import Lease
from watchfloor.clients.stream_table import StreamTable, Ticket

logger, tracer, metrics = Logger(), Tracer(), Metrics()
lease = Lease(StreamTable(table(os.environ["STREAM_TABLE"])), Executions(client("stepfunctions")))


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"token", "execution_arn", "run": the run's state}` -> the ticket that waits."""
    run = event["run"]
    logger.append_keys(run_id=run["run_id"], stream=run["stream"])
    lease.wait(Ticket(run["stream"], run["ticket"], run["run_id"], event["execution_arn"], event["token"]))
    metrics.add_metric("RunsQueued", MetricUnit.Count, 1)
    logger.info("queued", extra={"ticket": run["ticket"]})
    return {"ticket": run["ticket"]}
