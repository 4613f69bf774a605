"""Subscription filters of CloudWatch Logs: the destination's permission, the limit, asynchronous delivery.

MiniStack takes any destination and any number of filters, calls the function once whatever becomes of it, and keeps
quiet about a function that is subscribed to its own log. AWS does none of that.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import time
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, new_uuid
from ministack.services import cloudwatch_logs, lambda_svc
from ministack.services.cloudformation import provisioners

from local.cloud import anchors
from local.cloud.overlay import log_patterns, roles

PRINCIPAL = "logs.amazonaws.com"
FILTERS_A_GROUP = 2

logger = logging.getLogger("logs")


def install() -> None:
    put = anchors.replace("services.cloudwatch_logs:_put_subscription_filter", lambda request: _put(put, request))
    anchors.replace("services.cloudwatch_logs:_fanout_to_subscription_filters", deliver)
    # The template's own way in makes the log group where there is none; AWS fails.
    kind = provisioners._RESOURCE_HANDLERS["AWS::Logs::SubscriptionFilter"]
    create = anchors.replace(
        "services.cloudformation.provisioners:_cwlogs_subfilter_create",
        lambda logical_id, properties, stack: _create(create, logical_id, properties, stack),
    )
    kind["create"] = provisioners._cwlogs_subfilter_create


def _put(put: Any, request: dict[str, Any]) -> Any:
    group_name = request.get("logGroupName", "")
    group = cloudwatch_logs._log_groups.get(group_name)
    if group is not None and (refusal := _refusal(group_name, request.get("destinationArn", ""))):
        return error_response_json("InvalidParameterException", refusal, 400)
    known = (group or {}).get("subscriptionFilters") or {}
    if len(known) >= FILTERS_A_GROUP and request.get("filterName") not in known:
        return error_response_json("LimitExceededException", "Resource limit exceeded.", 400)
    return put(request)


def _create(create: Any, logical_id: str, properties: dict[str, Any], stack: str) -> Any:
    if properties.get("LogGroupName") not in cloudwatch_logs._log_groups:
        raise ValueError(f"The specified log group does not exist: {properties.get('LogGroupName')}")
    return create(logical_id, properties, stack)


def _refusal(group_name: str, destination: str) -> str:
    """Why logs of this group may not go to the function, or nothing."""
    function, config, _ = lambda_svc._get_func_record_for_ref(destination)
    group_arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group_name}:*"
    if (
        function
        and config
        and roles.service_may(
            PRINCIPAL, function.get("policy"), "lambda:InvokeFunction", config["FunctionArn"], group_arn
        )
    ):
        return ""
    return (
        "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your "
        "function."
    )


def deliver(group_name: str, stream_name: str, events: list[dict[str, Any]]) -> None:
    """Hand the events that match a filter to its function, as asynchronous invocations are."""
    group = cloudwatch_logs._log_groups.get(group_name) or {}
    now = int(time.time() * 1000)
    for found in list((group.get("subscriptionFilters") or {}).values()):
        matched = [
            event for event in events if log_patterns.matches(found.get("filterPattern"), event.get("message", ""))
        ]
        function, config, name = lambda_svc._get_func_record_for_ref(found["destinationArn"])
        if not matched:
            continue
        if not function or not config:
            logger.warning("subscription filter %s: there is no function %s", found["filterName"], name)
            continue
        batch = {
            "messageType": "DATA_MESSAGE",
            "owner": get_account_id(),
            "logGroup": group_name,
            "logStream": stream_name,
            "subscriptionFilters": [found["filterName"]],
            "logEvents": [
                {
                    "id": new_uuid().replace("-", ""),
                    "timestamp": event.get("timestamp", now),
                    "message": event.get("message", ""),
                }
                for event in matched
            ],
        }
        data = base64.b64encode(gzip.compress(json.dumps(batch).encode(), mtime=0)).decode()
        lambda_svc.invoke_async_with_retry(
            lambda_svc._execution_record_for_config(function, config), {"awslogs": {"data": data}}
        )
