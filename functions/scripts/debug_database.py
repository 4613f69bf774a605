"""An RDS instance or cluster at a glance: state, events, load, maintenance, slow statements. Never connects to it."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any, Literal

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.databases import (
    METRICS,
    about_cluster,
    about_instance,
    instance_findings,
    most_connections,
    notable,
    slow_statements,
)
from watchfloor.errors import NotFoundError
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters

_PERIOD_SECONDS = 300
_MOST_MEMBERS = 5
_PARAMETERS = ("max_connections", "slow_query_log", "long_query_time", "log_min_duration_statement", "work_mem")


class DatabaseQuestion(Parameters):
    database: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$", description="The instance or cluster")
    kind: Literal["instance", "cluster"] = Field("instance", description="Which of the two it is")
    hours: int = Field(3, ge=1, le=24, description="How far to look back for load; for events it is eight times that")


def look_at_database(parameters: DatabaseQuestion, run: ScriptRun) -> dict[str, Any]:
    rds = run.read("rds")
    now = dt.datetime.now(dt.UTC)
    cluster, instances = found(rds, parameters)
    looks = [look(about, parameters.hours, now, run) for about in instances]
    events = events_of(rds, parameters, cluster, instances)
    maintenance = waiting(rds, [each["arn"] for each in [*instances, *([cluster] if cluster else [])]])
    findings = []
    if cluster and cluster["status"] != "available":
        findings.append(f"the cluster {cluster['identifier']} is {cluster['status']}")
    for each in looks:
        findings += each.pop("findings")
    findings += [f"event: {line}" for line in notable(events)]
    findings += [f"maintenance waits: {action['action']} of {action['resource']}" for action in maintenance]
    return {
        "findings": findings or [f"{parameters.database} is available, and nothing about it is unusual"],
        "cluster": cluster,
        "instances": looks,
        "events": Redactor().lines(
            f"{event['Date']:%Y-%m-%d %H:%M} {event['Message']}"[:400] for event in events[-30:]
        ),
        "maintenance": maintenance,
    }


def found(rds: Any, parameters: DatabaseQuestion) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The cluster, if it is one, and the instances to look at, the writer first."""
    if parameters.kind == "instance":
        return None, [instance(rds, parameters.database)]
    try:
        raw = rds.describe_db_clusters(DBClusterIdentifier=parameters.database)["DBClusters"][0]
    except ClientError as error:
        raise missing(error, parameters.database, "cluster", "instance") from error
    cluster = {**about_cluster(raw), "arn": raw["DBClusterArn"]}
    return cluster, [instance(rds, member["identifier"]) for member in cluster["members"][:_MOST_MEMBERS]]


def instance(rds: Any, name: str) -> dict[str, Any]:
    try:
        raw = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
    except ClientError as error:
        raise missing(error, name, "instance", "cluster") from error
    return {**about_instance(raw), "arn": raw["DBInstanceArn"], "resource_id": raw["DbiResourceId"]}


def missing(error: ClientError, name: str, kind: str, other: str) -> Exception:
    if "NotFound" in error.response["Error"]["Code"]:
        return NotFoundError(f"there is no database {kind} {name} in this region; is it a {other} (kind: {other})?")
    return error


def look(about: dict[str, Any], hours: int, now: dt.datetime, run: ScriptRun) -> dict[str, Any]:
    """An instance with its load, parameters and slow statements."""
    values = metrics(about["identifier"], hours, now, run)
    settings = settings_of(about, run)
    most = most_connections(settings.get("max_connections"), about["class"])
    shown = {key: value for key, value in about.items() if key not in ("arn", "resource_id")}
    return {
        "findings": instance_findings(about, values, most),
        **shown,
        "most_connections": most,
        "parameters": settings,
        "load": {
            name: {"latest": series[0], "lowest": min(series), "highest": max(series)}
            for name, series in values.items()
            if series
        },
        "slow_statements": slow(about, hours, now, run),
    }


def metrics(identifier: str, hours: int, now: dt.datetime, run: ScriptRun) -> dict[str, list[float]]:
    """Values of five minutes each, the latest first."""
    dimensions = [{"Name": "DBInstanceIdentifier", "Value": identifier}]
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": "AWS/RDS", "MetricName": metric, "Dimensions": dimensions},
                "Period": _PERIOD_SECONDS,
                "Stat": statistic,
            },
        }
        for name, (metric, statistic) in METRICS.items()
    ]
    answer = run.read("cloudwatch").get_metric_data(
        MetricDataQueries=queries, StartTime=now - dt.timedelta(hours=hours), EndTime=now, ScanBy="TimestampDescending"
    )
    return {series["Id"]: [round(value, 4) for value in series["Values"]] for series in answer["MetricDataResults"]}


def settings_of(about: dict[str, Any], run: ScriptRun) -> dict[str, str]:
    """Parameters that explain load and slowness."""
    pages = run.read("rds").get_paginator("describe_db_parameters")
    found: dict[str, str] = {}
    for group in about["parameter_groups"]:
        try:
            for page in pages.paginate(DBParameterGroupName=group):
                for parameter in page["Parameters"]:
                    if parameter["ParameterName"] in _PARAMETERS and parameter.get("ParameterValue"):
                        found[parameter["ParameterName"]] = parameter["ParameterValue"]
        except ClientError as error:
            # A group that is gone explains nothing; the database itself is looked at all the same.
            if "NotFound" not in error.response["Error"]["Code"]:
                raise
    return found


def slow(about: dict[str, Any], hours: int, now: dt.datetime, run: ScriptRun) -> list[dict[str, Any]] | str:
    """Statements by load, where Performance Insights is on."""
    if not about["has_performance_insights"]:
        return "Performance Insights is off, so slow statements are not known"
    answer = run.read("pi").describe_dimension_keys(
        ServiceType="RDS",
        Identifier=about["resource_id"],
        StartTime=now - dt.timedelta(hours=hours),
        EndTime=now,
        Metric="db.load.avg",
        GroupBy={"Group": "db.sql_tokenized", "Limit": 10},
        PartitionBy={"Group": "db.wait_event", "Limit": 5},
    )
    return slow_statements(answer)


def events_of(
    rds: Any, parameters: DatabaseQuestion, cluster: dict[str, Any] | None, instances: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """RDS's own events, the oldest first."""
    asked = [("db-instance", each["identifier"]) for each in instances]
    asked += [("db-cluster", cluster["identifier"])] if cluster else []
    found = []
    for kind, name in asked:
        found += rds.describe_events(
            SourceType=kind, SourceIdentifier=name, Duration=8 * 60 * parameters.hours, MaxRecords=100
        )["Events"]
    return sorted(found, key=lambda event: event["Date"])


def waiting(rds: Any, arns: list[str]) -> list[dict[str, Any]]:
    """Maintenance that is due."""
    found = []
    for arn in arns:
        for resource in rds.describe_pending_maintenance_actions(ResourceIdentifier=arn)["PendingMaintenanceActions"]:
            for action in resource["PendingMaintenanceActionDetails"]:
                when = action.get("CurrentApplyDate") or action.get("AutoAppliedAfterDate")
                found.append(
                    {
                        "resource": arn.rpartition(":")[2],
                        "action": action["Action"],
                        "description": action.get("Description", "")[:300],
                        "at": when.isoformat() if when else None,
                    }
                )
    return found


script = Script("debug-database", DatabaseQuestion, look_at_database, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
