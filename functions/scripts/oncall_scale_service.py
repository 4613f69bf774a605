"""Scales an ECS service, or a Lambda function's reserved or provisioned concurrency, within bounds."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, model_validator

from watchfloor import scaling
from watchfloor.clients.ecs_services import EcsServices
from watchfloor.clients.lambda_functions import Concurrency
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.rollouts import primary, rollout
from watchfloor.scripts import Parameters

ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Count = Annotated[int, Field(ge=0, le=100_000)]


class ScaleService(Parameters):
    service_name: ServiceName | None = Field(None, description="The ECS service, with desired_count")
    cluster: ServiceName = Field("default", description="The cluster it runs in")
    desired_count: Count | None = Field(None, description="Tasks the service is to run")
    function_name: FunctionName | None = Field(None, description="The Lambda function, with one of the two below")
    reserved_concurrency: Count | None = Field(None, description="Concurrent executions kept for it, and its limit")
    provisioned_concurrency: Count | None = Field(None, description="Environments kept warm for its alias")
    alias: Alias | None = Field(None, description="The alias (or version) that provisioned_concurrency is for")
    allow_zero: bool = Field(False, description="Scale to 0, which stops the service")
    allow_outside_autoscaling: bool = Field(
        False, description="Leave the bounds of automatic scaling, which may undo it"
    )
    wait_seconds: int = Field(300, ge=0, le=840, description="How long to wait until it is so; 0 does not wait")

    @model_validator(mode="after")
    def one_thing(self) -> ScaleService:
        wanted = self.wanted
        if len(wanted) != 1:
            raise ValueError("give one of desired_count, reserved_concurrency and provisioned_concurrency")
        names = ("service_name", "function_name")
        target, other = names if wanted == ["desired_count"] else reversed(names)
        if getattr(self, target) is None or getattr(self, other) is not None:
            raise ValueError(f"{wanted[0]} goes with {target}, and not with {other}")
        if (self.alias is not None) != (wanted == ["provisioned_concurrency"]):
            raise ValueError("alias goes with provisioned_concurrency")
        return self

    @property
    def wanted(self) -> list[str]:
        names = ("desired_count", "reserved_concurrency", "provisioned_concurrency")
        return [name for name in names if getattr(self, name) is not None]


def scale_service(parameters: ScaleService, run: ScriptRun) -> dict[str, Any]:
    (wanted,) = parameters.wanted
    count = getattr(parameters, wanted)
    scaling.check_bounds(wanted, count, int(run.settings["MAX_COUNT"]), allow_zero=parameters.allow_zero)
    if wanted == "desired_count":
        return scale_tasks(parameters, run, count)
    if wanted == "reserved_concurrency":
        return reserve(parameters, run, count)
    return provision(parameters, run, count)


def scale_tasks(parameters: ScaleService, run: ScriptRun, count: int) -> dict[str, Any]:
    services, cluster, name = EcsServices(run.read("ecs")), parameters.cluster, parameters.service_name or ""
    service = services.find(cluster, name)
    scaling.check_has_count(service)
    note = autoscaling(parameters, run, "ecs", f"service/{cluster}/{name}", count)
    was = service["desiredCount"]
    about = {"service_name": name, "cluster": cluster, "from_count": was, "to_count": count, "autoscaling": note}
    if was == count:
        return {**about, "running_count": service["runningCount"]}
    run.write("ecs").update_service(cluster=cluster, service=name, desiredCount=count)
    if run.dry_run:
        return about
    last = run.follow(
        lambda: rollout(services.find(cluster, name), primary(service)["id"]),
        lambda seen: seen.is_over,
        parameters.wait_seconds,
    )
    return {**about, **scaling.tasks(last, count, parameters.wait_seconds)}


def reserve(parameters: ScaleService, run: ScriptRun, count: int) -> dict[str, Any]:
    name = parameters.function_name or ""
    before = Concurrency(run.read("lambda")).reserved(name)
    if before != count:
        run.write("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=count)
    return {"function_name": name, "from_reserved": before, "to_reserved": count}


def provision(parameters: ScaleService, run: ScriptRun, count: int) -> dict[str, Any]:
    concurrency, name, alias = Concurrency(run.read("lambda")), parameters.function_name or "", parameters.alias or ""
    before = concurrency.provisioned(name, alias)
    was = before.get("RequestedProvisionedConcurrentExecutions")
    note = autoscaling(parameters, run, "lambda", f"function:{name}:{alias}", count)
    asked = {"from_provisioned": was, "to_provisioned": count, "autoscaling": note}
    about = {"function_name": name, "alias": alias, **asked}
    if was == count:
        return {**about, "status": before["Status"]}
    run.write("lambda").put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=alias, ProvisionedConcurrentExecutions=count
    )
    if run.dry_run:
        return about
    last = run.follow(lambda: concurrency.provisioned(name, alias), scaling.is_provisioned, parameters.wait_seconds)
    return {**about, **scaling.provisioned(last, count, parameters.wait_seconds)}


def autoscaling(parameters: ScaleService, run: ScriptRun, namespace: str, resource: str, count: int) -> str | None:
    targets = run.read("application-autoscaling").describe_scalable_targets(
        ServiceNamespace=namespace, ResourceIds=[resource], ScalableDimension=scaling.DIMENSIONS[namespace]
    )["ScalableTargets"]
    return scaling.autoscaling_note(resource, targets, count, allow_outside=parameters.allow_outside_autoscaling)


script = Script("oncall-scale-service", ScaleService, scale_service, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
