"""Scales an ECS service, or a Lambda function's reserved or provisioned concurrency, within bounds."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field, model_validator

from watchfloor.clients.aws import error_code
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError, DeadlineError, InvalidInputError, NotFoundError
from watchfloor.rollouts import RolloutError, primary, rollout
from watchfloor.scripts import Parameters

ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Count = Annotated[int, Field(ge=0, le=100_000)]
LOOK_EVERY_SECONDS = 2


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
        wanted = [
            name
            for name in ("desired_count", "reserved_concurrency", "provisioned_concurrency")
            if getattr(self, name) is not None
        ]
        if len(wanted) != 1:
            raise ValueError("give one of desired_count, reserved_concurrency and provisioned_concurrency")
        target = "service_name" if wanted == ["desired_count"] else "function_name"
        other = "function_name" if target == "service_name" else "service_name"
        if getattr(self, target) is None or getattr(self, other) is not None:
            raise ValueError(f"{wanted[0]} goes with {target}, and not with {other}")
        if (self.alias is not None) != (wanted == ["provisioned_concurrency"]):
            raise ValueError("alias goes with provisioned_concurrency")
        return self


def scale_service(parameters: ScaleService, run: ScriptRun) -> dict[str, Any]:
    if parameters.desired_count is not None:
        return scale_tasks(parameters, run, parameters.desired_count)
    if parameters.reserved_concurrency is not None:
        return reserve(parameters, run, parameters.reserved_concurrency)
    assert parameters.provisioned_concurrency is not None
    return provision(parameters, run, parameters.provisioned_concurrency)


def scale_tasks(parameters: ScaleService, run: ScriptRun, count: int) -> dict[str, Any]:
    check_bounds(parameters, run, "desired_count", count)
    service = describe(parameters, run)
    if service["status"] != "ACTIVE":
        raise ConflictError(f"the service {parameters.service_name} is {service['status']}")
    if service.get("schedulingStrategy") == "DAEMON":
        raise ConflictError(f"the service {parameters.service_name} runs one task an instance; it has no count")
    where = f"service/{parameters.cluster}/{parameters.service_name}"
    note = check_autoscaling(parameters, run, "ecs", where, "ecs:service:DesiredCount", count)
    about = {
        "service_name": parameters.service_name,
        "cluster": parameters.cluster,
        "from_count": service["desiredCount"],
        "to_count": count,
        "autoscaling": note,
    }
    if service["desiredCount"] == count:
        return {**about, "running_count": service["runningCount"]}
    run.write("ecs").update_service(cluster=parameters.cluster, service=parameters.service_name, desiredCount=count)
    if run.dry_run:
        return about
    return {**about, **follow_tasks(parameters, run, primary(service)["id"])}


def follow_tasks(parameters: ScaleService, run: ScriptRun, deployment_id: str) -> dict[str, Any]:
    seen = []

    def look() -> bool:
        seen.append(rollout(describe(parameters, run), deployment_id))
        return seen[-1].state != "IN_PROGRESS"

    run.wait_until(look, parameters.wait_seconds, every_seconds=LOOK_EVERY_SECONDS)
    last = seen[-1]
    if last.state == "FAILED":
        raise RolloutError(f"the service was told to run {parameters.desired_count} tasks, but: {last}")
    if last.state == "IN_PROGRESS" and parameters.wait_seconds:
        raise DeadlineError(f"the service is not there after {parameters.wait_seconds} s; ECS goes on: {last}")
    return {"running_count": last.running_count, "events": list(last.events), "is_stable": last.state == "COMPLETED"}


def reserve(parameters: ScaleService, run: ScriptRun, count: int) -> dict[str, Any]:
    check_bounds(parameters, run, "reserved_concurrency", count)
    functions, name = run.read("lambda"), parameters.function_name
    before = functions.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
    about = {"function_name": name, "from_reserved": before, "to_reserved": count}
    if before == count:
        return about
    run.write("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=count)
    return about


def provision(parameters: ScaleService, run: ScriptRun, count: int) -> dict[str, Any]:
    check_bounds(parameters, run, "provisioned_concurrency", count)
    if count == 0:
        raise InvalidInputError("provisioned_concurrency: must be at least 1")
    name, alias = parameters.function_name, parameters.alias
    before = provisioned(parameters, run)
    where = f"function:{name}:{alias}"
    note = check_autoscaling(parameters, run, "lambda", where, "lambda:function:ProvisionedConcurrency", count)
    was = before.get("RequestedProvisionedConcurrentExecutions")
    about = {
        "function_name": name,
        "alias": alias,
        "from_provisioned": was,
        "to_provisioned": count,
        "autoscaling": note,
    }
    if was == count:
        return {**about, "status": before["Status"]}
    run.write("lambda").put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=alias, ProvisionedConcurrentExecutions=count
    )
    if run.dry_run:
        return about
    seen: list[dict[str, Any]] = []

    def look() -> bool:
        seen.append(provisioned(parameters, run))
        return seen[-1].get("Status") != "IN_PROGRESS"

    run.wait_until(look, parameters.wait_seconds, every_seconds=LOOK_EVERY_SECONDS)
    last = seen[-1]
    if last.get("Status") == "FAILED":
        raise RolloutError(f"Lambda could not provision {count}: {last.get('StatusReason', 'no reason given')}")
    if last.get("Status") == "IN_PROGRESS" and parameters.wait_seconds:
        available = last.get("AvailableProvisionedConcurrentExecutions", 0)
        raise DeadlineError(f"after {parameters.wait_seconds} s {available} of {count} are there; Lambda goes on")
    return {**about, "status": last.get("Status")}


def check_bounds(parameters: ScaleService, run: ScriptRun, name: str, count: int) -> None:
    """What the stack allows at most, and no accidental 0."""
    most = int(run.settings["MAX_COUNT"])
    if count > most:
        raise InvalidInputError(f"{name}: must be at most {most}, which the stack's parameter ScriptMaxCount says")
    if count == 0 and not parameters.allow_zero:
        raise InvalidInputError(f"{name}: 0 stops it; set allow_zero if that is meant")


def check_autoscaling(
    parameters: ScaleService, run: ScriptRun, namespace: str, resource: str, dimension: str, count: int
) -> str | None:
    """What automatic scaling makes of it; a count outside of its bounds is refused unless said otherwise."""
    found = run.read("application-autoscaling").describe_scalable_targets(
        ServiceNamespace=namespace, ResourceIds=[resource], ScalableDimension=dimension
    )["ScalableTargets"]
    if not found:
        return None
    least, most = found[0]["MinCapacity"], found[0]["MaxCapacity"]
    if least <= count <= most:
        return f"keeps it between {least} and {most}, and may change it again"
    if not parameters.allow_outside_autoscaling:
        raise ConflictError(
            f"automatic scaling keeps {resource} between {least} and {most}, so {count} would not last; change these"
            " bounds, or set allow_outside_autoscaling"
        )
    return f"keeps it between {least} and {most}; {count} lasts until it scales next"


def describe(parameters: ScaleService, run: ScriptRun) -> dict[str, Any]:
    found = run.read("ecs").describe_services(cluster=parameters.cluster, services=[parameters.service_name])[
        "services"
    ]
    if not found:
        raise NotFoundError(f"there is no service {parameters.service_name} in the cluster {parameters.cluster}")
    return found[0]


def provisioned(parameters: ScaleService, run: ScriptRun) -> dict[str, Any]:
    """The alias' configuration, empty where nothing is provisioned."""
    try:
        return run.read("lambda").get_provisioned_concurrency_config(
            FunctionName=parameters.function_name, Qualifier=parameters.alias
        )
    except ClientError as error:
        if error_code(error) == "ProvisionedConcurrencyConfigNotFoundException":
            return {}
        raise


script = Script("oncall-scale-service", ScaleService, scale_service, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
