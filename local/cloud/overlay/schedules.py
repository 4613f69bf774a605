"""EventBridge Scheduler: universal targets, a role that may be passed, and schedules that are on time."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from botocore import xform_name
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam, scheduler

from local.cloud import anchors
from local.cloud.overlay import roles

PRINCIPAL = "scheduler.amazonaws.com"
UNIVERSAL = "arn:aws:scheduler:::aws-sdk:"
TICK_SECONDS = 0.5

# Universal targets whose service boto3 calls otherwise.
_CLIENTS = {"sfn": "stepfunctions", "eventbridge": "events", "cloudwatchlogs": "logs"}

logger = logging.getLogger("scheduler")


def install() -> None:
    scheduler._SCHEDULE_TICK_INTERVAL = TICK_SECONDS
    for operation in ("_create_schedule", "_update_schedule"):
        _check_first(f"services.scheduler:{operation}")
    invoke = anchors.replace(
        "services.eventbridge:_invoke_target",
        lambda target, event, rule, view=None: (
            _call(target) if target.get("Arn", "").startswith(UNIVERSAL) else invoke(target, event, rule, view)
        ),
    )


def _check_first(anchor: str) -> None:
    original = anchors.replace(anchor, lambda name, request: _checked(original, name, request))


def _checked(original: Any, name: str, request: dict[str, Any]) -> Any:
    """Make or change a schedule as AWS does: with a role that is the caller's to give, and due anew."""
    role_arn = (request.get("Target") or {}).get("RoleArn", "")
    refusal = roles.caller_denied("iam:PassRole", role_arn, **{"iam:PassedToService": PRINCIPAL})
    if refusal:
        return scheduler._error(403, "AccessDeniedException", refusal)
    role = iam._roles.get(role_arn.rpartition("/")[2])
    if role is None or PRINCIPAL not in json.dumps(role["AssumeRolePolicyDocument"]):
        return scheduler._error(
            400,
            "ValidationException",
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
        )
    answer = original(name, request)
    if answer[0] < 300:
        key = f"{request.get('GroupName', 'default')}/{name}"
        scheduler._schedule_last_fired.pop((get_account_id(), get_region(), key), None)
    return answer


def _call(target: dict[str, Any]) -> None:
    """Call the operation that a universal target names, with the permissions of its role."""
    service, _, action = target["Arn"].removeprefix(UNIVERSAL).partition(":")
    endpoint_url = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    client = roles.client(target["RoleArn"], _CLIENTS.get(service, service), endpoint_url)
    try:
        getattr(client, xform_name(action[:1].upper() + action[1:]))(**json.loads(target.get("Input") or "{}"))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the scheduler goes on
        logger.warning("%s failed: %s", target["Arn"], error)
