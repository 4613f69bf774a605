"""What state a database is in, read from what RDS and CloudWatch say of it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchfloor.redaction import Redactor

GIB = 2**30
# Metric, statistic; instances and the writer of a cluster have all of them.
METRICS: dict[str, tuple[str, str]] = {
    "cpu_percent": ("CPUUtilization", "Average"),
    "connections": ("DatabaseConnections", "Maximum"),
    "free_storage_bytes": ("FreeStorageSpace", "Minimum"),
    "free_memory_bytes": ("FreeableMemory", "Minimum"),
    "read_seconds": ("ReadLatency", "Average"),
    "write_seconds": ("WriteLatency", "Average"),
    "queue_depth": ("DiskQueueDepth", "Average"),
    "burst_percent": ("BurstBalance", "Minimum"),
    "cpu_credits": ("CPUCreditBalance", "Minimum"),
    "replica_lag_seconds": ("ReplicaLag", "Maximum"),
}
_PARAMETERS = ("max_connections", "slow_query_log", "long_query_time", "log_min_duration_statement", "work_mem")
_MOST_EVENTS, _EVENT_CHARACTERS, _ACTION_CHARACTERS = 30, 400, 300
_WELL = {"available", "backing-up", "configuring-enhanced-monitoring", "storage-optimization"}
_BAD_EVENTS = re.compile(r"fail|restart|shut ?down|crash|out of|exceed|recover|unavailable|low|error", re.IGNORECASE)
# GiB of memory of the t and m classes by size; r classes have twice as much.
_SIZES = {"micro": 1, "small": 2, "medium": 4, "large": 8, "xlarge": 16}


@dataclass(frozen=True)
class Instance:
    """All that is known of an instance.

    Attributes
    ----------
    raw
        Of DescribeDBInstances.
    values
        METRICS of five minutes each, the latest first.
    parameters
        Of its parameter groups.
    statements
        Of Performance Insights' DescribeDimensionKeys; None where that is off.
    """

    raw: Mapping[str, Any]
    values: Mapping[str, Sequence[float]]
    parameters: Iterable[Mapping[str, Any]]
    statements: Mapping[str, Any] | None


def report(
    name: str,
    cluster: Mapping[str, Any] | None,
    instances: Iterable[Instance],
    events: Iterable[Mapping[str, Any]],
    maintenance: Mapping[str, Iterable[Mapping[str, Any]]],
) -> dict[str, Any]:
    """A database at a glance: what is unusual about it, and its particulars.

    Parameters
    ----------
    cluster
        Of DescribeDBClusters, if it is one.
    events
        RDS's own.
    maintenance
        What is due, by the ARN of what it is about.
    """
    about = {**about_cluster(cluster), "arn": cluster["DBClusterArn"]} if cluster else None
    looks = [_look(each) for each in instances]
    latest_last = sorted(events, key=lambda event: event["Date"])
    due = [_action(arn, action) for arn, actions in maintenance.items() for action in actions]
    findings = []
    if about and about["status"] != "available":
        findings.append(f"the cluster {about['identifier']} is {about['status']}")
    for look in looks:
        findings += look.pop("findings")
    redactor = Redactor()
    findings += redactor.lines(f"event: {line}" for line in notable(latest_last))
    findings += [f"maintenance waits: {action['action']} of {action['resource']}" for action in due]
    return {
        "findings": findings or [f"{name} is available, and nothing about it is unusual"],
        "cluster": about,
        "instances": looks,
        "events": redactor.lines(
            f"{event['Date']:%Y-%m-%d %H:%M} {event['Message']}"[:_EVENT_CHARACTERS]
            for event in latest_last[-_MOST_EVENTS:]
        ),
        "maintenance": due,
    }


def _look(instance: Instance) -> dict[str, Any]:
    """An instance with its load, parameters and slow statements."""
    about = about_instance(instance.raw)
    values = {key: [round(value, 4) for value in series] for key, series in instance.values.items()}
    parameters = {
        parameter["ParameterName"]: parameter["ParameterValue"]
        for parameter in instance.parameters
        if parameter["ParameterName"] in _PARAMETERS and parameter.get("ParameterValue")
    }
    most = most_connections(parameters.get("max_connections"), about["class"])
    return {
        "findings": instance_findings(about, values, most),
        **about,
        "most_connections": most,
        "parameters": parameters,
        "load": {
            name: {"latest": series[0], "lowest": min(series), "highest": max(series)}
            for name, series in values.items()
            if series
        },
        "slow_statements": "Performance Insights is off, so slow statements are not known"
        if instance.statements is None
        else slow_statements(instance.statements),
    }


def _action(arn: str, action: Mapping[str, Any]) -> dict[str, Any]:
    when = action.get("CurrentApplyDate") or action.get("AutoAppliedAfterDate")
    return {
        "resource": arn.rpartition(":")[2],
        "action": action["Action"],
        "description": action.get("Description", "")[:_ACTION_CHARACTERS],
        "at": when.isoformat() if when else None,
    }


def about_instance(found: Mapping[str, Any]) -> dict[str, Any]:
    """An instance, as far as it matters on duty."""
    return {
        "identifier": found["DBInstanceIdentifier"],
        "status": found["DBInstanceStatus"],
        "engine": f"{found['Engine']} {found.get('EngineVersion', '')}".strip(),
        "class": found["DBInstanceClass"],
        "cluster": found.get("DBClusterIdentifier"),
        "endpoint": found.get("Endpoint", {}).get("Address"),
        "port": found.get("Endpoint", {}).get("Port"),
        "is_multi_az": bool(found.get("MultiAZ")),
        "is_public": bool(found.get("PubliclyAccessible")),
        "storage_gib": found.get("AllocatedStorage"),
        "storage_type": found.get("StorageType"),
        "most_storage_gib": found.get("MaxAllocatedStorage"),
        "backup_days": found.get("BackupRetentionPeriod"),
        "parameter_groups": {
            group["DBParameterGroupName"]: group["ParameterApplyStatus"] for group in found.get("DBParameterGroups", [])
        },
        "pending_changes": {key: str(value) for key, value in (found.get("PendingModifiedValues") or {}).items()},
        "replica_of": found.get("ReadReplicaSourceDBInstanceIdentifier"),
        "has_performance_insights": bool(found.get("PerformanceInsightsEnabled")),
        "certificate_until": _time(found.get("CertificateDetails", {}).get("ValidTill")),
    }


def about_cluster(found: Mapping[str, Any]) -> dict[str, Any]:
    """A cluster, its writer first among its members."""
    members = sorted(found.get("DBClusterMembers", []), key=lambda member: not member.get("IsClusterWriter"))
    return {
        "identifier": found["DBClusterIdentifier"],
        "status": found["Status"],
        "engine": f"{found['Engine']} {found.get('EngineVersion', '')}".strip(),
        "endpoint": found.get("Endpoint"),
        "reader_endpoint": found.get("ReaderEndpoint"),
        "members": [
            {"identifier": member["DBInstanceIdentifier"], "is_writer": bool(member.get("IsClusterWriter"))}
            for member in members
        ],
        "backup_days": found.get("BackupRetentionPeriod"),
        "pending_changes": {key: str(value) for key, value in (found.get("PendingModifiedValues") or {}).items()},
    }


def most_connections(parameter: str | None, instance_class: str) -> int | None:
    """How many connections the database takes: the parameter `max_connections`, its usual formulas included.

    A formula counts in DBInstanceClassMemory, which is what the class has less what the system needs; so the answer
    is a little high.
    """
    if not parameter:
        return None
    if parameter.isdigit():
        return int(parameter)
    memory = class_memory(instance_class)
    found = re.search(r"DBInstanceClassMemory/(\d+)", parameter)
    # Aurora MySQL's formula has a logarithm in it, which is not worked out here.
    if not memory or not found or "log(" in parameter:
        return None
    limit = re.search(r"LEAST\(.*?,\s*(\d+)\s*\)", parameter)
    count = int(memory / int(found[1]))
    return min(count, int(limit[1])) if limit else count


def class_memory(instance_class: str) -> float | None:
    """Bytes of memory of `db.r6g.2xlarge`; None for families that are not counted alike."""
    found = re.fullmatch(r"db\.([a-z])\d\w*\.((\d+)?xlarge|large|medium|small|micro)", instance_class)
    if not found or found[1] not in "tmr":
        return None
    base = _SIZES["xlarge"] * int(found[3]) if found[3] else _SIZES[found[2]]
    return base * (2 if found[1] == "r" else 1) * GIB


def instance_findings(about: Mapping[str, Any], values: Mapping[str, Sequence[float]], most: int | None) -> list[str]:
    """What is wrong with an instance; `values` are of five minutes each, the latest first."""
    name, findings = about["identifier"], []
    if about["status"] not in _WELL:
        findings.append(f"{name} is {about['status']}")
    latest = {key: series[0] for key, series in values.items() if series}
    if (free := latest.get("free_storage_bytes")) is not None and about["storage_gib"]:
        share = free / (about["storage_gib"] * GIB)
        if share < 0.1:
            grows = f"; it grows by itself to {about['most_storage_gib']} GiB" if about["most_storage_gib"] else ""
            findings.append(f"{name} has {free / GIB:.1f} GiB ({share:.0%}) of storage left{grows}")
    if (connections := latest.get("connections")) is not None and most and connections > 0.8 * most:
        findings.append(f"{name} has {connections:.0f} of about {most} connections in use")
    if _average(values.get("cpu_percent", [])[:3]) > 85:
        findings.append(f"{name} has been at {_average(values['cpu_percent'][:3]):.0f} % CPU for a quarter of an hour")
    if (memory := latest.get("free_memory_bytes")) is not None and memory < 256 * 2**20:
        findings.append(f"{name} has {memory / 2**20:.0f} MiB of memory left")
    for key in ("read_seconds", "write_seconds"):
        if latest.get(key, 0) > 0.02:
            findings.append(f"{name}: storage takes {1000 * latest[key]:.0f} ms to {key.partition('_')[0]}")
    if latest.get("burst_percent", 100) < 20:
        findings.append(f"{name} has {latest['burst_percent']:.0f} % of its disk's burst credit left")
    if latest.get("cpu_credits", 100) < 10 and about["class"].startswith("db.t"):
        findings.append(f"{name} has {latest['cpu_credits']:.0f} CPU credits left")
    if latest.get("replica_lag_seconds", 0) > 60:
        findings.append(f"{name} is {latest['replica_lag_seconds']:.0f} s behind {about['replica_of'] or 'its source'}")
    if waiting := [group for group, status in about["parameter_groups"].items() if status == "pending-reboot"]:
        findings.append(f"{name}: parameters of {', '.join(waiting)} wait for a reboot")
    if about["pending_changes"]:
        findings.append(f"{name}: {', '.join(about['pending_changes'])} will change in the next maintenance window")
    if about["is_public"]:
        findings.append(f"{name} is reachable from the internet, as far as its security groups let it be")
    return findings


def notable(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Events of RDS that tell of trouble, the latest first, in a line each."""
    chosen = [event for event in events if _BAD_EVENTS.search(event["Message"]) or "failover" in _categories(event)]
    chosen.sort(key=lambda event: event["Date"], reverse=True)
    return [f"{event['Date']:%Y-%m-%d %H:%M} UTC: {event['Message'][:300]}" for event in chosen[:5]]


def slow_statements(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Statements by the load they make, from Performance Insights (`db.sql_tokenized`: without values)."""
    return [
        {
            "load": round(key.get("Total", 0), 3),
            "statement": key.get("Dimensions", {}).get("db.sql_tokenized.statement", "")[:500],
            "waits": {
                str(wait.get("db.wait_event.name")): round(share, 3)
                for wait, share in zip(answer.get("PartitionKeys", []), key.get("Partitions", []), strict=False)
                for wait in [wait.get("Dimensions", {})]
                if share
            },
        }
        for key in answer.get("Keys", [])
    ]


def _categories(event: Mapping[str, Any]) -> Sequence[str]:
    return event.get("EventCategories", [])


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _time(value: Any) -> str | None:
    return value.isoformat(timespec="seconds") if isinstance(value, dt.datetime) else None
