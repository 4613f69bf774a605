"""IAM's policy simulator: which statement decides, what the boundary says, which context is missing.

MiniStack tells the decision alone, for the first resource, without a boundary.
https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam

from local.cloud import anchors

_DECISIONS = {"Allow": "allowed", "Deny": "explicitDeny"}


@dataclass(frozen=True)
class _Attached:
    """A policy of the principal, with the name and the type that the simulator has for it."""

    id: str
    type: str
    statements: list[Any]


class _Unknown(Exception):
    pass


def install() -> None:
    anchors.replace("services.iam:_simulate_principal_policy", _simulate)
    iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = _simulate


def _simulate(request: dict[str, Any]) -> Any:
    arn = iam._p(request, "PolicySourceArn")
    try:
        attached, limits = _policies(arn)
    except _Unknown as error:
        return iam._error(404, "NoSuchEntity", str(error), ns="iam")
    context = _context(request)
    results = "".join(
        _result(action, resource, arn, attached, limits, context)
        for action in _members(request, "ActionNames")
        for resource in _members(request, "ResourceArns") or ["*"]
    )
    return iam._xml(
        200,
        "SimulatePrincipalPolicyResponse",
        f"<SimulatePrincipalPolicyResult><EvaluationResults>{results}</EvaluationResults>"
        "<IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult>",
        ns="iam",
    )


def _policies(arn: str) -> tuple[list[_Attached], list[Any]]:
    """The principal's policies, and its boundary as an evaluation limit."""
    kind, _, name = arn.rpartition(":")[2].partition("/")
    name = name.rpartition("/")[2]
    account = get_account_id()
    store = {"role": iam._roles, "user": iam._users}.get(kind)
    principal = store.get_scoped(account, None, name) if store is not None else None
    if principal is None:
        raise _Unknown(f"The {kind} with name {name} cannot be found.")
    inline = principal.get("InlinePolicies") if kind == "role" else iam._user_inline_policies.get(name)
    found = list(_attached(f"{kind}_{name}", inline, principal.get("AttachedPolicies", []), kind))
    if kind == "user":
        for group_name, group in iam._groups.items():
            if name in group.get("Users", []):
                documents = iam._group_inline_policies.get(group_name)
                found += _attached(f"group_{group_name}", documents, group.get("AttachedPolicies", []), "group")
    return found, iam_evaluator._permissions_boundary(store, name, account)


def _attached(owner: str, inline: dict[str, Any] | None, managed: list[str], kind: str) -> Iterator[_Attached]:
    for name, document in (inline or {}).items():
        yield _Attached(f"{owner}_{name}", kind, iam_evaluator.parse_policy_document(document))
    for arn in managed:
        document = iam_evaluator._resolve_managed_policy_document(arn, get_account_id())
        source = "aws-managed" if ":iam::aws:" in arn else "user-managed"
        yield _Attached(arn.rpartition("/")[2], source, iam_evaluator.parse_policy_document(document or {}))


def _result(
    action: str, resource: str, arn: str, attached: list[_Attached], limits: list[Any], context: dict[str, Any]
) -> str:
    request = iam_evaluator.EvalContext(
        principal_arn=arn,
        principal_type="User",
        principal_account=get_account_id(),
        action=action,
        resource_arn=resource,
        region=get_region(),
        service_context=context,
    )
    decision = iam_evaluator.evaluate(request, [policy.statements for policy in attached], *limits).decision
    wanted = "Deny" if decision == "Deny" else "Allow"
    matched = [
        policy for policy in attached if iam_evaluator._first_match(request, policy.statements, wanted) is not None
    ]
    missing = _missing(request, attached, context)
    boundary = ""
    if limits:
        allows = all(iam_evaluator.evaluate(request, layer).decision == "Allow" for layer in limits)
        boundary = (
            "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>"
            f"{str(allows).lower()}</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>"
        )
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>{escape(resource)}</EvalResourceName>"
        f"<EvalDecision>{_DECISIONS.get(decision, 'implicitDeny')}</EvalDecision>"
        f"<MatchedStatements>{''.join(map(_statement, matched))}</MatchedStatements>"
        f"<MissingContextValues>{''.join(f'<member>{escape(key)}</member>' for key in missing)}</MissingContextValues>"
        f"{boundary}</member>"
    )


def _statement(policy: _Attached) -> str:
    # Where in the document it stands is not kept here; nobody may rely on the numbers.
    position = "<StartPosition><Line>1</Line><Column>1</Column></StartPosition>"
    return (
        f"<member><SourcePolicyId>{escape(policy.id)}</SourcePolicyId>"
        f"<SourcePolicyType>{policy.type}</SourcePolicyType>{position}</member>"
    )


def _missing(request: Any, attached: list[_Attached], context: dict[str, Any]) -> list[str]:
    """Condition keys of statements about this action and resource that the request gives no value of."""
    keys: dict[str, None] = {}
    for policy in attached:
        for statement in policy.statements:
            if iam_evaluator._action_matches(
                request.action, statement.actions, statement.not_actions
            ) and iam_evaluator._resource_matches(request.resource_arn, statement.resources, statement.not_resources):
                for tests in statement.conditions.values():
                    keys |= dict.fromkeys(key for key in tests if key.lower() not in context)
    return list(keys)


def _context(request: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    index = 1
    while key := iam._p(request, f"ContextEntries.member.{index}.ContextKeyName"):
        values = _members(request, f"ContextEntries.member.{index}.ContextKeyValues")
        is_list = iam._p(request, f"ContextEntries.member.{index}.ContextKeyType").endswith("List")
        found[key.lower()] = values if is_list else values[0]
        index += 1
    return found


def _members(request: dict[str, Any], name: str) -> list[str]:
    found: list[str] = []
    while value := iam._p(request, f"{name}.member.{len(found) + 1}"):
        found.append(value)
    return found
