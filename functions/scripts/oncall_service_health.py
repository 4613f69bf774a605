"""Says whether a service is healthy, degraded or down, and why: its ECS services, functions, target groups, databases
and alarms at a glance.

A service is everything that is tagged with its name, and everything that is simply called so.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field

from watchfloor import service_health as health
from watchfloor.clients.alarms import Alarms
from watchfloor.clients.aws import error_code
from watchfloor.clients.ecs_services import EcsServices
from watchfloor.clients.metrics import Metrics
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.tags import Tags
from watchfloor.clients.target_groups import TargetGroups
from watchfloor.errors import NotFoundError
from watchfloor.scripts import Parameters

ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.:/=+@-]{1,128}$")]

_NOT_FOUND = {
    "ClusterNotFoundException",
    "DBInstanceNotFound",
    "DBInstanceNotFoundFault",
    "ResourceNotFoundException",
}
_DENIED = {"AccessDenied", "AccessDeniedException"}
# AWS's answer for each part, by kind and name, that the script's role may not look at.
Denied = dict[tuple[str, str], ClientError]


class ServiceHealth(Parameters):
    service_name: ServiceName = Field(description="The service: the tag's value, or what its parts are called")
    tag_key: TagKey = Field("service", description="The tag whose value names the service")
    cluster: ServiceName = Field("default", description="Where an ECS service of this name is looked for")
    minutes: int = Field(15, ge=1, le=360, description="How far back calls of functions are counted")


def service_health(parameters: ServiceHealth, run: ScriptRun) -> dict[str, Any]:
    tags, name = Tags(run.read("resourcegroupstaggingapi")), parameters.service_name
    places = health.places(tags.arns(parameters.tag_key, name, health.KINDS), name, parameters.cluster)
    denied = Denied()
    parts = [
        *ecs_services(places, run, denied),
        *functions(places, run, denied, parameters.minutes),
        *target_groups(places, run),
        *databases(places, run, denied),
        *map(health.alarm, Alarms(run.read("cloudwatch")).named(places.alarms, prefix=name)),
    ]
    if denied and not parts:
        raise next(iter(denied.values()))
    if not parts:
        raise NotFoundError(f"nothing is tagged {parameters.tag_key}={name}, and nothing is called so")
    unseen = [
        health.hidden(*part, error.response["Error"].get("Message") or error_code(error))
        for part, error in denied.items()
    ]
    return health.report(name, parts, unseen)


def ecs_services(places: health.Places, run: ScriptRun, denied: Denied) -> Iterator[health.Part]:
    services = EcsServices(run.read("ecs"))
    for cluster, name in places.ecs_services:
        found = asked(denied, "ECS service", name, partial(services.find, cluster, name))
        if found and found["status"] != "INACTIVE":
            yield health.ecs_service(found)


def functions(places: health.Places, run: ScriptRun, denied: Denied, minutes: int) -> Iterator[health.Part]:
    client, end = run.read("lambda"), dt.datetime.now(dt.UTC)
    answers = {
        name: asked(denied, "Lambda function", name, partial(client.get_function_configuration, FunctionName=name))
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


def databases(places: health.Places, run: ScriptRun, denied: Denied) -> Iterator[health.Part]:
    rds = run.read("rds")
    for name in places.databases:
        found = asked(denied, "RDS instance", name, partial(rds.describe_db_instances, DBInstanceIdentifier=name))
        yield from map(health.database, (found or {}).get("DBInstances", []))


def asked(denied: Denied, kind: str, name: str, call: Callable[[], Any]) -> Any:
    """The answer; None where there is nothing, or the part may not be looked at, which is noted."""
    try:
        return call()
    except NotFoundError:
        return None
    except ClientError as error:
        if error_code(error) in _DENIED:
            denied[kind, name] = error
        elif error_code(error) not in _NOT_FOUND:
            raise
        return None


script = Script("oncall-service-health", ServiceHealth, service_health, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
