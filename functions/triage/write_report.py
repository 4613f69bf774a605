"""Puts the report together from what was found out, whatever of it is there."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.incident_documents import IncidentDocuments
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.redaction import Redactor
from watchfloor.reports import build, limits_reached, links_of, missing_parts

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
with_ips = os.environ["REDACT_IP_ADDRESSES"] == "true"


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{incident: the execution's state, execution_arn}` -> `{report_uri, verdict}`."""
    state = event["incident"]
    found = IncidentDocuments(documents, state)
    layout, case = found.layout, found.case()
    logger.append_keys(fingerprint=layout.fingerprint, generation=layout.generation)
    report = build(
        incidents.get(layout.fingerprint),
        generation=layout.generation,
        case=case,
        context=found.context(),
        evidence=found.evidence(),
        answer=found.answer(),
        missing=missing_parts(state, Redactor(ips=with_ips)),
        limits=limits_reached(state, incidents.held_count(time.time())),
        links=links_of(
            region=os.environ["AWS_REGION"],
            bucket=documents.bucket,
            key=layout.report,
            error=case["error"],
            execution_arn=event["execution_arn"],
        ),
    )
    documents.write_json(layout.report, report)
    incidents.put_report(
        layout.fingerprint, layout.generation, verdict=report["verdict"], execution_arn=event["execution_arn"]
    )
    metrics.add_metric("ReportsWritten", MetricUnit.Count, 1)
    metrics.add_metric("PartsMissing", MetricUnit.Count, len(report["missing"]))
    logger.info("report written", extra={"verdict": report["verdict"], "missing": len(report["missing"])})
    return {"report_uri": documents.uri(layout.report), "verdict": report["verdict"]}
