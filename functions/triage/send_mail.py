"""Tells of an incident by mail, once."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client
from watchfloor.clients.documents import Documents
from watchfloor.clients.notices import Notices
from watchfloor.layout import IncidentLayout
from watchfloor.mails import incident_mail

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
notices = Notices(client("sns"), os.environ["SNS_TOPIC_ARN"])
once = IdempotencyConfig(expires_after_seconds=7 * 86_400)
sent = DynamoDBPersistenceLayer(os.environ["IDEMPOTENCY_TABLE"], expiry_attr="expires_at")


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{fingerprint, generation}` -> `{status: sent | skipped}`; skipped where nobody reads the topic."""
    layout = IncidentLayout(event["fingerprint"], event["generation"])
    logger.append_keys(fingerprint=layout.fingerprint, generation=layout.generation)
    once.register_lambda_context(context)
    if not notices.has_readers():
        logger.warning("nobody has subscribed to the topic of explained errors")
        return {"status": "skipped"}
    send(name=f"{layout.fingerprint}-{layout.generation}", report=documents.read_json(layout.report))
    return {"status": "sent"}


@idempotent_function(data_keyword_argument="name", persistence_store=sent, config=once)
def send(*, name: str, report: dict[str, Any]) -> None:
    """One mail a generation, however often the step is repeated."""
    notices.send(*incident_mail(report))
    metrics.add_metric("MailsSent", MetricUnit.Count, 1)
