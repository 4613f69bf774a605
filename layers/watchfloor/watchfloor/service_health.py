"""A service's health, by what AWS tells of its parts.

Each part has a verdict with reasons. A service is as healthy as its worst part; a part that says nothing either way
(unknown) counts only where all of them do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from watchfloor.rollouts import MAX_EVENTS, primary

Verdict = Literal["healthy", "degraded", "down", "unknown"]
_WORST_FIRST: tuple[Verdict, ...] = ("down", "degraded", "healthy")

# What a tag is looked for on.
KINDS = (
    "ecs:service",
    "lambda:function",
    "elasticloadbalancing:targetgroup",
    "elasticloadbalancing:loadbalancer",
    "rds:db",
    "cloudwatch:alarm",
)
# Of a function.
METRICS = {name: (name, "Sum") for name in ("Invocations", "Errors", "Throttles")}
MAX_PARTS = 100

# Share of failed invocations from which a function counts as degraded, and as down.
DEGRADED_ERROR_RATE = 0.05
DOWN_ERROR_RATE = 0.9

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html
_DATABASE_UP = (
    "available",
    "backing-up",
    "configuring-enhanced-monitoring",
    "configuring-iam-database-auth",
    "configuring-log-exports",
    "storage-config-upgrade",
    "storage-initialization",
    "storage-optimization",
)
_DATABASE_DOWN = (
    "creating",
    "deleting",
    "failed",
    "restore-error",
    "starting",
    "stopped",
    "stopping",
    "storage-full",
)


@dataclass(frozen=True)
class Part:
    """One resource of a service."""

    kind: str
    name: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "name": self.name,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "facts": self.facts,
        }


@dataclass(frozen=True)
class Places:
    """Where a service's parts are looked for: those of its tag, and those that are called as it is.

    Attributes
    ----------
    ecs_services
        Cluster and name.
    target_groups, load_balancers
        ARNs.
    target_group_name
        Of one that is called as the service is; None where none can be called so.
    """

    ecs_services: list[tuple[str, str]]
    functions: list[str]
    target_groups: list[str]
    load_balancers: list[str]
    target_group_name: str | None
    databases: list[str]
    alarms: list[str]


def places(arns: Iterable[str], service_name: str, cluster: str) -> Places:
    """From the ARNs of what carries the service's tag; `cluster` is where an ECS service of its name is looked for."""
    tagged: dict[str, list[str]] = {kind.partition(":")[0]: [] for kind in KINDS}
    for arn in arns:
        tagged.setdefault(arn.split(":")[2], []).append(arn)

    def named(kind: str, pattern: str) -> list[str]:
        own = [service_name] if re.fullmatch(pattern, service_name) else []
        return sorted({*own, *(arn.split(":")[6] for arn in tagged[kind])})

    # arn:...:service/<cluster>/<name>; those made long ago have no cluster in it, and are asked for by name only.
    services = {(arn.split("/")[1], arn.split("/")[2]) for arn in tagged["ecs"] if arn.count("/") == 2}
    balancing = tagged["elasticloadbalancing"]
    return Places(
        sorted(services | {(cluster, service_name)}),
        named("lambda", r"[A-Za-z0-9_-]{1,64}"),
        [arn for arn in balancing if ":targetgroup/" in arn],
        [arn for arn in balancing if ":loadbalancer/" in arn],
        service_name if re.fullmatch(r"[A-Za-z0-9-]{1,32}", service_name) else None,
        named("rds", r"[A-Za-z][A-Za-z0-9-]{0,62}"),
        sorted(arn.split(":", 6)[6] for arn in tagged["cloudwatch"]),
    )


def report(service_name: str, parts: Sequence[Part], unseen: Sequence[Part]) -> dict[str, Any]:
    """A service by its parts; `unseen` are those that may not be looked at."""
    verdict = overall(parts)
    return {
        "verdict": verdict,
        "reasons": [*reasons(parts, verdict), *reasons(unseen, "unknown")],
        "service_name": service_name,
        "parts": [part.to_dict() for part in [*parts, *unseen][:MAX_PARTS]],
        "part_count": len(parts) + len(unseen),
    }


def overall(parts: Sequence[Part]) -> Verdict:
    """The worst verdict of all parts that know theirs."""
    found = {part.verdict for part in parts}
    return next((verdict for verdict in _WORST_FIRST if verdict in found), "unknown")


def reasons(parts: Sequence[Part], verdict: Verdict) -> list[str]:
    """Why the service is as it is: what is down first, then what is degraded."""
    if verdict in ("healthy", "unknown"):
        return [
            f"{part.kind} {part.name}: {reason}" for part in parts for reason in part.reasons if verdict == "unknown"
        ]
    bad = sorted(
        (part for part in parts if part.verdict in ("down", "degraded")), key=lambda part: part.verdict != "down"
    )
    return [f"{part.kind} {part.name}: {reason}" for part in bad for reason in part.reasons]


def hidden(kind: str, name: str, why: str) -> Part:
    """A part that may be there, and may not be looked at."""
    return Part(kind, name, "unknown", (f"may not be looked at: {why}",), {"is_hidden": True})


def ecs_service(service: Mapping[str, Any]) -> Part:
    """Of DescribeServices."""
    desired, running = service["desiredCount"], service["runningCount"]
    deployment = primary(service)
    state = deployment.get("rolloutState", "")
    why: list[str] = []
    verdict: Verdict = "healthy"
    if service["status"] != "ACTIVE":
        verdict = "down"
        why.append(f"is {service['status'].lower()}")
    elif desired == 0:
        verdict = "down"
        why.append("is scaled to 0 tasks")
    elif running == 0:
        verdict = "down"
        why.append(f"none of {desired} tasks runs")
    elif running < desired:
        verdict = "degraded"
        why.append(f"{running} of {desired} tasks run")
    if state == "FAILED":
        verdict = "down" if verdict == "down" else "degraded"
        why.append(f"the last deployment failed: {deployment.get('rolloutStateReason', 'no reason given')}")
    elif state == "IN_PROGRESS":
        why.append("a deployment is going on")
        if deployment.get("failedTasks"):
            verdict = "down" if verdict == "down" else "degraded"
            why.append(f"{deployment['failedTasks']} tasks of the deployment failed")
    facts = {
        "desired": desired,
        "running": running,
        "pending": service.get("pendingCount", 0),
        "deployments": len(service["deployments"]),
        "task_definition": service["taskDefinition"].rpartition("/")[2],
        "events": [row["message"] for row in service.get("events", [])[:MAX_EVENTS]],
    }
    return Part("ECS service", service["serviceName"], verdict, tuple(why), facts)


def function(configuration: Mapping[str, Any], reserved: int | None, counts: Mapping[str, Sequence[float]]) -> Part:
    """Of GetFunctionConfiguration; `counts` are METRICS of the last minutes."""
    invocations, errors, throttles = (sum(counts.get(name, ())) for name in METRICS)
    rate = errors / invocations if invocations else 0.0
    why: list[str] = []
    verdict: Verdict = "healthy" if invocations else "unknown"
    if configuration.get("State") == "Failed":
        verdict = "down"
        why.append(f"cannot be called: {configuration.get('StateReason', 'its state is Failed')}")
    if reserved == 0:
        verdict = "down"
        why.append("its reserved concurrency is 0, so every call is throttled")
    if invocations and rate >= DOWN_ERROR_RATE:
        verdict = "down"
    elif verdict != "down" and (rate >= DEGRADED_ERROR_RATE or throttles):
        verdict = "degraded"
    if rate >= DEGRADED_ERROR_RATE:
        why.append(f"{errors:.0f} of {invocations:.0f} calls failed")
    if throttles:
        why.append(f"{throttles:.0f} calls were throttled")
    if configuration.get("LastUpdateStatus") == "Failed":
        verdict = "down" if verdict == "down" else "degraded"
        why.append(f"the last update failed: {configuration.get('LastUpdateStatusReason', 'no reason given')}")
    if verdict == "unknown":
        why.append("was not called lately")
    facts = {
        "invocations": round(invocations),
        "errors": round(errors),
        "throttles": round(throttles),
        "reserved_concurrency": reserved,
        "last_modified": configuration.get("LastModified"),
    }
    return Part("Lambda function", configuration["FunctionName"], verdict, tuple(why), facts)


def target_group(name: str, targets: Iterable[Mapping[str, Any]]) -> Part:
    """Of DescribeTargetHealth."""
    states: dict[str, int] = {}
    sick: list[str] = []
    for target in targets:
        health = target["TargetHealth"]
        states[health["State"]] = states.get(health["State"], 0) + 1
        if health["State"] == "unhealthy":
            sick.append(f"{target['Target']['Id']} ({health.get('Description') or health.get('Reason', 'no reason')})")
    # Those that leave are no loss; a group that no listener uses is not looked after.
    counted = sum(count for state, count in states.items() if state not in ("draining", "unused"))
    healthy = states.get("healthy", 0)
    why: tuple[str, ...] = ()
    verdict: Verdict = "healthy"
    if not states:
        verdict, why = "down", ("has no targets",)
    elif not counted:
        verdict, why = "unknown", ("its targets are not in use",)
    elif healthy < counted:
        verdict = "degraded" if healthy else "down"
        named = f": {', '.join(sick[:5])}" if sick else ""
        why = (f"{healthy} of {counted} targets are healthy{named}",)
    return Part("target group", name, verdict, why, {"targets": states})


def database(instance: Mapping[str, Any]) -> Part:
    """Of DescribeDBInstances."""
    status = instance["DBInstanceStatus"]
    verdict: Verdict = "degraded"
    if status in _DATABASE_UP:
        verdict = "healthy"
    elif status in _DATABASE_DOWN or status.startswith(("incompatible-", "inaccessible-")):
        verdict = "down"
    facts = {"status": status, "engine": instance.get("Engine"), "multi_az": instance.get("MultiAZ")}
    why = () if verdict == "healthy" else (f"is {status}",)
    return Part("RDS instance", instance["DBInstanceIdentifier"], verdict, why, facts)


def alarm(description: Mapping[str, Any]) -> Part:
    """Of DescribeAlarms, metric or composite."""
    state, silent = description["StateValue"], not description["ActionsEnabled"]
    verdicts: dict[str, Verdict] = {"OK": "healthy", "ALARM": "degraded"}
    why = []
    if state == "ALARM":
        why.append(f"rings: {description.get('StateReason', 'no reason given')}")
    elif state != "OK":
        why.append("has no data")
    if silent:
        why.append("is silenced")
    facts = {
        "state": state,
        "since": str(description.get("StateTransitionedTimestamp") or description.get("StateUpdatedTimestamp") or ""),
        "silent": silent,
    }
    return Part("alarm", description["AlarmName"], verdicts.get(state, "unknown"), tuple(why), facts)
