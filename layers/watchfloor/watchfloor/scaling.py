"""Whether something may be scaled to a count, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from watchfloor.errors import ConflictError, DeadlineError, InvalidInputError
from watchfloor.rollouts import Rollout, RolloutError

# What automatic scaling sets, by its namespace.
DIMENSIONS = {"ecs": "ecs:service:DesiredCount", "lambda": "lambda:function:ProvisionedConcurrency"}


def check_bounds(name: str, count: int, most: int, *, allow_zero: bool) -> None:
    """What the stack allows at most, and no accidental 0."""
    if count > most:
        raise InvalidInputError(f"{name}: must be at most {most}, which the stack's parameter ScriptMaxCount says")
    if count == 0 and not allow_zero:
        raise InvalidInputError(f"{name}: 0 stops it; set allow_zero if that is meant")
    if count == 0 and name == "provisioned_concurrency":
        raise InvalidInputError(f"{name}: must be at least 1")


def check_has_count(service: Mapping[str, Any]) -> None:
    """Refuse an ECS service, as DescribeServices shows it, that cannot be told how many tasks to run."""
    name = service["serviceName"]
    if service["status"] != "ACTIVE":
        raise ConflictError(f"the service {name} is {service['status']}")
    if service.get("schedulingStrategy") == "DAEMON":
        raise ConflictError(f"the service {name} runs one task an instance; it has no count")


def autoscaling_note(
    resource: str, targets: Sequence[Mapping[str, Any]], count: int, *, allow_outside: bool
) -> str | None:
    """What automatic scaling makes of a count.

    Parameters
    ----------
    targets
        Of DescribeScalableTargets.
    allow_outside
        Whether a count outside of its bounds is let through.
    """
    if not targets:
        return None
    least, most = targets[0]["MinCapacity"], targets[0]["MaxCapacity"]
    if least <= count <= most:
        return f"keeps it between {least} and {most}, and may change it again"
    if not allow_outside:
        raise ConflictError(
            f"automatic scaling keeps {resource} between {least} and {most}, so {count} would not last; change these"
            " bounds, or set allow_outside_autoscaling"
        )
    return f"keeps it between {least} and {most}; {count} lasts until it scales next"


def tasks(last: Rollout, count: int, waited_seconds: int) -> dict[str, Any]:
    """The service's tasks as they run now; raises where they failed, or are not there after a wait."""
    if last.state == "FAILED":
        raise RolloutError(f"the service was told to run {count} tasks, but: {last}")
    if not last.is_over and waited_seconds:
        raise DeadlineError(f"the service is not there after {waited_seconds} s; ECS goes on: {last}")
    return {
        "running_count": last.running_count,
        "events": list(last.events),
        "is_stable": last.state == "COMPLETED",
    }


def is_provisioned(found: Mapping[str, Any]) -> bool:
    """Whether Lambda is done, one way or the other, by what GetProvisionedConcurrencyConfig says."""
    return found.get("Status") != "IN_PROGRESS"


def provisioned(found: Mapping[str, Any], count: int, waited_seconds: int) -> dict[str, Any]:
    """How the environments stand; raises where they could not be provisioned, or are not there after a wait."""
    if found.get("Status") == "FAILED":
        raise RolloutError(f"Lambda could not provision {count}: {found.get('StatusReason', 'no reason given')}")
    if not is_provisioned(found) and waited_seconds:
        available = found.get("AvailableProvisionedConcurrentExecutions", 0)
        raise DeadlineError(f"after {waited_seconds} s {available} of {count} are there; Lambda goes on")
    return {"status": found.get("Status")}
