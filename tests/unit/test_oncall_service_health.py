"""oncall-service-health: what belongs to a service is found by tag and by name."""

from collections.abc import Iterator

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from tests.resources import make_alarm, make_cluster, make_database, make_service, make_target_group
from tests.unit.scripts import World, scripts

NAME = "oncall-service-health"
CHECKOUT = {"service_name": "checkout", "cluster": "shop"}


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        make_cluster(made.client("ecs"), "shop", "checkout")
        yield made


def put_alarm(world: World, name: str, state: str, **arguments) -> None:
    make_alarm(world.client("cloudwatch"), name, **arguments)
    world.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason="drill")


def verdicts(answer) -> dict[tuple[str, str], str]:
    return {(part["kind"], part["name"]): part["verdict"] for part in answer.result["parts"]}


def test_parts_are_found_by_name_and_the_worst_one_counts(world):
    make_service(world.client("ecs"), "shop", "checkout")
    put_alarm(world, "checkout-errors", "OK")
    put_alarm(world, "other-errors", "ALARM")
    make_database(world.client("rds"), "checkout")
    answer = world.call(NAME, CHECKOUT)
    assert answer.status_code == 200, answer.body
    # moto's tasks never run.
    assert verdicts(answer) == {
        ("ECS service", "checkout"): "down",
        ("alarm", "checkout-errors"): "healthy",
        ("RDS instance", "checkout"): "healthy",
    }
    assert next(iter(answer.result)) == "verdict"
    assert answer.result["verdict"] == "down"
    assert "ECS service checkout: none of 2 tasks runs" in answer.result["reasons"]


def test_parts_are_found_by_their_tag(world):
    make_database(world.client("rds"), "shop-db", Tags=[{"Key": "app", "Value": "checkout"}])
    make_database(world.client("rds"), "other-db", Tags=[{"Key": "app", "Value": "other"}])
    answer = world.call(NAME, {"service_name": "checkout", "tag_key": "app"})
    assert (answer.status_code, answer.result["verdict"]) == (200, "healthy")
    assert verdicts(answer) == {("RDS instance", "shop-db"): "healthy"}


def test_alarm_that_rings_degrades_and_a_silent_one_is_named(world):
    put_alarm(world, "checkout-errors", "ALARM")
    put_alarm(world, "checkout-latency", "OK", ActionsEnabled=False)
    answer = world.call(NAME, CHECKOUT)
    assert answer.result["verdict"] == "degraded"
    assert answer.result["reasons"] == ["alarm checkout-errors: rings: drill"]
    silent = next(part for part in answer.result["parts"] if part["name"] == "checkout-latency")
    assert (silent["facts"]["silent"], silent["reasons"]) == (True, ["is silenced"])


def test_target_group_without_targets_is_down(world):
    vpc = world.client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    make_target_group(world.client("elbv2"), "checkout", vpc)
    answer = world.call(NAME, CHECKOUT)
    assert (answer.result["verdict"], answer.result["reasons"]) == ("down", ["target group checkout: has no targets"])


def test_alarm_without_data_alone_says_nothing_either_way(world):
    put_alarm(world, "checkout-errors", "INSUFFICIENT_DATA")
    answer = world.call(NAME, CHECKOUT)
    assert (answer.result["verdict"], answer.result["reasons"]) == ("unknown", ["alarm checkout-errors: has no data"])


@pytest.fixture
def only_alarms(monkeypatch):
    """The script's role may look at nothing else."""
    make_api_call = getattr(BaseClient, "_make_api_call")  # noqa: B009 - no type stub knows it

    def asked(client, operation, parameters):
        if operation in ("DescribeServices", "GetFunctionConfiguration", "DescribeDBInstances"):
            raise ClientError(
                {"Error": {"Code": "AccessDeniedException", "Message": f"may not {operation}"}}, operation
            )
        return make_api_call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", asked)


def test_part_that_may_not_be_looked_at_is_unknown_and_named(world, only_alarms):
    put_alarm(world, "checkout-errors", "OK")
    answer = world.call(NAME, CHECKOUT)
    assert (answer.status_code, answer.result["verdict"]) == (200, "healthy")
    assert verdicts(answer) == {
        ("alarm", "checkout-errors"): "healthy",
        ("ECS service", "checkout"): "unknown",
        ("Lambda function", "checkout"): "unknown",
        ("RDS instance", "checkout"): "unknown",
    }
    assert "RDS instance checkout: may not be looked at: may not DescribeDBInstances" in answer.result["reasons"]


def test_service_of_which_nothing_may_be_looked_at_is_denied(world, only_alarms):
    assert world.call(NAME, CHECKOUT).status_code == 403


def test_nothing_found_is_said_so(world):
    answer = world.call(NAME, {"service_name": "nothing"})
    assert answer.status_code == 404
    assert "service=nothing" in answer.error["message"]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, "service_name: is missing"),
        ({"service_name": "a b"}, "service_name"),
        ({**CHECKOUT, "minutes": 0}, "minutes"),
        ({**CHECKOUT, "minutes": 1.5}, "minutes"),
        ({**CHECKOUT, "tag_key": ""}, "tag_key"),
    ],
)
def test_invalid_input_is_named(world, event, says):
    answer = world.call(NAME, event)
    assert answer.status_code == 400
    assert says in answer.error["message"]
