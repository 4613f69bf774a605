"""Says whose run an uploaded file is: a new one, one to take over, or one that is done or being done."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.claims import Claims
from watchfloor.clients.executions import Executions
from watchfloor.clients.run_table import RunTable
from watchfloor.clients.stream_table import StreamTable
from watchfloor.runs import check_size, is_folder_marker, object_created

logger, tracer, metrics = Logger(), Tracer(), Metrics()
claims = Claims(
    RunTable(table(os.environ["RUN_TABLE"])),
    StreamTable(table(os.environ["STREAM_TABLE"])),
    Executions(client("stepfunctions")),
)


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"event": S3's Object Created, "execution_arn"}` -> the state of the run, with `decision` run or skip."""
    source = object_created(event["event"])
    logger.append_keys(run_id=source.run_id, stream=source.stream)
    if is_folder_marker(source):
        return {"decision": "skip", "reason": "a folder marker"}
    check_size(source)
    claim = claims.claim(source, event["execution_arn"])
    metrics.add_metric("RunsClaimed", MetricUnit.Count, 1)
    logger.info("claimed", extra={"decision": claim["decision"], "stage": claim["stage"]})
    return {**source.to_json(), **claim}
