"""Application Auto Scaling: scalable targets, which bound a service's size. Nothing is scaled by a policy here."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from ministack import app
from ministack.core import iam_actions, router
from ministack.core.responses import (
    AccountRegionScopedDict,
    error_response_json,
    get_account_id,
    get_region,
    json_response,
)

_SERVICE = "application-autoscaling"
_targets: Any = AccountRegionScopedDict()


def install() -> None:
    app.SERVICE_HANDLERS[_SERVICE] = _handle
    router.SERVICE_PATTERNS[_SERVICE] = {
        "target_prefixes": ["AnyScaleFrontendService."],
        "host_patterns": [],
        "credential_scope": _SERVICE,
    }
    iam_actions.SERVICE_TO_IAM_NAMESPACE[_SERVICE] = _SERVICE


async def _handle(_method: str, _path: str, headers: dict[str, str], body: bytes, _query: Any) -> Any:
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    handlers = {
        "RegisterScalableTarget": _register,
        "DeregisterScalableTarget": _deregister,
        "DescribeScalableTargets": _describe,
    }
    if operation not in handlers:
        return error_response_json("UnknownOperationException", f"The local cloud has no {operation}", 400)
    return handlers[operation](json.loads(body or b"{}"))


def _key(request: dict[str, Any]) -> str:
    return f"{request['ServiceNamespace']}/{request['ScalableDimension']}/{request['ResourceId']}"


def _register(request: dict[str, Any]) -> Any:
    before = _targets.get(_key(request))
    target = (before or {"CreationTime": time.time()}) | {
        name: value for name, value in request.items() if name not in ("Tags", "RoleARN")
    }
    if "MinCapacity" not in target or "MaxCapacity" not in target or target["MinCapacity"] > target["MaxCapacity"]:
        return error_response_json(
            "ValidationException",
            "Minimum capacity and maximum capacity are needed, the first not above the other",
            400,
        )
    suspended = {f"{way}Suspended": False for way in ("DynamicScalingIn", "DynamicScalingOut", "ScheduledScaling")}
    target["SuspendedState"] = suspended | target.get("SuspendedState", {})
    target.setdefault(
        "ScalableTargetARN",
        f"arn:aws:{_SERVICE}:{get_region()}:{get_account_id()}:scalable-target/{uuid.uuid4().hex[:12]}",
    )
    _targets[_key(request)] = target
    return json_response({"ScalableTargetARN": target["ScalableTargetARN"]})


def _deregister(request: dict[str, Any]) -> Any:
    if _targets.pop(_key(request), None) is None:
        return error_response_json("ObjectNotFoundException", "No scalable target registered", 400)
    return json_response({})


def _describe(request: dict[str, Any]) -> Any:
    found = [
        target
        for target in list(_targets.values())
        if target["ServiceNamespace"] == request["ServiceNamespace"]
        and request.get("ScalableDimension") in (None, target["ScalableDimension"])
        and target["ResourceId"] in (request.get("ResourceIds") or [target["ResourceId"]])
    ]
    return json_response({"ScalableTargets": found})
