"""ECS: deployments that take a moment, tasks that stop when a test wants it, and the events that tell of both.

Without Docker MiniStack's tasks run the moment they are made, and a deployment has ended before its request is answered.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

from ministack.core.responses import new_uuid
from ministack.services import ecs

from local.cloud import anchors
from local.cloud.overlay import faults

STEADY_SECONDS = 0.7
STOP_SECONDS = 0.1


def install() -> None:
    complete = anchors.replace(
        "services.ecs:_complete_service_deployment",
        lambda cluster, key, deployment_id=None: _later(
            STEADY_SECONDS, lambda: _complete(complete, cluster, key, deployment_id)
        ),
    )
    run_task = anchors.replace("services.ecs:_run_task", lambda request: _run_task(run_task, request))


def _complete(complete: Any, cluster: str, key: str, deployment_id: str | None) -> None:
    service = ecs._services.get(key)
    before = ecs._primary_deployment(service) if service else None
    was = before["rolloutState"] if before else None
    complete(cluster, key, deployment_id)
    if service and before and was == "IN_PROGRESS" and before["rolloutState"] == "COMPLETED":
        _tell(service, f"(deployment {before['id']}) deployment completed.")
        _tell(service, "has reached a steady state.")


def _run_task(run_task: Any, request: dict[str, Any]) -> Any:
    answer = run_task(request)
    kind, _, name = request.get("group", "").partition(":")
    if kind != "service":
        return answer
    cluster = ecs._resolve_cluster_name(request.get("cluster", "default"))
    service = ecs._services.get(f"{cluster}/{name}")
    started = [
        (arn, task)
        for arn, task in list(ecs._tasks.items())
        if task.get("_deployment_id") == request.get("_deploymentId") and not task.get("_told")
    ]
    for arn, task in started:
        task["_told"] = True
        if service:
            _tell(service, f"has started 1 tasks: (task {arn.rpartition('/')[2]}).")
        if faults.take_task(name):
            task["_startup_stable"] = False
            _later(STOP_SECONDS, lambda arn=arn, task=task: _stop(arn, task, service))  # type: ignore[misc]
    return answer


def _stop(arn: str, task: dict[str, Any], service: dict[str, Any] | None) -> None:
    if service:
        _tell(service, f"was unable to keep a task running: (task {arn.rpartition('/')[2]}) stopped.")
    ecs._mark_task_stopped(arn, task, "Essential container in task exited", "EssentialContainerExited", 1)


def _tell(service: dict[str, Any], message: str) -> None:
    text = f"(service {service['serviceName']}) {message}"
    service["events"].insert(0, {"id": new_uuid(), "createdAt": ecs._iso(), "message": text})


def _later(seconds: float, work: Callable[[], Any]) -> None:
    def run() -> None:
        time.sleep(seconds)
        work()

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True, name="ecs").start()
