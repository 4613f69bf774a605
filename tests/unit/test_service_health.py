import pytest

from watchfloor import service_health as health
from watchfloor.service_health import Part


def part(verdict, *reasons):
    return Part("thing", f"{verdict}-one", verdict, reasons)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["healthy", "healthy"], "healthy"),
        (["healthy", "unknown"], "healthy"),
        (["healthy", "degraded", "unknown"], "degraded"),
        (["degraded", "down", "healthy"], "down"),
        (["unknown", "unknown"], "unknown"),
        ([], "unknown"),
    ],
)
def test_a_service_is_as_healthy_as_its_worst_part_that_is_known(verdicts, expected):
    assert health.overall([part(verdict) for verdict in verdicts]) == expected


def test_reasons_name_what_is_down_first_and_leave_out_what_is_well():
    parts = [part("healthy", "fine"), part("degraded", "slow"), part("unknown", "idle"), part("down", "gone")]
    assert health.reasons(parts, "down") == ["thing down-one: gone", "thing degraded-one: slow"]
    assert health.reasons([part("unknown", "idle")], "unknown") == ["thing unknown-one: idle"]
    assert health.reasons([part("healthy", "a deployment is going on")], "healthy") == []


def ecs(desired=2, running=2, status="ACTIVE", **deployment):
    return {
        "serviceName": "checkout",
        "status": status,
        "desiredCount": desired,
        "runningCount": running,
        "deployments": [{"id": "d", "status": "PRIMARY", "rolloutState": "COMPLETED", **deployment}],
        "taskDefinition": "arn:aws:ecs:eu-west-1:1:task-definition/checkout:7",
        "events": [{"message": "steady"}],
    }


@pytest.mark.parametrize(
    ("described", "verdict", "says"),
    [
        (ecs(), "healthy", ""),
        (ecs(running=1), "degraded", "1 of 2 tasks run"),
        (ecs(running=0), "down", "none of 2"),
        (ecs(desired=0, running=0), "down", "scaled to 0"),
        (ecs(status="DRAINING"), "down", "draining"),
        (ecs(rolloutState="FAILED", rolloutStateReason="breaker"), "degraded", "breaker"),
        (ecs(running=0, rolloutState="FAILED"), "down", "failed"),
        (ecs(rolloutState="IN_PROGRESS"), "healthy", "going on"),
        (ecs(rolloutState="IN_PROGRESS", failedTasks=2), "degraded", "2 tasks"),
    ],
)
def test_ecs_service(described, verdict, says):
    found = health.ecs_service(described)
    assert found.verdict == verdict
    assert says in "; ".join(found.reasons)
    assert found.facts["task_definition"] == "checkout:7"


@pytest.mark.parametrize(
    ("configuration", "reserved", "counts", "verdict", "says"),
    [
        ({}, None, {"Invocations": 100, "Errors": 1}, "healthy", ""),
        ({}, 5, {"Invocations": 100, "Errors": 5}, "degraded", "5 of 100 calls failed"),
        ({}, None, {"Invocations": 10, "Errors": 9}, "down", "9 of 10"),
        ({}, None, {"Invocations": 10, "Throttles": 2}, "degraded", "2 calls were throttled"),
        ({}, None, {}, "unknown", "was not called"),
        ({}, None, {"Throttles": 3}, "degraded", "throttled"),
        ({}, 0, {}, "down", "reserved concurrency is 0"),
        ({"State": "Failed", "StateReason": "no image"}, None, {}, "down", "no image"),
        ({"LastUpdateStatus": "Failed"}, None, {"Invocations": 3}, "degraded", "last update failed"),
    ],
)
def test_function(configuration, reserved, counts, verdict, says):
    values = {name: [1, count - 1] for name, count in counts.items()}
    found = health.function({"FunctionName": "orders", **configuration}, reserved, values)
    assert found.verdict == verdict
    assert says in "; ".join(found.reasons)


def targets(**counts):
    return [
        {"Target": {"Id": f"10.0.0.{number}"}, "TargetHealth": {"State": state, "Reason": "Target.Timeout"}}
        for state, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("found", "verdict", "says"),
    [
        (targets(healthy=2), "healthy", ""),
        (targets(healthy=1, unhealthy=1), "degraded", "1 of 2 targets are healthy: 10.0.0.0 (Target.Timeout)"),
        (targets(unhealthy=2), "down", "0 of 2"),
        (targets(healthy=1, initial=1), "degraded", "1 of 2"),
        (targets(healthy=1, draining=3), "healthy", ""),
        (targets(unused=1), "unknown", "not in use"),
        ([], "down", "no targets"),
    ],
)
def test_target_group(found, verdict, says):
    group = health.target_group("web", found)
    assert group.verdict == verdict
    assert says in "; ".join(group.reasons)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("available", "healthy"),
        ("backing-up", "healthy"),
        ("rebooting", "degraded"),
        ("something-new", "degraded"),
        ("stopped", "down"),
        ("incompatible-network", "down"),
        ("inaccessible-encryption-credentials", "down"),
    ],
)
def test_database(status, verdict):
    assert health.database({"DBInstanceIdentifier": "db", "DBInstanceStatus": status}).verdict == verdict


@pytest.mark.parametrize(
    ("state", "enabled", "verdict", "says"),
    [
        ("OK", True, "healthy", ""),
        ("ALARM", True, "degraded", "rings: 5 > 1"),
        ("INSUFFICIENT_DATA", True, "unknown", "no data"),
        ("OK", False, "healthy", "silenced"),
        ("ALARM", False, "degraded", "silenced"),
    ],
)
def test_alarm(state, enabled, verdict, says):
    found = health.alarm({"AlarmName": "a", "StateValue": state, "ActionsEnabled": enabled, "StateReason": "5 > 1"})
    assert found.verdict == verdict
    assert says in "; ".join(found.reasons)
    assert found.facts["silent"] is not enabled


ARN = "arn:aws:{}:eu-west-1:123456789012:{}"


def test_places_are_those_of_the_tag_and_those_that_are_called_so():
    group, balancer = (
        ARN.format("elasticloadbalancing", f"{kind}/web/1") for kind in ("targetgroup", "loadbalancer/app")
    )
    arns = [
        ARN.format("ecs", "service/shop/web"),
        ARN.format("ecs", "service/made-long-ago"),
        ARN.format("lambda", "function:ship"),
        group,
        balancer,
        ARN.format("rds", "db:orders"),
        ARN.format("cloudwatch", "alarm:shop: errors"),
        ARN.format("sqs", "other"),
    ]
    assert health.places(arns, "checkout", "default") == health.Places(
        ecs_services=[("default", "checkout"), ("shop", "web")],
        functions=["checkout", "ship"],
        target_groups=[group],
        load_balancers=[balancer],
        target_group_name="checkout",
        databases=["checkout", "orders"],
        alarms=["shop: errors"],
    )


def test_places_are_not_looked_for_by_a_name_that_they_cannot_have():
    found = health.places([], "1_" + "x" * 80, "default")
    assert (found.functions, found.target_group_name, found.databases) == ([], None, [])


def test_report_names_what_could_not_be_seen_and_does_not_judge_by_it():
    unseen = health.hidden("RDS instance", "orders", "not allowed")
    found = health.report("checkout", [part("healthy")], [unseen])
    assert (found["verdict"], found["part_count"]) == ("healthy", 2)
    assert found["reasons"] == ["RDS instance orders: may not be looked at: not allowed"]
    many = health.report("checkout", [part("down", "gone")] * 150, [unseen])
    assert (len(many["parts"]), many["part_count"]) == (health.MAX_PARTS, 151)
