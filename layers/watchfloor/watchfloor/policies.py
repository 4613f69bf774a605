"""IAM policy documents read for people: which statement has a say in an action, and which one nearly has.

The decision itself is IAM's own (SimulatePrincipalPolicy); this says where it comes from.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LIMITS = [
    "policies of the resource itself (bucket, key, queue, function) are not looked at",
    "service control policies are only as IAM's simulator knows them; session policies are not looked at",
    "conditions are judged by the context given here",
]
_MOST_STATEMENTS = 6


@dataclass(frozen=True)
class Policy:
    """A policy document and where it hangs: `source` is inline, managed, group, boundary."""

    name: str
    source: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Say:
    """A statement that names the action.

    Attributes
    ----------
    fits
        Whether it names the resource as well.
    """

    policy: Policy
    index: int
    sid: str
    effect: str
    fits: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy.name,
            "source": self.policy.source,
            "statement": self.sid or self.index,
            "effect": self.effect,
            "actions": list(self.actions[:10]),
            "resources": list(self.resources[:5]),
            "conditions": self.conditions,
        }


def report(
    principal_arn: str, resource: str, results: Iterable[Mapping[str, Any]], policies: Sequence[Policy]
) -> dict[str, Any]:
    """What a role or user may do; `results` are of SimulatePrincipalPolicy."""
    decisions = [decision(result, policies, resource) for result in results]
    return {
        "findings": [
            f"{each['action']}: {'ALLOWED' if each['is_allowed'] else 'DENIED'}, {'; '.join(each['because'])}"
            for each in decisions
        ],
        "principal": principal_arn,
        "resource": resource,
        "decisions": decisions,
        "policies_read": [f"{policy.source}: {policy.name}" for policy in policies],
        "limits": LIMITS,
    }


def decision(result: Mapping[str, Any], policies: Iterable[Policy], resource: str) -> dict[str, Any]:
    """IAM's decision on one action, and where it comes from."""
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


def statements(policies: Iterable[Policy], action: str, resource: str) -> Iterator[Say]:
    """Statements that name the action, with this or another resource."""
    for policy in policies:
        listed = policy.document.get("Statement", [])
        for index, statement in enumerate(listed if isinstance(listed, list) else [listed]):
            if not isinstance(statement, Mapping) or not _names(statement, "Action", action.lower(), fold=True):
                continue
            yield Say(
                policy,
                index,
                str(statement.get("Sid", "")),
                str(statement.get("Effect", "")),
                _names(statement, "Resource", resource, fold=False),
                _written(statement, "Action"),
                _written(statement, "Resource"),
                statement.get("Condition") or {},
            )


def explained(decision: str, says: list[Say], missing: list[str], allowed_by_boundary: bool | None) -> list[str]:
    """The decision in words.

    Parameters
    ----------
    decision
        allowed, explicitDeny, implicitDeny.
    missing
        Condition keys that the simulation had no value for.
    allowed_by_boundary
        None where there is no boundary.
    """
    own = [say for say in says if say.policy.source != "boundary"]
    allowing = [say for say in own if say.effect == "Allow" and say.fits]
    if decision == "allowed":
        return [f"allowed by {_place(say)}" for say in allowing[:3]] or ["allowed"]
    if decision == "explicitDeny":
        denying = [say for say in says if say.effect == "Deny" and say.fits]
        return [f"denied by {_place(say)}" for say in denying[:3]] or ["denied by a policy that was not read"]
    found = []
    if allowed_by_boundary is False:
        found.append("the permissions boundary does not allow it, whatever else does")
    for say in allowing:
        if say.conditions:
            keys = ", ".join(sorted(_keys(say.conditions)))
            given = " (not given here)" if _keys(say.conditions) & {key.lower() for key in missing} else ""
            found.append(f"{_place(say)} would allow it, on a condition about {keys}{given}")
    elsewhere = [say for say in own if say.effect == "Allow" and not say.fits]
    found += [f"{_place(say)} allows it on other resources: {', '.join(say.resources[:3])}" for say in elsewhere[:3]]
    if not allowing and not elsewhere:
        found.append("no statement names the action")
    return found


def matches(pattern: str, value: str) -> bool:
    """IAM's wildcards: * for any text, ? for one character."""
    first, *parts = pattern.split("*")
    if not parts:
        return len(first) == len(value) and _fits(first, value, 0)
    last = parts.pop()
    end = len(value) - len(last)
    if end < len(first) or not _fits(first, value, 0) or not _fits(last, value, end):
        return False
    at = len(first)
    # Each part at the first place where it fits leaves most room for the others.
    for part in parts:
        while at + len(part) <= end and not _fits(part, value, at):
            at += 1
        at += len(part)
        if at > end:
            return False
    return True


def _fits(part: str, value: str, at: int) -> bool:
    return all(wanted in ("?", value[at + offset]) for offset, wanted in enumerate(part))


def _names(statement: Mapping[str, Any], element: str, value: str, *, fold: bool) -> bool:
    def among(patterns: tuple[str, ...]) -> bool:
        return any(matches(_without_variables(p.lower() if fold else p), value) for p in patterns)

    if f"Not{element}" in statement:
        return not among(_listed(statement[f"Not{element}"]))
    # A question about all resources is about the statement's own.
    return among(_listed(statement.get(element))) or (element == "Resource" and value == "*")


def _without_variables(pattern: str) -> str:
    """`${aws:username}` and the like may stand for anything."""
    return re.sub(r"\$\{[^}]*\}", "*", pattern)


def _written(statement: Mapping[str, Any], element: str) -> tuple[str, ...]:
    if f"Not{element}" in statement:
        return tuple(f"not {item}" for item in _listed(statement[f"Not{element}"]))
    return _listed(statement.get(element))


def _listed(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _keys(conditions: Mapping[str, Any]) -> set[str]:
    return {key.lower() for tests in conditions.values() if isinstance(tests, Mapping) for key in tests}


def _place(say: Say) -> str:
    statement = f"statement {say.sid}" if say.sid else f"statement {say.index + 1}"
    return f"{statement} of the {say.policy.source} policy {say.policy.name}"
