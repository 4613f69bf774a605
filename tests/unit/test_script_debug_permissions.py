"""debug-permissions: IAM's own decision, and the statement it comes from."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.canned import canned
from tests.unit.scripts import World, scripts

NAME = "debug-permissions"
OBJECT = "arn:aws:s3:::receipts/1.pdf"


def document(*actions: str, effect: str = "Allow", resource: str = "*") -> str:
    statement = {"Sid": "Own", "Effect": effect, "Action": list(actions), "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        iam = made.client("iam")
        boundary = iam.create_policy(PolicyName="edge", PolicyDocument=document("s3:*"))["Policy"]["Arn"]
        extra = iam.create_policy(PolicyName="extra", PolicyDocument=document("sqs:*"))["Policy"]["Arn"]
        iam.create_role(
            RoleName="checkout", AssumeRolePolicyDocument=document("sts:AssumeRole"), PermissionsBoundary=boundary
        )
        iam.put_role_policy(RoleName="checkout", PolicyName="own", PolicyDocument=document("s3:GetObject"))
        iam.attach_role_policy(RoleName="checkout", PolicyArn=extra)
        iam.create_user(UserName="anna")
        iam.create_group(GroupName="duty")
        iam.put_group_policy(GroupName="duty", PolicyName="watch", PolicyDocument=document("logs:*"))
        iam.add_user_to_group(GroupName="duty", UserName="anna")
        yield made


def decided(decision: str, action: str, **more: Any) -> Any:
    result = {"EvalActionName": action, "EvalResourceName": OBJECT, "EvalDecision": decision, **more}
    return canned("iam", "SimulatePrincipalPolicy", lambda: {"EvaluationResults": [result], "IsTruncated": False})


def test_permissions_allowed_by_which_statement(world):
    with decided("allowed", "s3:GetObject"):
        answer = world.call(NAME, {"principal": "role/checkout", "actions": ["s3:GetObject"], "resource": OBJECT})
    assert answer.status_code == 200, answer.body
    assert answer.result["findings"] == ["s3:GetObject: ALLOWED, allowed by statement Own of the inline policy own"]
    assert answer.result["policies_read"] == ["inline: own", "managed: extra", "boundary: edge"]
    assert len(answer.result["limits"]) == 3
    assert not answer.body["changed"]


def test_permissions_denied_by_the_boundary(world):
    outside = {"PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": False}}
    with decided("implicitDeny", "sqs:SendMessage", **outside):
        answer = world.call(NAME, {"principal": "role/checkout", "actions": ["sqs:SendMessage"]})
    (decision,) = answer.result["decisions"]
    assert not decision["is_allowed"]
    assert decision["because"][0] == "the permissions boundary does not allow it, whatever else does"


def test_permissions_of_a_user_come_from_groups_too(world):
    with decided("allowed", "logs:StartQuery", OrganizationsDecisionDetail={"AllowedByOrganizations": True}):
        answer = world.call(NAME, {"principal": "user/anna", "actions": ["logs:StartQuery"]})
    assert "group policy duty/watch" in answer.result["findings"][0]


def test_permissions_of_nobody(world):
    for principal in ("role/nobody", "user/nobody"):
        assert world.call(NAME, {"principal": principal, "actions": ["s3:GetObject"]}).status_code == 404


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"principal": "checkout", "actions": ["s3:GetObject"]},
        {"principal": "role/checkout", "actions": []},
        {"principal": "role/checkout", "actions": ["s3:*"]},
        {"principal": "role/checkout", "actions": ["s3:GetObject"] * 11},
        {"principal": "role/checkout", "actions": ["s3:GetObject"], "resource": "receipts"},
        {"principal": "role/checkout", "actions": ["s3:GetObject"], "context": {"aws:SourceVpc": 5}},
    ],
)
def test_permissions_invalid_input(world, event):
    assert world.call(NAME, event).status_code == 400
