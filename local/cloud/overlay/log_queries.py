"""CloudWatch Logs Insights: queries that run for a moment, as AWS's do, in the language of :mod:`local.insights`.

MiniStack knows fields, simple filters, sort and limit, and skips what it does not know.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import cloudwatch_logs

from local import insights
from local.cloud import anchors

RUNNING_SECONDS = 0.3
_MAX_GROUPS = 50
_PUBLIC = ("@message", "@logStream", "@log", "@ptr")


def install() -> None:
    anchors.replace("services.cloudwatch_logs:_start_query", _start)
    anchors.replace("services.cloudwatch_logs:_get_query_results", _results)
    anchors.replace("services.cloudwatch_logs:_stop_query", _stop)
    resource_arn = anchors.replace(
        "core.iam_actions:extract_resource_arn",
        lambda service, method, path, headers, body, *rest: (
            (_resource_arn(headers, body) if service == "logs" else None)
            or resource_arn(service, method, path, headers, body, *rest)
        ),
    )


def _start(request: dict[str, Any]) -> Any:
    groups = cloudwatch_logs._resolve_query_log_groups(request)
    if not 1 <= len(groups) <= _MAX_GROUPS:
        return _refused("InvalidParameterException", f"1 to {_MAX_GROUPS} log groups must be given")
    for group in groups:
        if group not in cloudwatch_logs._log_groups:
            return _refused("ResourceNotFoundException", f"Log group '{group}' does not exist")
    start, end = _seconds(request["startTime"]), _seconds(request["endTime"])
    if start > end:
        return _refused("InvalidParameterException", "End time should not be before start time")
    text = request["queryString"]
    if len(text) > 10_000:
        return _refused("InvalidParameterException", "queryString must have at most 10000 characters")
    try:
        query = insights.Query(text)
    except insights.QueryError as error:
        return _refused("MalformedQueryException", str(error))
    if "limit" in request:
        query.limit = min(query.limit, request["limit"])
    # Newest first, unless the query sorts.
    scanned = list(reversed(cloudwatch_logs._collect_query_records(groups, start, end)))
    records = [{name: record[name] for name in _PUBLIC} | {"@timestamp": record["_timestamp_ms"]} for record in scanned]
    rows = query.run(records)
    query_id = str(uuid.uuid4())
    cloudwatch_logs._queries[query_id] = {
        "queryId": query_id,
        "status": "Complete",
        "until": time.monotonic() + RUNNING_SECONDS,
        "results": [[{"field": name, "value": insights.shown(name, row[name])} for name in row] for row in rows],
        "statistics": {
            "recordsMatched": float(len(rows)),
            "recordsScanned": float(len(records)),
            "bytesScanned": float(sum(len(record["@message"].encode()) for record in records)),
        },
    }
    return json_response({"queryId": query_id})


def _results(request: dict[str, Any]) -> Any:
    query = cloudwatch_logs._queries.get(request.get("queryId"))
    if query is None:
        return _refused("ResourceNotFoundException", "The specified query does not exist.")
    if query["status"] == "Complete" and time.monotonic() < query["until"]:
        so_far = {"results": [], "statistics": query["statistics"], "queryLanguage": "CWLI"}
        return json_response({"status": "Running", **so_far})
    found = {name: query[name] for name in ("status", "results", "statistics")}
    return json_response(found | {"queryLanguage": "CWLI"})


def _stop(request: dict[str, Any]) -> Any:
    query = cloudwatch_logs._queries.get(request.get("queryId"))
    if query is None:
        return _refused("ResourceNotFoundException", "The specified query does not exist.")
    if query["status"] != "Complete" or time.monotonic() >= query["until"]:
        return _refused("InvalidParameterException", "The query is not running")
    query["status"] = "Cancelled"
    return json_response({"success": True})


def _resource_arn(headers: dict[str, str], body: bytes) -> str | None:
    """What IAM is asked about for reading: a group's streams (the first group's, where a query names several)."""
    if headers.get("x-amz-target", "").rpartition(".")[2] not in ("StartQuery", "FilterLogEvents"):
        return None
    groups = cloudwatch_logs._resolve_query_log_groups(json.loads(body or b"{}"))
    return f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{groups[0]}:*" if groups else None


def _seconds(value: float) -> int:
    """AWS takes epoch seconds, and milliseconds as well."""
    return int(value // 1000) if value > 1e11 else int(value)


def _refused(code: str, message: str) -> Any:
    return error_response_json(code, message, 400)
