"""Restarts an ECS service: a new deployment of what it runs now, followed until it is stable or given up."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.ecs_services import EcsServices
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import DeadlineError
from watchfloor.rollouts import RolloutError, check_restart, primary, rollout
from watchfloor.scripts import Parameters

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]


class RestartService(Parameters):
    service_name: Name = Field(description="The ECS service to restart")
    cluster: Name = Field("default", description="The cluster it runs in")
    wait_seconds: int = Field(600, ge=0, le=840, description="How long to wait until it is stable; 0 does not wait")
    replace_deployment: bool = Field(False, description="Restart although a deployment is still going on")


def restart_service(parameters: RestartService, run: ScriptRun) -> dict[str, Any]:
    services = EcsServices(run.read("ecs"))
    before = services.find(parameters.cluster, parameters.service_name)
    check_restart(before, replace=parameters.replace_deployment)
    answer = run.write("ecs").update_service(
        cluster=parameters.cluster, service=parameters.service_name, forceNewDeployment=True
    )
    about = {
        "service_name": parameters.service_name,
        "cluster": parameters.cluster,
        "task_definition": before["taskDefinition"],
        "replaces": primary(before).get("id"),
    }
    if run.dry_run:
        return {**about, "desired_count": before["desiredCount"], "running_count": before["runningCount"]}
    deployment_id = primary(answer["service"])["id"]
    last = run.follow(
        lambda: rollout(services.find(parameters.cluster, parameters.service_name), deployment_id),
        lambda seen: seen.is_over,
        parameters.wait_seconds,
    )
    if last.state == "FAILED":
        raise RolloutError(f"the restart of {parameters.service_name} failed, deployment {deployment_id}: {last}")
    if not last.is_over and parameters.wait_seconds:
        raise DeadlineError(
            f"{parameters.service_name} was restarted (deployment {deployment_id}), but is not stable after "
            f"{parameters.wait_seconds} s; ECS goes on: {last}"
        )
    return {**about, **last.to_dict(), "is_stable": last.state == "COMPLETED"}


script = Script("oncall-restart-service", RestartService, restart_service, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
