"""Searches Stack Overflow for what others did about such an error."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.clients.aws import client
from watchfloor.clients.documents import Documents
from watchfloor.clients.secrets import read_secret
from watchfloor.clients.stack_overflow import StackOverflow
from watchfloor.layout import IncidentLayout
from watchfloor.reports import lacks, post_evidence, search_words

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
url = os.environ["STACK_EXCHANGE_URL"]
secret_arn = os.environ.get("STACK_EXCHANGE_SECRET_ARN", "")
tags = [tag.strip() for tag in os.environ["APPLICATION_TYPE"].replace(",", ";").split(";") if tag.strip()]


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{fingerprint, generation}` -> `{posts, missing}`; what was found goes to S3."""
    layout = IncidentLayout(event["fingerprint"], event["generation"])
    logger.append_keys(fingerprint=layout.fingerprint, generation=layout.generation)
    if not url:
        documents.write_json(layout.evidence_stack_overflow, [])
        return {"posts": 0, "missing": [lacks("Stack Overflow", "it is switched off (parameter StackExchangeUrl)")]}
    secret = read_secret(secret_arn, "StackExchangeSecretArn") if secret_arn else {}
    # The error as it may leave the account.
    words = search_words(documents.read_json(layout.error)["error"])
    stack_overflow = StackOverflow(url, secret.get("key"), secret_name="the secret of StackExchangeSecretArn")
    posts = stack_overflow.search(words, tags) if words else []
    documents.write_json(layout.evidence_stack_overflow, post_evidence(posts))
    return {"posts": len(posts), "missing": []}
