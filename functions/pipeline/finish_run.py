"""Ends a run: summary, lease released, mail about branches that failed."""

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
from watchfloor.clients.lease import Lease
from watchfloor.clients.notices import Notices
from watchfloor.clients.run_table import SUCCEEDED, RunTable
from watchfloor.clients.stream_table import StreamTable
from watchfloor.layout import RunLayout
from watchfloor.runs import branch_failures, branch_message, run_summary

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
runs = RunTable(table(os.environ["RUN_TABLE"]))
lease = Lease(StreamTable(table(os.environ["STREAM_TABLE"])), Executions(client("stepfunctions")))
notices = Notices(client("sns"), os.environ["ALERT_TOPIC_ARN"])


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The run's state with the outcome of the `branches` -> the run's summary."""
    run_id = event["run_id"]
    logger.append_keys(run_id=run_id)
    row = runs.get(run_id) or {}
    summary = run_summary(event, row, seconds=int(time.time()) - row.get("started_at", 0))
    documents.write_json(RunLayout(run_id).output("summary.json"), summary)
    failures = branch_failures(event["branches"])
    if failures:
        notices.send(*branch_message(event, failures))
    runs.finish(run_id, SUCCEEDED, summary=summary)
    lease.release(event["stream"], event["ticket"])
    metrics.add_metric("BranchFailures", MetricUnit.Count, len(failures))
    logger.info("finished", extra={"failed_branches": sorted(failures)})
    return summary
