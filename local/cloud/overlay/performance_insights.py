"""Performance Insights of RDS: the load by statement of databases that have it on, and RDS's pending maintenance.

The local cloud's databases do no work, so both are what was put there: ``POST /_watchfloor/databases`` takes
``{"load": {"<DbiResourceId>": {"PartitionKeys": [...], "Keys": [...]}}, "maintenance": {"<ARN>": [{"Action": ...}]}}``.
https://docs.aws.amazon.com/performance-insights/latest/APIReference/API_DescribeDimensionKeys.html
"""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

from ministack import app
from ministack.core import iam_actions, router
from ministack.core.responses import get_account_id, get_region
from ministack.services import rds

from local.cloud import anchors

_TARGET = "PerformanceInsightsv20180227"
_GROUPS = {"db", "db.sql", "db.sql_tokenized", "db.wait_event", "db.user", "db.host"}

_load: dict[str, dict[str, Any]] = {}
_maintenance: dict[str, list[dict[str, Any]]] = {}


def replace(wanted: dict[str, Any]) -> None:
    """Forget what was put here before, and take this.

    Raises
    ------
    ValueError
        It is not of the form that the module's head shows.
    """
    if not isinstance(wanted, dict) or set(wanted) - {"load", "maintenance"}:
        raise ValueError("databases are {load: {id: keys}, maintenance: {ARN: actions}}")
    for held, name in ((_load, "load"), (_maintenance, "maintenance")):
        held.clear()
        held.update(wanted.get(name, {}))


def install() -> None:
    app.SERVICE_HANDLERS["pi"] = _handle
    router.SERVICE_PATTERNS["pi"] = {"target_prefixes": [_TARGET], "host_patterns": [], "credential_scope": "pi"}
    iam_actions.SERVICE_TO_IAM_NAMESPACE["pi"] = "pi"
    anchors.replace("services.rds:_describe_pending_maintenance_actions", _pending)
    rds._ACTION_MAP["DescribePendingMaintenanceActions"] = _pending
    resource_arn = anchors.replace(
        "core.iam_actions:extract_resource_arn",
        lambda service, method, path, headers, body, *rest: (
            _resource_arn(body) if service == "pi" else resource_arn(service, method, path, headers, body, *rest)
        ),
    )


async def _handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    request = json.loads(body or b"{}")
    if operation != "DescribeDimensionKeys":
        return _answer(400, {"__type": "InvalidArgumentException", "Message": f"{operation} is not known here"})
    groups = [request[key]["Group"] for key in ("GroupBy", "PartitionBy") if key in request]
    if unknown := set(groups) - _GROUPS:
        return _answer(400, {"__type": "InvalidArgumentException", "Message": f"Invalid group: {', '.join(unknown)}"})
    instance = next(
        (each for each in rds._instances.values() if each.get("DbiResourceId") == request["Identifier"]), None
    )
    if instance is None or not instance.get("PerformanceInsightsEnabled"):
        return _answer(400, {"__type": "NotAuthorizedException", "Message": "Performance Insights is not enabled"})
    times = {"AlignedStartTime": request["StartTime"], "AlignedEndTime": request["EndTime"]}
    return _answer(200, {**times, **_load.get(request["Identifier"], {"Keys": []})})


def _answer(status: int, content: dict[str, Any]) -> Any:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(content).encode()


def _resource_arn(body: bytes) -> str:
    identifier = iam_actions._safe_json_field(body, "Identifier") or "*"
    return f"arn:aws:pi:{get_region()}:{get_account_id()}:metrics/rds/{identifier}"


def _pending(request: dict[str, Any]) -> Any:
    wanted = rds._p(request, "ResourceIdentifier")
    found = "".join(
        f"<ResourcePendingMaintenanceActions><ResourceIdentifier>{escape(arn)}</ResourceIdentifier>"
        f"<PendingMaintenanceActionDetails>{''.join(map(_action, actions))}</PendingMaintenanceActionDetails>"
        "</ResourcePendingMaintenanceActions>"
        for arn, actions in _maintenance.items()
        if not wanted or arn == wanted
    )
    return rds._xml(
        200,
        "DescribePendingMaintenanceActionsResponse",
        "<DescribePendingMaintenanceActionsResult><PendingMaintenanceActions>"
        f"{found}</PendingMaintenanceActions></DescribePendingMaintenanceActionsResult>",
    )


def _action(action: dict[str, Any]) -> str:
    fields = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in action.items())
    return f"<PendingMaintenanceAction>{fields}</PendingMaintenanceAction>"
