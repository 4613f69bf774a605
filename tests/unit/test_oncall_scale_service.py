"""oncall-scale-service: valid, edge and invalid input; provisioned concurrency, which moto lacks, is on the local cloud."""

from collections.abc import Iterator

import pytest

from tests.resources import make_cluster, make_function, make_service
from tests.unit.scripts import World, scripts

NAME = "oncall-scale-service"
CHECKOUT = {"service_name": "checkout", "cluster": "shop", "wait_seconds": 0}


@pytest.fixture
def world() -> Iterator[World]:
    with scripts(ScriptMaxCount="50") as made:
        make_cluster(made.client("ecs"), "shop", "checkout")
        make_service(made.client("ecs"), "shop", "checkout")
        yield made


def count_of(world: World) -> int:
    return world.client("ecs").describe_services(cluster="shop", services=["checkout"])["services"][0]["desiredCount"]


def bounded(world: World, least: int, most: int) -> None:
    world.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId="service/shop/checkout",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=least,
        MaxCapacity=most,
    )


def test_service_is_scaled_and_the_answer_leads_back(world):
    answer = world.call(NAME, {**CHECKOUT, "desired_count": 5})
    assert (answer.status_code, answer.body["changed"]) == (200, True)
    assert (answer.result["from_count"], answer.result["to_count"], answer.result["autoscaling"]) == (2, 5, None)
    assert count_of(world) == 5


def test_dry_run_plans_and_leaves_the_count(world):
    answer = world.call(NAME, {**CHECKOUT, "desired_count": 5}, dry_run=True)
    assert answer.status_code == 202
    (call,) = answer.planned_calls
    assert (call["operation"], call["parameters"]["desiredCount"]) == ("UpdateService", 5)
    assert count_of(world) == 2


def test_same_count_changes_nothing(world):
    answer = world.call(NAME, {**CHECKOUT, "desired_count": 2})
    assert (answer.status_code, answer.body["changed"]) == (200, False)


def test_count_outside_of_automatic_scaling_is_refused_unless_said_so(world):
    bounded(world, 1, 4)
    within = world.call(NAME, {**CHECKOUT, "desired_count": 3})
    assert (within.status_code, "between 1 and 4" in within.result["autoscaling"]) == (200, True)
    answer = world.call(NAME, {**CHECKOUT, "desired_count": 5})
    assert (answer.status_code, "between 1 and 4" in answer.error["message"]) == (409, True)
    assert count_of(world) == 3
    answer = world.call(NAME, {**CHECKOUT, "desired_count": 5, "allow_outside_autoscaling": True})
    assert answer.status_code == 200
    assert count_of(world) == 5


def test_scaling_to_0_has_to_be_meant(world):
    answer = world.call(NAME, {**CHECKOUT, "desired_count": 0})
    assert (answer.status_code, "allow_zero" in answer.error["message"]) == (400, True)
    assert world.call(NAME, {**CHECKOUT, "desired_count": 0, "allow_zero": True}).status_code == 200
    assert count_of(world) == 0


def test_concurrency_is_reserved(world):
    make_function(world.client("lambda"), world.client("iam"), "orders")
    answer = world.call(NAME, {"function_name": "orders", "reserved_concurrency": 7})
    assert (answer.status_code, answer.body["changed"]) == (200, True)
    assert (answer.result["from_reserved"], answer.result["to_reserved"]) == (None, 7)
    found = world.client("lambda").get_function_concurrency(FunctionName="orders")
    assert found["ReservedConcurrentExecutions"] == 7
    again = world.call(NAME, {"function_name": "orders", "reserved_concurrency": 7})
    assert (again.status_code, again.body["changed"]) == (200, False)


@pytest.mark.parametrize(
    ("event", "code", "says"),
    [
        ({**CHECKOUT, "desired_count": 51}, 400, "at most 50"),
        ({**CHECKOUT, "desired_count": -1}, 400, "desired_count"),
        (CHECKOUT, 400, "give one of"),
        ({"desired_count": 1}, 400, "goes with service_name"),
        ({**CHECKOUT, "function_name": "orders", "desired_count": 1}, 400, "not with function_name"),
        ({**CHECKOUT, "reserved_concurrency": 1}, 400, "goes with function_name"),
        ({"function_name": "o", "reserved_concurrency": 1, "provisioned_concurrency": 1}, 400, "give one of"),
        ({"function_name": "o", "provisioned_concurrency": 1}, 400, "alias goes with"),
        ({"function_name": "o", "reserved_concurrency": 1, "alias": "live"}, 400, "alias goes with"),
        ({"function_name": "none", "reserved_concurrency": 1}, 404, "none"),
        ({**CHECKOUT, "service_name": "none", "desired_count": 1}, 404, "no service none"),
    ],
)
def test_what_cannot_be_scaled(world, event, code, says):
    answer = world.call(NAME, event)
    assert answer.status_code == code
    assert says in answer.error["message"]
    assert answer.body["changed"] is False
