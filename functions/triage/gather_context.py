"""Looks around an error: its lines in the log, its request, its function, its alarms. What it cannot see is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.alarms import Alarms
from watchfloor.clients.aws import client
from watchfloor.clients.documents import Documents
from watchfloor.clients.lambda_functions import LambdaFunctions
from watchfloor.clients.log_groups import LogGroups
from watchfloor.errors import WatchfloorError
from watchfloor.layout import IncidentLayout
from watchfloor.log_events import ErrorEvent
from watchfloor.redaction import Redactor
from watchfloor.reports import (
    alarm_facts,
    configuration_facts,
    context_of,
    function_of,
    lacks,
    not_found,
    redacted_lines,
    request_facts,
    why_of,
)

REQUEST_SECONDS, REQUEST_LINES = 900, 50

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
log_groups = LogGroups(client("logs", brief=True))
functions = LambdaFunctions(client("lambda", brief=True))
alarms = Alarms(client("cloudwatch", brief=True))
lines_wanted = int(os.environ["CONTEXT_LINES"])
with_ips = os.environ["REDACT_IP_ADDRESSES"] == "true"


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{fingerprint, generation}` -> `{lines, facts, missing}`; the context itself goes to S3, redacted."""
    layout = IncidentLayout(event["fingerprint"], event["generation"])
    logger.append_keys(fingerprint=layout.fingerprint, generation=layout.generation)
    raw = documents.read_json(layout.raw)
    error = ErrorEvent.from_dict(raw["error"])
    failed: list[tuple[str, WatchfloorError]] = []

    def asked(what: str, ask: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return ask()
        except WatchfloorError as problem:
            logger.warning("not there", extra={"what": what, "error": str(problem)})
            failed.append((what, problem))
            return otherwise

    looked = asked("the log around it", lambda: around(error, raw["first_message"]), None)
    lines, place = looked or ([], -1)
    seen = context_of(error, lines, place)
    facts = []
    if error.request_id:
        rows = asked("other lines of the request", lambda: of_request(error), [])
        facts += request_facts(rows, lines)
    if name := function_of(error.log_group):
        configuration = asked("the function's configuration", lambda: functions.configuration(name), None)
        facts += configuration_facts(configuration, error.time) if configuration else []
        facts += alarm_facts(asked("alarms", lambda: alarms.ringing("FunctionName", name), []))
    redactor = Redactor(ips=with_ips)
    # The error as it was logged first, so that its placeholders have the same numbers wherever it is told.
    redactor.lines([line["text"] for line in seen.lines if line["is_error"]] or [raw["first_message"]])
    documents.write_json(layout.error, redactor.value({"error": error.to_dict(), "grouped_by": raw["grouped_by"]}))
    told = {"error": redactor.value(seen.error.to_dict()), "lines": redacted_lines(seen.lines, redactor)}
    documents.write_json(layout.context, {**told, "facts": redactor.value(facts)})
    documents.write_json(layout.redacted, redactor.mapping)
    metrics.add_metric("SecretsRedacted", MetricUnit.Count, len(redactor.mapping))
    missing = [lacks(what, why_of(type(problem).__name__, str(problem), redactor)) for what, problem in failed]
    missing += not_found(lines, place) if looked else []
    return {"lines": len(lines), "facts": len(facts), "missing": missing}


def around(error: ErrorEvent, first_message: str) -> tuple[list[dict[str, Any]], int]:
    return log_groups.around(
        error.log_group,
        error.log_stream,
        error.time,
        first_message,
        before=lines_wanted,
        after=lines_wanted,
        own=len(error.event_ids),
    )


def of_request(error: ErrorEvent) -> list[dict[str, Any]]:
    return log_groups.of_request(
        error.log_group, error.request_id or "", error.time, seconds=REQUEST_SECONDS, limit=REQUEST_LINES
    )
