"""Remembers what the technique model said of new names."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.technique_table import TechniqueTable
from watchfloor.layout import RunLayout

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
technique_table = TechniqueTable(table(os.environ["TECHNIQUE_TABLE"]))


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The run's state -> the same."""
    rows = documents.read_lines(RunLayout(event["run_id"]).learned_techniques)
    answers = ((row["name"], row["techniques"]) for row in rows)
    name_count = technique_table.remember(answers, source=os.environ["MODEL_NAME"])
    metrics.add_metric("NamesLearned", MetricUnit.Count, name_count)
    logger.info("names learned", extra={"run_id": event["run_id"], "names": name_count})
    return event
