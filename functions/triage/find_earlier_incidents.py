"""Looks up how this incident ended before, and others that look like it."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.layout import IncidentLayout
from watchfloor.redaction import Redactor
from watchfloor.reports import earlier_evidence

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
with_ips = os.environ["REDACT_IP_ADDRESSES"] == "true"


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{fingerprint, generation}` -> `{earlier, missing}`; what was found goes to S3."""
    layout = IncidentLayout(event["fingerprint"], event["generation"])
    logger.append_keys(fingerprint=layout.fingerprint, generation=layout.generation)
    incident = incidents.get(layout.fingerprint)
    rows = earlier_evidence(incidents.ended(layout.fingerprint), incidents.same_kind(incident.kind), layout.fingerprint)
    # People's notes may hold what must not leave the account.
    documents.write_json(layout.evidence_earlier_incidents, Redactor(ips=with_ips).value(rows))
    return {"earlier": len(rows), "missing": []}
