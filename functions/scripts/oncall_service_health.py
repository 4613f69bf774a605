"""Says whether a service is healthy, degraded or down, and why: its ECS services, functions, target groups, databases
and alarms at a glance.

A service is everything that is tagged with its name, and everything that is simply called so.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field

from watchfloor import service_health as health
from watchfloor.clients.aws import error_code
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import NotFoundError
from watchfloor.scripts import Parameters

ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.:/=+@-]{1,128}$")]

KINDS = [
    "ecs:service",
    "lambda:function",
    "elasticloadbalancing:targetgroup",
    "elasticloadbalancing:loadbalancer",
    "rds:db",
    "cloudwatch:alarm",
]
MAX_PARTS = 100
_METRICS = ("Invocations", "Errors", "Throttles")
_NOT_FOUND = {
    "ClusterNotFoundException",
    "DBInstanceNotFound",
    "DBInstanceNotFoundFault",
    "ResourceNotFoundException",
    "TargetGroupNotFound",
    "TargetGroupNotFoundException",
}
_DENIED = {"AccessDenied", "AccessDeniedException"}
# Kind and name of each part that the script's role may not look at, and AWS's answer.
Denied = dict[tuple[str, str], ClientError]


class ServiceHealth(Parameters):
    service_name: ServiceName = Field(description="The service: the tag's value, or what its parts are called")
    tag_key: TagKey = Field("service", description="The tag whose value names the service")
    cluster: ServiceName = Field("default", description="Where an ECS service of this name is looked for")
    minutes: int = Field(15, ge=1, le=360, description="How far back calls of functions are counted")


def service_health(parameters: ServiceHealth, run: ScriptRun) -> dict[str, Any]:
    found, denied = tagged(parameters, run), Denied()
    parts = [
        *ecs_services(parameters, run, found["ecs"], denied),
        *functions(parameters, run, found["lambda"], denied),
        *target_groups(parameters, run, found["elasticloadbalancing"]),
        *databases(parameters, run, found["rds"], denied),
        *alarms(parameters, run, found["cloudwatch"]),
    ]
    if denied and not parts:
        raise next(iter(denied.values()))
    hidden = [health.hidden(kind, name, told(error)) for (kind, name), error in denied.items()]
    if not parts:
        raise NotFoundError(
            f"nothing is tagged {parameters.tag_key}={parameters.service_name}, and nothing is called so"
        )
    verdict = health.overall(parts)
    return {
        "verdict": verdict,
        "reasons": [*health.reasons(parts, verdict), *health.reasons(hidden, "unknown")],
        "service_name": parameters.service_name,
        "parts": [part.to_dict() for part in [*parts, *hidden][:MAX_PARTS]],
        "part_count": len(parts) + len(hidden),
    }


def tagged(parameters: ServiceHealth, run: ScriptRun) -> dict[str, list[str]]:
    """ARNs of what carries the service's tag, by the service that they belong to."""
    pages = (
        run.read("resourcegroupstaggingapi")
        .get_paginator("get_resources")
        .paginate(
            TagFilters=[{"Key": parameters.tag_key, "Values": [parameters.service_name]}], ResourceTypeFilters=KINDS
        )
    )
    found: dict[str, list[str]] = {kind.partition(":")[0]: [] for kind in KINDS}
    for page in pages:
        for row in page["ResourceTagMappingList"]:
            arn = row["ResourceARN"]
            found.setdefault(arn.split(":")[2], []).append(arn)
    return found


def ecs_services(
    parameters: ServiceHealth, run: ScriptRun, arns: Iterable[str], denied: Denied
) -> Iterable[health.Part]:
    ecs = run.read("ecs")
    # arn:...:service/<cluster>/<name>; those made long ago have no cluster in it, and are asked for by name only.
    places = {tuple(arn.split("/")[1:]) for arn in arns if arn.count("/") == 2}
    for cluster, name in sorted(places | {(parameters.cluster, parameters.service_name)}):
        answer = asked(
            lambda c=cluster, n=name: ecs.describe_services(cluster=c, services=[n]),  # type: ignore[misc]
            denied,
            ("ECS service", name),
        )
        for service in (answer or {}).get("services", []):
            if service["status"] != "INACTIVE":
                yield health.ecs_service(service)


def functions(parameters: ServiceHealth, run: ScriptRun, arns: Iterable[str], denied: Denied) -> Iterable[health.Part]:
    client = run.read("lambda")
    names = {arn.split(":")[6] for arn in arns} | called_so(parameters, r"[A-Za-z0-9_-]{1,64}")
    configurations = {}
    for name in sorted(names):
        answer = asked(
            lambda n=name: client.get_function_configuration(FunctionName=n),  # type: ignore[misc]
            denied,
            ("Lambda function", name),
        )
        if answer:
            configurations[name] = answer
    counts = calls(parameters, run, list(configurations))
    for name, configuration in configurations.items():
        reserved = client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
        yield health.function(configuration, reserved, counts[name])


def calls(parameters: ServiceHealth, run: ScriptRun, names: list[str]) -> dict[str, dict[str, float]]:
    """Sums of Lambda's metrics by function; 500 metrics fit one request."""
    counts: dict[str, dict[str, float]] = {name: {} for name in names}
    if not names:
        return counts
    asked = {f"m{number}": pair for number, pair in enumerate((name, metric) for name in names for metric in _METRICS)}
    now = dt.datetime.now(dt.UTC)
    pages = (
        run.read("cloudwatch")
        .get_paginator("get_metric_data")
        .paginate(
            MetricDataQueries=[
                {
                    "Id": key,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/Lambda",
                            "MetricName": metric,
                            "Dimensions": [{"Name": "FunctionName", "Value": name}],
                        },
                        "Period": 60,
                        "Stat": "Sum",
                    },
                }
                for key, (name, metric) in list(asked.items())[:500]
            ],
            StartTime=now - dt.timedelta(minutes=parameters.minutes),
            EndTime=now,
        )
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            name, metric = asked[result["Id"]]
            counts[name][metric] = counts[name].get(metric, 0) + sum(result["Values"])
    return counts


def target_groups(parameters: ServiceHealth, run: ScriptRun, arns: list[str]) -> Iterable[health.Part]:
    elb = run.read("elbv2")
    groups = {arn: arn.split("/")[1] for arn in arns if ":targetgroup/" in arn}
    requests: list[dict[str, Any]] = [{"LoadBalancerArn": arn} for arn in arns if ":loadbalancer/" in arn]
    requests += [{"Names": [name]} for name in called_so(parameters, r"[A-Za-z0-9-]{1,32}")]
    for request in requests:
        answer = asked(lambda r=request: elb.describe_target_groups(**r))  # type: ignore[misc]
        for row in (answer or {}).get("TargetGroups", []):
            groups[row["TargetGroupArn"]] = row["TargetGroupName"]
    for arn, name in sorted(groups.items(), key=lambda item: item[1]):
        yield health.target_group(name, elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"])


def databases(parameters: ServiceHealth, run: ScriptRun, arns: Iterable[str], denied: Denied) -> Iterable[health.Part]:
    rds = run.read("rds")
    names = {arn.split(":")[6] for arn in arns} | called_so(parameters, r"[A-Za-z][A-Za-z0-9-]{0,62}")
    for name in sorted(names):
        answer = asked(
            lambda n=name: rds.describe_db_instances(DBInstanceIdentifier=n),  # type: ignore[misc]
            denied,
            ("RDS instance", name),
        )
        for instance in (answer or {}).get("DBInstances", []):
            yield health.database(instance)


def alarms(parameters: ServiceHealth, run: ScriptRun, arns: Iterable[str]) -> Iterable[health.Part]:
    cloudwatch = run.read("cloudwatch")
    names = sorted(arn.split(":", 6)[6] for arn in arns)
    requests: list[dict[str, Any]] = [{"AlarmNamePrefix": parameters.service_name}]
    requests += [{"AlarmNames": names[start : start + 100]} for start in range(0, len(names), 100)]
    rows: dict[str, Any] = {}
    for request in requests:
        pages = cloudwatch.get_paginator("describe_alarms").paginate(
            **request, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for page in pages:
            for row in page.get("MetricAlarms", []) + page.get("CompositeAlarms", []):
                rows[row["AlarmName"]] = row
    return [health.alarm(row) for _, row in sorted(rows.items())]


def called_so(parameters: ServiceHealth, pattern: str) -> set[str]:
    """The service's name, where something of this kind could have it."""
    return {parameters.service_name} if re.fullmatch(pattern, parameters.service_name) else set()


def asked(call: Any, denied: Denied | None = None, part: tuple[str, str] = ("", "")) -> Any:
    """The answer; None where there is nothing, or the part may not be looked at, which is noted."""
    try:
        return call()
    except ClientError as error:
        if error_code(error) in _NOT_FOUND:
            return None
        if denied is not None and error_code(error) in _DENIED:
            denied[part] = error
            return None
        raise


def told(error: ClientError) -> str:
    return str(error.response["Error"].get("Message") or error_code(error))


script = Script("oncall-service-health", ServiceHealth, service_health, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
