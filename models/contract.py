"""What goes in and out of the models: the documents of one request, checked before a model sees them."""

from __future__ import annotations

import math
from typing import Any

Json = dict[str, Any]


class BadRequestError(ValueError):
    """The request is not what the contract says; the message tells the caller what to mend."""


def check_names(records: list[Any]) -> list[str]:
    """Names of a technique request's records ``{"name": str}``."""
    names = []
    for number, record in enumerate(records, 1):
        name = record.get("name") if isinstance(record, dict) else None
        if not isinstance(name, str):
            raise BadRequestError(f'record {number}: expected {{"name": string}}')
        names.append(name)
    return names


def check_alerts(document: Any) -> tuple[list[Json], Json, Json | None, bool]:
    """Alerts, node features and state of a clustering request, and whether it is the final one of its run."""
    alerts = _objects(document, "alerts")
    seen: set[int] = set()
    for number, alert in enumerate(alerts):
        where = f"alerts[{number}]"
        i = alert.get("i")
        if type(i) is not int:
            raise BadRequestError(f"{where}.i: expected an integer")
        if i in seen:
            raise BadRequestError(f"{where}.i: {i} is there twice")
        seen.add(i)
        _number(alert, "time", where)
        for key in ("src", "dst", "name"):
            if not isinstance(alert.get(key), str):
                raise BadRequestError(f"{where}.{key}: expected a string")
        _strings(alert, "tech", where)
        if not isinstance(alert.get("attributes") or {}, dict):
            raise BadRequestError(f"{where}.attributes: expected an object")
    features = document.get("node_feature") or {}
    if not isinstance(features, dict):
        raise BadRequestError("node_feature: expected an object")
    final = document.get("final", False)
    if not isinstance(final, bool):
        raise BadRequestError("final: expected true or false")
    return alerts, features, _state(document), final


def check_clusters(document: Any) -> tuple[list[Json], Json | None]:
    """Clusters and state of a flow request."""
    clusters = _objects(document, "clusters")
    seen: set[str] = set()
    for number, cluster in enumerate(clusters):
        where = f"clusters[{number}]"
        name = cluster.get("cluster_id")
        if not isinstance(name, str) or not name:
            raise BadRequestError(f"{where}.cluster_id: expected a string")
        if name in seen:
            raise BadRequestError(f"{where}.cluster_id: {name} is there twice")
        seen.add(name)
        for key in ("techniques", "tactics", "src", "dst"):
            _strings(cluster, key, where)
        _number(cluster, "start_time", where)
        _number(cluster, "end_time", where)
        if type(cluster.get("alert_count", 1)) is not int:
            raise BadRequestError(f"{where}.alert_count: expected an integer")
    return clusters, _state(document)


def _objects(document: Any, key: str) -> list[Json]:
    rows = document.get(key) if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise BadRequestError(f'expected an object with a list "{key}"')
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequestError(f"{key}[{number}]: expected an object")
    return rows


def _state(document: Json) -> Json | None:
    state = document.get("state")
    if state is not None and not isinstance(state, dict):
        raise BadRequestError("state: expected null or the state of the last answer")
    return state


def _number(row: Json, key: str, where: str) -> None:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequestError(f"{where}.{key}: expected a finite number")


def _strings(row: Json, key: str, where: str) -> None:
    value = row.get(key) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise BadRequestError(f"{where}.{key}: expected a list of strings")
