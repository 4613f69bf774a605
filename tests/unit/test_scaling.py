"""Whether something may be scaled to a count, and what came of it."""

import pytest

from watchfloor.errors import ConflictError, DeadlineError, InvalidInputError
from watchfloor.rollouts import Rollout, RolloutError
from watchfloor.scaling import (
    autoscaling_note,
    check_bounds,
    check_has_count,
    is_provisioned,
    provisioned,
    tasks,
)

BOUNDS = [{"MinCapacity": 1, "MaxCapacity": 4}]


@pytest.mark.parametrize(
    ("name", "count", "allow_zero", "says"),
    [
        ("desired_count", 51, False, "at most 50"),
        ("desired_count", 0, False, "allow_zero"),
        ("provisioned_concurrency", 0, True, "at least 1"),
    ],
)
def test_count_out_of_bounds_is_refused(name, count, allow_zero, says):
    with pytest.raises(InvalidInputError, match=says):
        check_bounds(name, count, 50, allow_zero=allow_zero)


def test_count_within_bounds_is_allowed():
    check_bounds("desired_count", 50, 50, allow_zero=False)
    check_bounds("reserved_concurrency", 0, 50, allow_zero=True)


@pytest.mark.parametrize("state", [{"status": "DRAINING"}, {"status": "ACTIVE", "schedulingStrategy": "DAEMON"}])
def test_service_that_has_no_count_is_refused(state):
    check_has_count({"serviceName": "web", "status": "ACTIVE", "schedulingStrategy": "REPLICA"})
    with pytest.raises(ConflictError, match="the service web"):
        check_has_count({"serviceName": "web", **state})


def test_autoscaling_note_says_how_long_a_count_lasts():
    assert autoscaling_note("service/shop/web", [], 9, allow_outside=False) is None
    assert autoscaling_note("service/shop/web", BOUNDS, 4, allow_outside=False) == (
        "keeps it between 1 and 4, and may change it again"
    )
    with pytest.raises(ConflictError, match="between 1 and 4, so 5 would not last"):
        autoscaling_note("service/shop/web", BOUNDS, 5, allow_outside=False)
    assert "5 lasts until it scales next" in str(autoscaling_note("service/shop/web", BOUNDS, 5, allow_outside=True))


def rollout(state: str) -> Rollout:
    return Rollout(state, "", "d", 5, 3, 0, ("no room",))


def test_tasks_that_failed_or_take_too_long_are_an_error():
    assert tasks(rollout("COMPLETED"), 5, 60) == {"running_count": 3, "events": ["no room"], "is_stable": True}
    assert tasks(rollout("IN_PROGRESS"), 5, 0)["is_stable"] is False
    with pytest.raises(RolloutError, match="told to run 5 tasks, but: FAILED"):
        tasks(rollout("FAILED"), 5, 60)
    with pytest.raises(DeadlineError, match="3 of 5 tasks run.*no room"):
        tasks(rollout("IN_PROGRESS"), 5, 60)


def test_environments_that_failed_or_take_too_long_are_an_error():
    waiting = {"Status": "IN_PROGRESS", "AvailableProvisionedConcurrentExecutions": 2}
    assert [is_provisioned(found) for found in (waiting, {"Status": "READY"}, {})] == [False, True, True]
    assert provisioned({"Status": "READY"}, 5, 60) == {"status": "READY"}
    assert provisioned(waiting, 5, 0) == {"status": "IN_PROGRESS"}
    with pytest.raises(RolloutError, match="could not provision 5: no room"):
        provisioned({"Status": "FAILED", "StatusReason": "no room"}, 5, 60)
    with pytest.raises(DeadlineError, match="2 of 5 are there"):
        provisioned(waiting, 5, 60)
