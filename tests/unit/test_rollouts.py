import datetime as dt

import pytest

from watchfloor.errors import ConflictError
from watchfloor.rollouts import MAX_EVENTS, check_restart, primary, rollout

BEGAN = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


def deployment(name, status="PRIMARY", state="COMPLETED", **fields):
    return {"id": name, "status": status, "rolloutState": state, "createdAt": BEGAN, **fields}


def service(*deployments, desired=2, running=2, events=()):
    return {"deployments": list(deployments), "desiredCount": desired, "runningCount": running, "events": list(events)}


@pytest.mark.parametrize(
    ("described", "state"),
    [
        (service(deployment("new")), "COMPLETED"),
        (service(deployment("new"), running=1), "IN_PROGRESS"),
        (service(deployment("new", state="IN_PROGRESS"), deployment("old", "ACTIVE")), "IN_PROGRESS"),
        (service(deployment("new"), deployment("old", "ACTIVE")), "IN_PROGRESS"),
        (service(deployment("new", "ACTIVE", "FAILED"), deployment("old")), "FAILED"),
        (service(deployment("newer"), deployment("new", "ACTIVE", "IN_PROGRESS")), "FAILED"),
        (service(deployment("newer")), "FAILED"),
        (service(deployment("new", state="FAILED")), "FAILED"),
    ],
)
def test_a_deployment_is_done_when_it_alone_runs_all_tasks(described, state):
    assert rollout(described, "new").state == state


def test_why_a_deployment_failed_is_told_by_ecs_or_by_what_replaced_it():
    given_up = deployment("new", "ACTIVE", "FAILED", rolloutStateReason="circuit breaker", failedTasks=3)
    failed = rollout(service(given_up, deployment("old")), "new")
    assert (failed.reason, failed.failed_task_count) == ("circuit breaker", 3)
    assert "newer" in rollout(service(deployment("newer")), "new").reason


def test_events_are_those_since_the_deployment_began_newest_first():
    events = [{"message": f"e{n}", "createdAt": BEGAN + dt.timedelta(minutes=5 - n)} for n in range(10)]
    told = rollout(service(deployment("new"), events=events), "new").events
    assert told == ("e0", "e1", "e2", "e3", "e4", "e5")
    many = [{"message": f"e{n}", "createdAt": BEGAN} for n in range(50)]
    assert len(rollout(service(deployment("new"), events=many), "new").events) == MAX_EVENTS


def test_a_service_without_a_primary_deployment_has_none():
    assert primary(service(deployment("old", "ACTIVE"))) == {}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "DRAINING"}, "web is DRAINING"),
        ({"desiredCount": 0}, "scaled to 0 tasks"),
        ({"deploymentController": {"type": "CODE_DEPLOY"}}, "made by CODE_DEPLOY"),
        ({"deployments": [deployment("new", state="IN_PROGRESS")]}, "the deployment new of web is still going on"),
    ],
)
def test_service_that_a_restart_would_not_help_is_refused(changes, says):
    runs = {"serviceName": "web", "status": "ACTIVE", **service(deployment("new"))}
    check_restart(runs, replace=False)
    with pytest.raises(ConflictError, match=says):
        check_restart({**runs, **changes}, replace=False)


def test_deployment_that_goes_on_may_be_replaced_if_told_so():
    goes_on = {"serviceName": "web", "status": "ACTIVE", **service(deployment("new", state="IN_PROGRESS"))}
    check_restart(goes_on, replace=True)
