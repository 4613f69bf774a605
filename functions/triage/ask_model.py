"""Asks a language model what happened and why; code checks what it cites, and grants the verdict."""

from __future__ import annotations

import os
import time
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.answers import NO_ANSWER, SCHEMA, estimated_tokens, evidence_lines, prompt_messages, verify
from watchfloor.clients.aws import client, table
from watchfloor.clients.chat_model import ChatModel, Reply
from watchfloor.clients.documents import Documents
from watchfloor.clients.incident_documents import IncidentDocuments
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.secrets import read_secret
from watchfloor.errors import WatchfloorError
from watchfloor.incidents import day_of
from watchfloor.layout import IncidentLayout
from watchfloor.reports import citable, lacks

# What is left of the function's time goes to reading and writing.
ASK_SECONDS = 75.0
WHAT = "the model's answer"

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
incidents = IncidentTable(table(os.environ["INCIDENT_TABLE"]))
# The name of the environment variable is the users' own; its value is a secret's ARN, never a key.
secret_arn = os.environ["OPENAI_API_KEY"]
max_output_tokens, daily_tokens = int(os.environ["MAX_OUTPUT_TOKENS"]), int(os.environ["DAILY_TOKENS"])
max_prompt_tokens = int(os.environ["MAX_PROMPT_TOKENS"])


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{fingerprint, generation}` -> `{verdict, missing, limits}`; the answer goes to S3."""
    found = IncidentDocuments(documents, event)
    layout = found.layout
    logger.append_keys(fingerprint=layout.fingerprint, generation=layout.generation)
    if not secret_arn:
        return no_answer(layout, "no model is set up (parameter OpenAiSecretArn)")
    lines = evidence_lines(citable(found.case(), found.context(), found.evidence()))
    messages = prompt_messages(
        lines,
        instructions=os.environ["INSTRUCTIONS"],
        application_type=os.environ["APPLICATION_TYPE"],
        max_tokens=max_prompt_tokens,
    )
    reply = within_budget(messages)
    if reply is None:
        said = f"the day's limit of {daily_tokens:,} tokens (parameter LlmDailyTokens) is reached"
        return {**no_answer(layout, said), "limits": [said[0].upper() + said[1:]]}
    checked = verify(reply.text, lines, reply.problem)
    documents.write_json(
        layout.answer,
        {
            "verdict": checked.verdict,
            "answer": checked.answer,
            "reasons": checked.reasons,
            "removed": checked.removed,
            "model": reply.model,
            "tokens": [reply.tokens_in, reply.tokens_out],
        },
    )
    logger.info("model answered", extra={"verdict": checked.verdict, "removed": checked.removed_citations})
    missing = [
        lacks(WHAT, reason.removeprefix(f"{WHAT} ")) for reason in checked.reasons if checked.verdict == NO_ANSWER
    ]
    return {"verdict": checked.verdict, "missing": missing, "limits": []}


def no_answer(layout: IncidentLayout, why: str) -> dict[str, Any]:
    documents.write_json(layout.answer, {"verdict": NO_ANSWER})
    return {"verdict": NO_ANSWER, "missing": [lacks(WHAT, why)], "limits": []}


def within_budget(messages: list[dict[str, str]]) -> Reply | None:
    """The model's reply; None where the day's tokens do not suffice."""
    day, expected = day_of(time.time()), max_output_tokens + sum(estimated_tokens(row["content"]) for row in messages)
    if not incidents.reserve_tokens(day, expected, daily_tokens):
        return None
    model = ChatModel(
        read_secret(secret_arn, "OpenAiSecretArn"),
        os.environ["OPENAI_BASE_URL"],
        os.environ["OPENAI_MODEL"],
        max_output_tokens,
        secret_name="the secret of OpenAiSecretArn",
    )
    try:
        reply = model.ask(messages, SCHEMA, ASK_SECONDS)
    except WatchfloorError:
        # A question without an answer may have been billed all the same, and stays reserved then.
        if not model.may_be_billed:
            incidents.settle_tokens(day, -expected)
        raise
    used = reply.tokens_in + reply.tokens_out
    incidents.settle_tokens(day, used - expected if used else 0)
    metrics.add_metric("ModelTokens", MetricUnit.Count, used or expected)
    return reply
