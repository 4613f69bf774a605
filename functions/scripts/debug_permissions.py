"""Whether a role or user may do something, and which statement says so."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.policies import Policy, explained, statements
from watchfloor.scripts import Parameters

_MOST_STATEMENTS = 6
LIMITS = [
    "policies of the resource itself (bucket, key, queue, function) are not looked at",
    "service control policies are only as IAM's simulator knows them; session policies are not looked at",
    "conditions are judged by the context given here",
]

Action = Annotated[str, Field(pattern=r"^[a-z0-9-]+:[A-Za-z0-9]+$", max_length=128)]


class PermissionQuestion(Parameters):
    principal: str = Field(
        pattern=r"^(role|user)/[A-Za-z0-9_+=,.@-]{1,128}$", description="Who: role/<name> or user/<name>"
    )
    actions: list[Action] = Field(min_length=1, max_length=10, description="What: s3:GetObject")
    resource: str = Field("*", min_length=1, max_length=1_000, pattern=r"^(\*|arn:.+)$", description="On what: its ARN")
    context: dict[str, str | list[str]] = Field(
        {}, max_length=20, description="Values of condition keys, such as aws:SourceVpc"
    )


def simulate(parameters: PermissionQuestion, run: ScriptRun) -> dict[str, Any]:
    iam = run.read("iam")
    kind, _, name = parameters.principal.partition("/")
    found = iam.get_role(RoleName=name)["Role"] if kind == "role" else iam.get_user(UserName=name)["User"]
    answer = iam.simulate_principal_policy(
        PolicySourceArn=found["Arn"],
        ActionNames=parameters.actions,
        ResourceArns=[parameters.resource],
        ContextEntries=[
            {
                "ContextKeyName": key,
                "ContextKeyType": "string" if isinstance(value, str) else "stringList",
                "ContextKeyValues": [value] if isinstance(value, str) else value,
            }
            for key, value in parameters.context.items()
        ],
    )
    policies = [*policies_of(iam, kind, name), *boundary_of(iam, found)]
    decisions = [one(result, policies, parameters.resource) for result in answer["EvaluationResults"]]
    return {
        "findings": [
            f"{each['action']}: {'ALLOWED' if each['is_allowed'] else 'DENIED'}, {'; '.join(each['because'])}"
            for each in decisions
        ],
        "principal": found["Arn"],
        "resource": parameters.resource,
        "decisions": decisions,
        "policies_read": [f"{policy.source}: {policy.name}" for policy in policies],
        "limits": LIMITS,
    }


def one(result: dict[str, Any], policies: list[Policy], resource: str) -> dict[str, Any]:
    says = list(statements(policies, result["EvalActionName"], resource))
    boundary = result.get("PermissionsBoundaryDecisionDetail", {}).get("AllowedByPermissionsBoundary")
    organizations = result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations")
    missing = result.get("MissingContextValues", [])
    because = explained(result["EvalDecision"], says, missing, boundary)
    if organizations is False:
        because.insert(0, "a service control policy of the organization does not allow it")
    return {
        "action": result["EvalActionName"],
        "is_allowed": result["EvalDecision"] == "allowed",
        "decision": result["EvalDecision"],
        "because": because,
        "missing_context": missing,
        "allowed_by_boundary": boundary,
        "statements": [say.to_json() for say in says if say.fits][:_MOST_STATEMENTS],
    }


def policies_of(iam: Any, kind: str, name: str) -> Iterator[Policy]:
    """Inline and managed policies of a role, or of a user and the user's groups."""
    yield from policies_of_role(iam, name) if kind == "role" else policies_of_user(iam, name)


def policies_of_role(iam: Any, name: str) -> Iterator[Policy]:
    for inline in listed(iam.get_paginator("list_role_policies").paginate(RoleName=name), "PolicyNames"):
        yield Policy(inline, "inline", iam.get_role_policy(RoleName=name, PolicyName=inline)["PolicyDocument"])
    pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
    for attached in listed(pages, "AttachedPolicies"):
        yield document_of(iam, attached["PolicyArn"], "managed")


def policies_of_user(iam: Any, name: str) -> Iterator[Policy]:
    for inline in listed(iam.get_paginator("list_user_policies").paginate(UserName=name), "PolicyNames"):
        yield Policy(inline, "inline", iam.get_user_policy(UserName=name, PolicyName=inline)["PolicyDocument"])
    pages = iam.get_paginator("list_attached_user_policies").paginate(UserName=name)
    for attached in listed(pages, "AttachedPolicies"):
        yield document_of(iam, attached["PolicyArn"], "managed")
    for group in listed(iam.get_paginator("list_groups_for_user").paginate(UserName=name), "Groups"):
        yield from policies_of_group(iam, group["GroupName"])


def policies_of_group(iam: Any, name: str) -> Iterator[Policy]:
    for inline in listed(iam.get_paginator("list_group_policies").paginate(GroupName=name), "PolicyNames"):
        document = iam.get_group_policy(GroupName=name, PolicyName=inline)["PolicyDocument"]
        yield Policy(f"{name}/{inline}", "group", document)
    pages = iam.get_paginator("list_attached_group_policies").paginate(GroupName=name)
    for attached in listed(pages, "AttachedPolicies"):
        yield document_of(iam, attached["PolicyArn"], "group")


def boundary_of(iam: Any, found: dict[str, Any]) -> Iterator[Policy]:
    if arn := found.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"):
        yield document_of(iam, arn, "boundary")


def document_of(iam: Any, arn: str, source: str) -> Policy:
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    except iam.exceptions.NoSuchEntityException:
        # Deleted while this script reads; the decision is IAM's all the same.
        source, document = f"{source} (not found)", {}
    return Policy(arn.rpartition("/")[2], source, document)


def listed(pages: Iterable[dict[str, Any]], key: str) -> Iterator[Any]:
    for page in pages:
        yield from page[key]


script = Script("debug-permissions", PermissionQuestion, simulate, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
