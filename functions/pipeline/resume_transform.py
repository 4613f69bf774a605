"""Answers the task that waits for a transform job, when SageMaker tells of the job's end."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.callback_table import CallbackTable
from watchfloor.clients.executions import Executions
from watchfloor.clients.transform_jobs import TransformJobs

logger, tracer, metrics = Logger(), Tracer(), Metrics()
jobs = TransformJobs(
    client("sagemaker"),
    CallbackTable(table(os.environ["CALLBACK_TABLE"])),
    Executions(client("stepfunctions")),
    os.environ["JOB_PREFIX"],
)


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """EventBridge's "SageMaker Transform Job State Change"; delivered twice it does no harm."""
    job_name = event["detail"]["TransformJobName"]
    status = jobs.resume(job_name)
    metrics.add_metric("TransformJobsEnded", MetricUnit.Count, 1)
    logger.info("transform job looked at", extra={"job_name": job_name, "status": status})
