"""Takes what a subscription filter sends: errors are counted, and each new incident gets its execution."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.error_intake import ErrorIntake
from watchfloor.clients.executions import Executions
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.triage_starts import TriageStarts
from watchfloor.incidents import is_own
from watchfloor.log_events import decode, errors_in

logger, tracer, metrics = Logger(), Tracer(), Metrics()
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
intake = ErrorIntake(
    incidents,
    Documents(client("s3"), os.environ["DATA_BUCKET"]),
    reopen_after_seconds=3_600 * float(os.environ["REOPEN_AFTER_HOURS"]),
    with_ips=os.environ["REDACT_IP_ADDRESSES"] == "true",
)
starts = TriageStarts(
    incidents,
    Executions(client("stepfunctions")),
    os.environ["MACHINE_ARN"],
    per_hour=int(os.environ["INCIDENTS_PER_HOUR"]),
    context_wait_seconds=int(os.environ["CONTEXT_WAIT_SECONDS"]),
)
own_log_groups = os.environ["OWN_LOG_GROUPS"].split(",")


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """A subscription event -> how many errors it held, and the executions that they started."""
    batch = decode(event)
    logger.append_keys(log_group=batch.log_group)
    if batch.is_control:
        return {"status": "control", "errors": 0, "started": [], "held": []}
    if is_own(batch.log_group, [*own_log_groups, f"/aws/lambda/{context.function_name}"]):
        # Not a word about it in the log: it would match the filter, and this function would call itself for ever.
        metrics.add_metric("OwnLogsRefused", MetricUnit.Count, 1)
        return {"status": "refused", "errors": 0, "started": [], "held": []}
    errors = errors_in(batch)
    waiting = intake.take(batch, errors)
    started = [incident.name for incident in waiting if starts.start(incident)]
    held = [incident.name for incident in waiting if incident.name not in started]
    metrics.add_metric("ErrorsReceived", MetricUnit.Count, len(errors))
    metrics.add_metric("IncidentsStarted", MetricUnit.Count, len(started))
    metrics.add_metric("IncidentsHeld", MetricUnit.Count, len(held))
    logger.info("errors counted", extra={"lines": len(batch.events), "errors": len(errors), "started": started})
    return {"status": "counted", "errors": len(errors), "started": started, "held": held}
