"""Looks at a request to run a dangerous script: what is asked for, and who asks."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.approvals import Person, account_of, approval_id_of, parse_ask, person_of_arn
from watchfloor.clients.aws import client
from watchfloor.clients.caller_proof import verified_arn

logger, tracer = Logger(), Tracer()
roles = [name for name in os.environ["APPROVER_ROLES"].split(",") if name]
sts_url = client("sts").meta.endpoint_url


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{ask: {script, parameters, requested_by, reason?, proof?}, execution}` -> the request, its requester known."""
    ask = parse_ask(event["ask"])
    proof = event["ask"].get("proof")
    known = Person(())
    if proof:
        arn = verified_arn(proof, sts_url, ask.digest)
        known = person_of_arn(arn, account_of(context.invoked_function_arn), roles)
    approval_id = approval_id_of(event["execution"])
    logger.info("asked for", extra={"approval_id": approval_id, "script": ask.script, "is_proven": known.is_proven})
    return {
        "approval_id": approval_id,
        "function": f"{os.environ['SCRIPT_PREFIX']}{ask.script}",
        "script": ask.script,
        "parameters": ask.parameters,
        "requested_by": ask.requested_by,
        "reason": ask.reason,
        "requester": replace(known, names=(*known.names, ask.requested_by)).to_dict(),
        "seconds": int(os.environ["APPROVAL_TIMEOUT_MINUTES"]) * 60,
    }
