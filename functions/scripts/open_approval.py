"""Looks at a request to run a dangerous script: what is asked for, and who asks."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.approvals import Person, approval_id_of, parse_ask, person_of_arn
from watchfloor.clients.aws import client
from watchfloor.clients.caller_proof import verified_arn

logger, tracer = Logger(), Tracer()
sts_url = client("sts").meta.endpoint_url


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{ask: {script, parameters, requested_by, reason?, proof?}, execution}` -> the request, its requester known."""
    ask = parse_ask(event["ask"])
    proof = event["ask"].get("proof")
    known = person_of_arn(verified_arn(proof, sts_url, ask.digest)) if proof else None
    names = known.names if known else ()
    approval_id = approval_id_of(event["execution"])
    logger.info("asked for", extra={"approval_id": approval_id, "script": ask.script, "is_proven": known is not None})
    return {
        "approval_id": approval_id,
        "function": f"{os.environ['SCRIPT_PREFIX']}{ask.script}",
        "script": ask.script,
        "parameters": ask.parameters,
        "requested_by": ask.requested_by,
        "reason": ask.reason,
        "requester": Person((*names, ask.requested_by), is_proven=known is not None).to_dict(),
        "seconds": int(os.environ["APPROVAL_TIMEOUT_MINUTES"]) * 60,
    }
