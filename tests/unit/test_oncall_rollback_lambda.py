"""oncall-rollback-lambda: which version an alias is turned to; that it needs an approval."""

import io
import json
import zipfile
from collections.abc import Iterator

import pytest

from tests.unit.scripts import World, scripts

NAME = "oncall-rollback-lambda"
ORDERS = {"function_name": "orders", "alias": "live"}


def archive(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("main.py", text)
    return buffer.getvalue()


@pytest.fixture
def world() -> Iterator[World]:
    """A function with the versions 1 to 3; its alias leads to the last."""
    with scripts() as made:
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        role = made.client("iam").create_role(
            RoleName="orders", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )["Role"]["Arn"]
        client = made.client("lambda")
        client.create_function(
            FunctionName="orders",
            Runtime="python3.13",
            Role=role,
            Handler="main.handler",
            Code={"ZipFile": archive("1")},
            Publish=True,
        )
        for number in (2, 3):
            client.update_function_code(FunctionName="orders", ZipFile=archive(str(number)), Publish=True)
        client.create_alias(FunctionName="orders", Name="live", FunctionVersion="3")
        yield made


def approve(world: World, event: dict[str, str]) -> str:
    """Somebody else looked at the plan and approved it."""
    planned = world.call(NAME, event, dry_run=True)
    assert planned.status_code == 202, planned.body
    from watchfloor.scripts import digest

    world.tables["ApprovalTable"].put_item(
        Item={
            "approval_id": "a1",
            "script": NAME,
            "digest": digest(event),
            "status": "approved",
            "valid_until": 4_000_000_000,
            "calls": json.dumps(planned.planned_calls),
            "version": 1,
        }
    )
    return "a1"


def leads_to(world: World) -> str:
    return world.client("lambda").get_alias(FunctionName="orders", Name="live")["FunctionVersion"]


def test_alias_leads_to_the_version_before(world):
    answer = world.call(NAME, ORDERS, approval_id=approve(world, ORDERS))
    assert answer.status_code == 200, answer.body
    assert (answer.result["from_version"], answer.result["to_version"]) == ("3", "2")
    assert answer.result["is_same_code"] is False
    assert leads_to(world) == "2"


def test_alias_leads_to_the_version_given(world):
    event = {**ORDERS, "version": "1"}
    assert world.call(NAME, event, approval_id=approve(world, event)).status_code == 200
    assert leads_to(world) == "1"


def test_dry_run_plans_on_condition_of_what_it_read(world):
    revision = world.client("lambda").get_alias(FunctionName="orders", Name="live")["RevisionId"]
    (call,) = world.call(NAME, ORDERS, dry_run=True).planned_calls
    assert call["operation"] == "UpdateAlias"
    assert (call["parameters"]["FunctionVersion"], call["parameters"]["RevisionId"]) == ("2", revision)
    assert leads_to(world) == "3"


def test_without_an_approval_nothing_happens(world):
    answer = world.call(NAME, ORDERS)
    assert (answer.status_code, leads_to(world)) == (403, "3")


def test_an_alias_changed_since_the_approval_is_left_alone(world):
    approval = approve(world, ORDERS)
    world.client("lambda").update_alias(FunctionName="orders", Name="live", FunctionVersion="2")
    answer = world.call(NAME, ORDERS, approval_id=approval)
    assert answer.status_code == 409
    assert leads_to(world) == "2"


@pytest.mark.parametrize(
    ("event", "code", "says"),
    [
        ({**ORDERS, "function_name": "none"}, 404, "none"),
        ({**ORDERS, "alias": "none"}, 404, "none"),
        ({**ORDERS, "version": "9"}, 404, "there are 1, 2, 3"),
        ({**ORDERS, "version": "3"}, 409, "version 3 already"),
        ({**ORDERS, "version": "$LATEST"}, 400, "version"),
        ({**ORDERS, "alias": "3"}, 400, "alias"),
        ({"alias": "live"}, 400, "function_name: is missing"),
    ],
)
def test_what_cannot_be_rolled_back(world, event, code, says):
    answer = world.call(NAME, event, dry_run=True)
    assert answer.status_code == code
    assert says in answer.error["message"]
