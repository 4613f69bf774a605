"""An RDS instance or cluster at a glance: state, events, load, maintenance, slow statements. Never connects to it."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any, Literal

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.databases import Databases
from watchfloor.clients.metrics import Metrics
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.databases import METRICS, Instance, about_cluster, about_instance, report
from watchfloor.scripts import Parameters

_MOST_MEMBERS = 5


class DatabaseQuestion(Parameters):
    database: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$", description="The instance or cluster")
    kind: Literal["instance", "cluster"] = Field("instance", description="Which of the two it is")
    hours: int = Field(3, ge=1, le=24, description="How far to look back for load; for events it is eight times that")


def look_at_database(parameters: DatabaseQuestion, run: ScriptRun) -> dict[str, Any]:
    databases, now = Databases(run.read("rds")), dt.datetime.now(dt.UTC)
    begin = now - dt.timedelta(hours=parameters.hours)
    cluster, names = None, [parameters.database]
    if parameters.kind == "cluster":
        cluster = databases.cluster(parameters.database)
        names = [member["identifier"] for member in about_cluster(cluster)["members"][:_MOST_MEMBERS]]
    found = [databases.instance(name) for name in names]
    # RDS takes names in any case; metrics and events have them in lower case.
    names = [raw["DBInstanceIdentifier"] for raw in found]
    load = Metrics(run.read("cloudwatch"), "AWS/RDS", "DBInstanceIdentifier").values(
        names, METRICS, begin, now, period_seconds=300
    )
    instances = [
        Instance(
            raw,
            load[raw["DBInstanceIdentifier"]],
            databases.parameters(about_instance(raw)["parameter_groups"]),
            slow_statements(raw, begin, now, run),
        )
        for raw in found
    ]
    minutes = 8 * 60 * parameters.hours
    events = [event for name in names for event in databases.events("db-instance", name, minutes)]
    arns = [raw["DBInstanceArn"] for raw in found]
    if cluster:
        events += databases.events("db-cluster", cluster["DBClusterIdentifier"], minutes)
        arns.append(cluster["DBClusterArn"])
    maintenance = {arn: databases.maintenance(arn) for arn in arns}
    return report(parameters.database, cluster, instances, events, maintenance)


def slow_statements(raw: dict[str, Any], begin: dt.datetime, end: dt.datetime, run: ScriptRun) -> dict[str, Any] | None:
    """Statements by load, where Performance Insights is on."""
    if not raw.get("PerformanceInsightsEnabled"):
        return None
    return run.read("pi").describe_dimension_keys(
        ServiceType="RDS",
        Identifier=raw["DbiResourceId"],
        StartTime=begin,
        EndTime=end,
        Metric="db.load.avg",
        GroupBy={"Group": "db.sql_tokenized", "Limit": 10},
        PartitionBy={"Group": "db.wait_event", "Limit": 5},
    )


script = Script("debug-database", DatabaseQuestion, look_at_database, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
