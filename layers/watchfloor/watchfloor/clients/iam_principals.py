"""Roles and users of IAM, their policies, and what these allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from watchfloor.policies import Policy


class IamPrincipals:
    """`iam` is a boto3 IAM client; its errors are named by who runs the script."""

    def __init__(self, iam: Any) -> None:
        self._iam = iam

    def find(self, principal: str) -> dict[str, Any]:
        """`role/<name>` or `user/<name>`, as GetRole or GetUser answers."""
        kind, _, name = principal.partition("/")
        if kind == "role":
            return self._iam.get_role(RoleName=name)["Role"]
        return self._iam.get_user(UserName=name)["User"]

    def simulated(
        self,
        principal: Mapping[str, Any],
        actions: Sequence[str],
        resource: str,
        context: Mapping[str, str | list[str]],
    ) -> list[dict[str, Any]]:
        """IAM's decision on each action, as SimulatePrincipalPolicy answers."""
        return self._iam.simulate_principal_policy(
            PolicySourceArn=principal["Arn"],
            ActionNames=list(actions),
            ResourceArns=[resource],
            ContextEntries=[
                {
                    "ContextKeyName": key,
                    "ContextKeyType": "string" if isinstance(value, str) else "stringList",
                    "ContextKeyValues": [value] if isinstance(value, str) else value,
                }
                for key, value in context.items()
            ],
        )["EvaluationResults"]

    def policies(self, principal: Mapping[str, Any]) -> Iterator[Policy]:
        """Of a role, or of a user and the user's groups; and the permissions boundary."""
        yield from (
            self._of_role(principal["RoleName"]) if "RoleName" in principal else self._of_user(principal["UserName"])
        )
        if arn := principal.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"):
            yield self._managed(arn, "boundary")

    def _of_role(self, name: str) -> Iterator[Policy]:
        for inline in _rows(self._iam.get_paginator("list_role_policies").paginate(RoleName=name), "PolicyNames"):
            found = self._iam.get_role_policy(RoleName=name, PolicyName=inline)
            yield Policy(inline, "inline", found["PolicyDocument"])
        yield from self._attached(
            self._iam.get_paginator("list_attached_role_policies").paginate(RoleName=name), "managed"
        )

    def _of_user(self, name: str) -> Iterator[Policy]:
        for inline in _rows(self._iam.get_paginator("list_user_policies").paginate(UserName=name), "PolicyNames"):
            found = self._iam.get_user_policy(UserName=name, PolicyName=inline)
            yield Policy(inline, "inline", found["PolicyDocument"])
        yield from self._attached(
            self._iam.get_paginator("list_attached_user_policies").paginate(UserName=name), "managed"
        )
        for group in _rows(self._iam.get_paginator("list_groups_for_user").paginate(UserName=name), "Groups"):
            yield from self._of_group(group["GroupName"])

    def _of_group(self, name: str) -> Iterator[Policy]:
        for inline in _rows(self._iam.get_paginator("list_group_policies").paginate(GroupName=name), "PolicyNames"):
            found = self._iam.get_group_policy(GroupName=name, PolicyName=inline)
            yield Policy(f"{name}/{inline}", "group", found["PolicyDocument"])
        yield from self._attached(
            self._iam.get_paginator("list_attached_group_policies").paginate(GroupName=name), "group"
        )

    def _attached(self, pages: Iterable[Mapping[str, Any]], source: str) -> Iterator[Policy]:
        for attached in _rows(pages, "AttachedPolicies"):
            yield self._managed(attached["PolicyArn"], source)

    def _managed(self, arn: str, source: str) -> Policy:
        name = arn.rpartition("/")[2]
        try:
            version = self._iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = self._iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]
        except self._iam.exceptions.NoSuchEntityException:
            # Deleted while this is read; the decision is IAM's all the same.
            return Policy(name, f"{source} (not found)", {})
        return Policy(name, source, found["Document"])


def _rows(pages: Iterable[Mapping[str, Any]], key: str) -> Iterator[Any]:
    for page in pages:
        yield from page[key]
