"""oncall-restart-service: valid, edge and invalid input. moto's deployments never end; those that end, well or badly,
are on the local cloud."""

from collections.abc import Iterator

import pytest

from tests.resources import make_cluster, make_service
from tests.unit.scripts import World, scripts

NAME = "oncall-restart-service"
CHECKOUT = {"service_name": "checkout", "cluster": "shop", "replace_deployment": True}


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        make_cluster(made.client("ecs"), "shop", "checkout")
        make_service(made.client("ecs"), "shop", "checkout")
        yield made


def described(world: World):
    return world.client("ecs").describe_services(cluster="shop", services=["checkout"])["services"][0]


def test_dry_run_plans_one_call_and_changes_nothing(world):
    before = described(world)
    answer = world.call(NAME, CHECKOUT, dry_run=True)
    assert answer.status_code == 202
    assert answer.planned_calls == [
        {
            "service": "ecs",
            "operation": "UpdateService",
            "parameters": {"cluster": "shop", "service": "checkout", "forceNewDeployment": True},
        }
    ]
    assert described(world) == before


def test_restart_without_waiting_says_how_the_deployment_stands(world):
    before = described(world)["deployments"][0]["id"]
    answer = world.call(NAME, {**CHECKOUT, "wait_seconds": 0})
    assert (answer.status_code, answer.body["changed"]) == (200, True)
    assert (answer.result["replaces"], answer.result["desired_count"]) == (before, 2)
    assert (answer.result["rollout_state"], answer.result["is_stable"]) == ("IN_PROGRESS", False)


def test_restart_that_is_not_stable_in_time_says_what_was_done(world):
    answer = world.call(NAME, {**CHECKOUT, "wait_seconds": 20})
    assert (answer.status_code, answer.body["changed"]) == (504, True)
    assert "of 2 tasks run" in answer.error["message"]
    assert [(call["operation"], call["outcome"]) for call in answer.error["calls"]] == [("UpdateService", "made")]


def test_service_is_not_restarted_during_a_deployment_unless_told(world):
    answer = world.call(NAME, {**CHECKOUT, "replace_deployment": False})
    assert (answer.status_code, "still going on" in answer.error["message"]) == (409, True)


@pytest.mark.parametrize(
    ("event", "code", "says"),
    [
        ({**CHECKOUT, "service_name": "other"}, 404, "no service other"),
        ({**CHECKOUT, "cluster": "none"}, 404, "luster"),
        ({"cluster": "shop"}, 400, "service_name: is missing"),
        ({**CHECKOUT, "wait_seconds": 3600}, 400, "wait_seconds"),
        ({**CHECKOUT, "service_name": "a/b"}, 400, "service_name"),
        ({**CHECKOUT, "wait_seconds": "60"}, 400, "wait_seconds"),
        ({**CHECKOUT, "force": True}, 400, "force: is no parameter"),
    ],
)
def test_what_cannot_be_restarted(world, event, code, says):
    answer = world.call(NAME, event)
    assert answer.status_code == code
    assert says in answer.error["message"]
    assert answer.body["changed"] is False


def test_service_scaled_to_0_is_not_restarted(world):
    world.client("ecs").update_service(cluster="shop", service="checkout", desiredCount=0)
    answer = world.call(NAME, CHECKOUT)
    assert (answer.status_code, "scaled to 0" in answer.error["message"]) == (409, True)


def test_service_that_codedeploy_deploys_is_not_restarted(world):
    world.client("ecs").create_service(
        cluster="shop",
        serviceName="blue",
        taskDefinition="checkout",
        desiredCount=1,
        deploymentController={"type": "CODE_DEPLOY"},
    )
    answer = world.call(NAME, {**CHECKOUT, "service_name": "blue"})
    assert (answer.status_code, "CODE_DEPLOY" in answer.error["message"]) == (409, True)
