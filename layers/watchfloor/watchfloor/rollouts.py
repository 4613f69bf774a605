"""What ECS tells of a service's deployments: whether one has settled, failed, or still goes on.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from watchfloor.errors import ConflictError, WatchfloorError

MAX_EVENTS = 8


class RolloutError(WatchfloorError):
    """The new tasks did not become healthy."""


@dataclass(frozen=True)
class Rollout:
    """A deployment as it stands.

    Attributes
    ----------
    state
        COMPLETED (only it is left, and it runs all its tasks), FAILED (given up, or replaced by another deployment),
        or IN_PROGRESS.
    reason
        ECS's own, or why it counts as failed.
    events
        The service's messages since the deployment began, the newest first.
    """

    state: str
    reason: str
    deployment_id: str
    desired_count: int
    running_count: int
    failed_task_count: int
    events: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        """Done or given up."""
        return self.state != "IN_PROGRESS"

    def to_dict(self) -> dict[str, Any]:
        return {
            "deployment_id": self.deployment_id,
            "rollout_state": self.state,
            "rollout_reason": self.reason,
            "desired_count": self.desired_count,
            "running_count": self.running_count,
            "failed_task_count": self.failed_task_count,
            "events": list(self.events),
        }

    def __str__(self) -> str:
        counts = f"{self.running_count} of {self.desired_count} tasks run, {self.failed_task_count} failed"
        told = f"; last event: {self.events[0]}" if self.events else ""
        return f"{self.state}{f' ({self.reason})' if self.reason else ''}, {counts}{told}"


def primary(service: Mapping[str, Any]) -> dict[str, Any]:
    """The deployment that the service is to run."""
    return next((row for row in service["deployments"] if row["status"] == "PRIMARY"), {})


def check_restart(service: Mapping[str, Any], *, replace: bool) -> None:
    """Refuse a service that a new deployment would not help, or, unless it may be replaced, would make worse."""
    name = service["serviceName"]
    if service["status"] != "ACTIVE":
        raise ConflictError(f"the service {name} is {service['status']}, so there is nothing to restart")
    if service["desiredCount"] == 0:
        raise ConflictError(f"the service {name} is scaled to 0 tasks, so there is nothing to restart")
    controller = service.get("deploymentController", {}).get("type", "ECS")
    if controller != "ECS":
        raise ConflictError(f"deployments of {name} are made by {controller}; restart it there")
    now = primary(service)
    if now.get("rolloutState") == "IN_PROGRESS" and not replace:
        raise ConflictError(
            f"the deployment {now['id']} of {name} is still going on; wait for it, or set replace_deployment"
        )


def rollout(service: Mapping[str, Any], deployment_id: str) -> Rollout:
    """How a deployment of the service, as DescribeServices shows it, stands."""
    deployment = next((row for row in service["deployments"] if row["id"] == deployment_id), None)
    current = primary(service)
    state, reason = "IN_PROGRESS", ""
    if deployment is None or deployment.get("rolloutState") == "FAILED":
        state = "FAILED"
        reason = (deployment or {}).get("rolloutStateReason") or f"replaced by the deployment {current.get('id', '-')}"
    elif deployment["status"] != "PRIMARY":
        state, reason = "FAILED", f"replaced by the deployment {current.get('id', '-')}"
    else:
        reason = deployment.get("rolloutStateReason", "")
        # Blue/green and external controllers know no rolloutState.
        is_done = deployment.get("rolloutState", "COMPLETED") == "COMPLETED" and len(service["deployments"]) == 1
        if is_done and service["runningCount"] == service["desiredCount"]:
            state = "COMPLETED"
    return Rollout(
        state,
        reason,
        deployment_id,
        service["desiredCount"],
        service["runningCount"],
        (deployment or {}).get("failedTasks", 0),
        events_since(service, (deployment or current).get("createdAt")),
    )


def events_since(service: Mapping[str, Any], since: dt.datetime | None) -> tuple[str, ...]:
    """The service's last messages, the newest first."""
    rows = [row for row in service.get("events", []) if since is None or row["createdAt"] >= since]
    return tuple(row["message"] for row in rows[:MAX_EVENTS])
