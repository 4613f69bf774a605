"""Starts the clustering model on one batch; the task waits for its callback."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.callback_table import CallbackTable
from watchfloor.clients.documents import Documents
from watchfloor.clients.executions import Executions
from watchfloor.clients.transform_jobs import Transform, TransformJobs
from watchfloor.layout import RunLayout

logger, tracer, metrics = Logger(), Tracer(), Metrics()
jobs = TransformJobs(
    client("sagemaker"),
    CallbackTable(table(os.environ["CALLBACK_TABLE"])),
    Executions(client("stepfunctions")),
    os.environ["JOB_PREFIX"],
)
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
instance_types = os.environ["INSTANCE_TYPES"].split(",")
model_name, kms_key = os.environ["MODEL_NAME"], os.environ.get("KMS_KEY_ARN", "")


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"token", "run": the run's state}` -> the job's name."""
    run = event["run"]
    layout = RunLayout(run["run_id"])
    transform = Transform(
        job_key=f"cluster-{run['run_id']}-{run['batch']:06d}",
        model_name=model_name,
        input_uri=documents.uri(layout.cluster_input(run["batch"])),
        output_uri=documents.uri(layout.cluster_output_prefix),
    )
    job_name = jobs.start(
        transform, event["token"], documents.etag(layout.cluster_input(run["batch"])), instance_types, kms_key
    )
    metrics.add_metric("TransformJobsStarted", MetricUnit.Count, 1)
    logger.info("transform job started", extra={"run_id": run["run_id"], "job_name": job_name})
    return {"job_name": job_name}
