"""Says whether a service is healthy, degraded or down, and why: its ECS services, functions, target groups, databases
and alarms at a glance.

A service is everything that is tagged with its name, and everything that is simply called so.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor import service_health as health
from watchfloor.clients.alarms import Alarms
from watchfloor.clients.ecs_services import EcsServices
from watchfloor.clients.looks import Looks
from watchfloor.clients.metrics import Metrics
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.tags import Tags
from watchfloor.clients.target_groups import TargetGroups
from watchfloor.errors import NotFoundError
from watchfloor.scripts import Parameters

ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.:/=+@-]{1,128}$")]


class ServiceHealth(Parameters):
    service_name: ServiceName = Field(description="The service: the tag's value, or what its parts are called")
    tag_key: TagKey = Field("service", description="The tag whose value names the service")
    cluster: ServiceName = Field("default", description="Where an ECS service of this name is looked for")
    minutes: int = Field(15, ge=1, le=360, description="How far back calls of functions are counted")


def service_health(parameters: ServiceHealth, run: ScriptRun) -> dict[str, Any]:
    tags, name = Tags(run.read("resourcegroupstaggingapi")), parameters.service_name
    places = health.places(tags.arns(parameters.tag_key, name, health.KINDS), name, parameters.cluster)
    looks = Looks()
    parts = [
        *ecs_services(places, run, looks),
        *functions(places, run, looks, parameters.minutes),
        *target_groups(places, run),
        *databases(places, run, looks),
        *map(health.alarm, Alarms(run.read("cloudwatch")).named(places.alarms, prefix=name)),
    ]
    if not parts:
        looks.raise_denied()
        raise NotFoundError(f"nothing is tagged {parameters.tag_key}={name}, and nothing is called so")
    return health.report(name, parts, [health.hidden(*part) for part in looks.denied()])


def ecs_services(places: health.Places, run: ScriptRun, looks: Looks) -> Iterator[health.Part]:
    services = EcsServices(run.read("ecs"))
    for cluster, name in places.ecs_services:
        found = looks.at("ECS service", name, partial(services.find, cluster, name))
        if found and found["status"] != "INACTIVE":
            yield health.ecs_service(found)


def functions(places: health.Places, run: ScriptRun, looks: Looks, minutes: int) -> Iterator[health.Part]:
    client, end = run.read("lambda"), dt.datetime.now(dt.UTC)
    answers = {
        name: looks.at("Lambda function", name, partial(client.get_function_configuration, FunctionName=name))
        for name in places.functions
    }
    found = {name: configuration for name, configuration in answers.items() if configuration}
    counts = Metrics(run.read("cloudwatch"), "AWS/Lambda", "FunctionName").values(
        found, health.METRICS, end - dt.timedelta(minutes=minutes), end, period_seconds=60
    )
    for name, configuration in found.items():
        reserved = client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
        yield health.function(configuration, reserved, counts[name])


def target_groups(places: health.Places, run: ScriptRun) -> Iterator[health.Part]:
    groups = TargetGroups(run.read("elbv2"))
    for arn, name in groups.find(places.target_groups, places.load_balancers, places.target_group_name):
        yield health.target_group(name, groups.targets(arn))


def databases(places: health.Places, run: ScriptRun, looks: Looks) -> Iterator[health.Part]:
    rds = run.read("rds")
    for name in places.databases:
        found = looks.at("RDS instance", name, partial(rds.describe_db_instances, DBInstanceIdentifier=name))
        yield from map(health.database, (found or {}).get("DBInstances", []))


script = Script("oncall-service-health", ServiceHealth, service_health, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
