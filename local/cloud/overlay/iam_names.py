"""The action and the resource that IAM is asked about, where MiniStack takes another one than AWS does.

https://docs.aws.amazon.com/service-authorization/latest/reference/ says which these are, service by service.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ministack.core import iam_actions
from ministack.services import alb, cloudwatch, rds, stepfunctions, tagging

from local.cloud import anchors

# Lambda's operations whose action is called otherwise.
_LAMBDA_ACTIONS = {"Invoke": "InvokeFunction", "InvokeWithResponseStream": "InvokeFunction"}
_CLUSTER_ACTIONS = ("DescribeClusters", "UpdateCluster", "DeleteCluster")


def install() -> None:
    iam_actions._BOTOCORE_SERVICE_MAP["lambda"] = ["lambda"]
    anchors.replace("core.iam_actions:_lambda_action", _lambda_action)
    resource_arn = anchors.replace(
        "core.iam_actions:extract_resource_arn", lambda *request: _resource_arn(*request) or resource_arn(*request)
    )
    for service, collect in (
        ("ecs", tagging._collect_ecs),
        ("cloudwatch", _alarm_tags),
        ("elasticloadbalancing", _load_balancer_tags),
        ("rds", _database_tags),
        ("states", _machine_tags),
    ):
        tagging._COLLECTORS[service] = tagging._RESOURCE_TAG_COLLECTORS[service] = collect


def _lambda_action(method: str, path: str) -> str | None:
    operation = iam_actions._match_rest_action("lambda", method, path)
    return _LAMBDA_ACTIONS.get(operation, operation) if operation else None


def _resource_arn(
    service: str,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    query: dict[str, Any],
    region: str,
    account: str,
) -> str | None:
    """The resource of requests that MiniStack reads otherwise; ``None`` for all others."""
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    if service == "ecs":
        return _ecs_resource(operation, _json(body), region, account)
    if service == "monitoring" and operation in ("DescribeAlarms", "DisableAlarmActions", "EnableAlarmActions"):
        names = _json(body).get("AlarmNames") or ["*"]
        return f"arn:aws:cloudwatch:{region}:{account}:alarm:{names[0]}"
    if service == "scheduler" and path.startswith("/schedules/"):
        group = query.get("groupName") or _json(body).get("GroupName") or "default"
        name = unquote(path.removeprefix("/schedules/"))
        return f"arn:aws:scheduler:{region}:{account}:schedule/{_first(group)}/{name}"
    if service == "iam" and query.get("PolicySourceArn"):
        return _first(query["PolicySourceArn"])
    if service == "rds" and query.get("DBParameterGroupName"):
        return f"arn:aws:rds:{region}:{account}:pg:{_first(query['DBParameterGroupName'])}"
    if service == "rds" and query.get("ResourceIdentifier"):
        return _first(query["ResourceIdentifier"])
    if service == "lambda" and path.endswith("/provisioned-concurrency") and query.get("Qualifier"):
        name = unquote(path.split("/")[3]).rpartition(":")[2]
        return f"arn:aws:lambda:{region}:{account}:function:{name}:{_first(query['Qualifier'])}"
    return None


def _ecs_resource(operation: str, request: dict[str, Any], region: str, account: str) -> str | None:
    cluster = (request.get("cluster") or "default").rpartition("/")[2]
    prefix = f"arn:aws:ecs:{region}:{account}"
    services = request.get("services") or ([request["service"]] if "service" in request else [])
    if services and operation.endswith(("Service", "Services")):
        name = services[0].rpartition("/")[2]
        return f"{prefix}:service/{cluster}/{name}"
    if operation.startswith("List") or operation == "DescribeTaskDefinition":
        return "*"
    if operation in _CLUSTER_ACTIONS:
        return f"{prefix}:cluster/{(request.get('clusters') or [cluster])[0].rpartition('/')[2]}"
    return None


def _first(value: Any) -> str:
    return value[0] if isinstance(value, list) else value


def _json(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return {}
    return request if isinstance(request, dict) else {}


def _alarm_tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for arn, tags in list(cloudwatch._resource_tags.items()):
        yield arn, tagging._normalise_flat(tags)


def _load_balancer_tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    yield from list(alb._tags.items())


def _database_tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    yield from list(rds._tags.items())


def _machine_tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for arn, tags in list(stepfunctions._tags.items()):
        yield arn, tagging._normalise_ecs(tags)
