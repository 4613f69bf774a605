"""Policies read for people: which statement decides, and which one nearly does."""

import pytest

from watchfloor.policies import Policy, decision, explained, matches, report, statements

OWN = Policy(
    "own",
    "inline",
    {
        "Statement": [
            {"Sid": "Read", "Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "arn:aws:s3:::shop-*"},
            {"Effect": "Deny", "Action": "S3:getobject", "Resource": "arn:aws:s3:::shop-secret/*"},
            {
                "Effect": "Allow",
                "Action": "sqs:SendMessage",
                "Resource": "*",
                "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}},
            },
            {"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:aws:sns:::${aws:username}-topic"},
        ]
    },
)


def says(action: str, resource: str) -> list[str]:
    return [f"{say.effect} {say.sid or say.index} {say.fits}" for say in statements([OWN], action, resource)]


def test_statements_about_an_action_with_this_and_with_other_resources():
    assert says("s3:GetObject", "arn:aws:s3:::shop-orders/1") == ["Allow Read True", "Deny 1 False", "Allow 3 False"]
    assert says("s3:GetObject", "arn:aws:s3:::shop-secret/1")[:2] == ["Allow Read True", "Deny 1 True"]
    assert says("iam:GetRole", "*") == []
    # A variable may stand for anything.
    assert says("sns:Publish", "arn:aws:sns:::anna-topic") == ["Allow 3 True"]


def why(
    decision: str, action: str, resource: str, missing: list[str] | None = None, edge: bool | None = None
) -> list[str]:
    return explained(decision, list(statements([OWN], action, resource)), missing or [], edge)


def test_explained_names_the_statement_that_decides():
    assert why("allowed", "s3:GetObject", "arn:aws:s3:::shop-a/1") == [
        "allowed by statement Read of the inline policy own"
    ]
    assert why("explicitDeny", "s3:GetObject", "arn:aws:s3:::shop-secret/1") == [
        "denied by statement 2 of the inline policy own"
    ]


def test_explained_names_what_is_missing():
    assert why("implicitDeny", "s3:GetObject", "arn:aws:s3:::other/1")[0] == (
        "statement Read of the inline policy own allows it on other resources: arn:aws:s3:::shop-*"
    )
    (conditioned, *_) = why("implicitDeny", "sqs:SendMessage", "arn:aws:sqs:::a", ["aws:SourceVpc"])
    assert conditioned.endswith("would allow it, on a condition about aws:sourcevpc (not given here)")
    assert why("implicitDeny", "iam:GetRole", "*") == ["no statement names the action"]
    assert why("implicitDeny", "iam:GetRole", "*", edge=False)[0].startswith("the permissions boundary")


def test_explained_denied_from_outside_says_so():
    assert why("explicitDeny", "iam:GetRole", "*") == ["denied by a policy that was not read"]


@pytest.mark.parametrize(
    "document", [{}, {"Statement": None}, {"Statement": "text"}, {"Statement": [None, {"Action": 5}]}]
)
def test_statements_of_a_strange_document_are_none(document):
    assert list(statements([Policy("p", "inline", document)], "s3:GetObject", "*")) == []


def test_matches_takes_nothing_but_iam_s_wildcards():
    assert matches("s3:Get?bject", "s3:GetObject")
    assert matches("*", "")
    assert matches("a*b*c", "abc")
    assert matches("a*b*c", "a-b-b-c")
    assert not matches("a*b*c", "acb")
    assert not matches("ab*ba", "aba")
    assert not matches("abc", "abcd")
    assert not matches("s3:Get.bject", "s3:GetObject")
    assert not matches("s3:Get[O]bject", "s3:GetObject")
    # Many stars must not take long.
    assert not matches("*a" * 30, "a" * 29 + "b" * 200)


def simulated(decided: str, action: str, **more: object) -> dict[str, object]:
    return {"EvalActionName": action, "EvalDecision": decided, **more}


def test_decision_names_the_organization_before_all_else():
    outside = {"OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}
    found = decision(simulated("implicitDeny", "iam:GetRole", **outside), [OWN], "*")
    assert found["because"][0] == "a service control policy of the organization does not allow it"
    assert (found["is_allowed"], found["statements"]) == (False, [])


def test_report_has_a_line_for_each_action():
    results = [simulated("allowed", "s3:GetObject"), simulated("implicitDeny", "iam:GetRole")]
    found = report("arn:aws:iam::1:role/shop", "arn:aws:s3:::shop-a/1", results, [OWN])
    assert found["findings"] == [
        "s3:GetObject: ALLOWED, allowed by statement Read of the inline policy own",
        "iam:GetRole: DENIED, no statement names the action",
    ]
    assert [each["statement"] for each in found["decisions"][0]["statements"]] == ["Read"]
    assert found["policies_read"] == ["inline: own"]
