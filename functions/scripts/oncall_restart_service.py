"""Restarts an ECS service: a new deployment of what it runs now, and waits until it is stable."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError, NotFoundError
from watchfloor.scripts import Parameters

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")]


class RestartService(Parameters):
    service_name: Name = Field(description="The ECS service to restart")
    cluster: Name = Field("default", description="The cluster it runs in")
    wait_seconds: int = Field(600, ge=0, le=840, description="How long to wait until it is stable; 0 does not wait")


def restart_service(parameters: RestartService, run: ScriptRun) -> dict[str, Any]:
    before = describe(parameters, run)
    if before["status"] != "ACTIVE":
        raise ConflictError(
            f"the service {parameters.service_name} is {before['status']}, so there is nothing to restart"
        )
    run.write("ecs").update_service(
        cluster=parameters.cluster, service=parameters.service_name, forceNewDeployment=True
    )
    after = run.wait_until(lambda: stable(describe(parameters, run)), parameters.wait_seconds)
    now = after or before
    return {
        "service_name": parameters.service_name,
        "task_definition": before["taskDefinition"],
        "desired_count": now["desiredCount"],
        "running_count": now["runningCount"],
        "is_stable": after is not None,
    }


def describe(parameters: RestartService, run: ScriptRun) -> dict[str, Any]:
    found = run.read("ecs").describe_services(cluster=parameters.cluster, services=[parameters.service_name])[
        "services"
    ]
    if not found:
        raise NotFoundError(f"there is no service {parameters.service_name} in the cluster {parameters.cluster}")
    return found[0]


def stable(service: dict[str, Any]) -> dict[str, Any] | None:
    """The service, once only the new deployment is left and runs all its tasks."""
    is_stable = len(service["deployments"]) == 1 and service["runningCount"] == service["desiredCount"]
    return service if is_stable else None


script = Script("oncall-restart-service", RestartService, restart_service, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
