"""Attaching log groups to error triage: subscription filters that lead to its function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from local.pipeline import UserError
from local.sandbox import Deployment
from watchfloor.incidents import is_own

# CloudWatch Logs takes two subscription filters a log group.
FILTERS_A_GROUP = 2


@dataclass(frozen=True)
class Attached:
    """A log group whose errors reach error triage."""

    log_group: str
    filter_name: str
    pattern: str


class LogGroups:
    """The log groups of an account, as far as error triage is concerned.

    Parameters
    ----------
    deployment
        The application, with its outputs.
    stack
        The root stack's name, by which our filters are called.
    """

    def __init__(self, deployment: Deployment, stack: str) -> None:
        self._logs = deployment.client("logs")
        self._function_arn = deployment.outputs["TriageFunctionArn"]
        self._filter_name = f"{stack}-triage"
        self._deployment = deployment
        self._stack = stack

    def attach(self, name: str, pattern: str | None = None) -> Attached:
        """Have errors of a log group explained from now on; repeated, it changes the pattern.

        Raises
        ------
        UserError
            When the group is one of our own, is not there, can have no (further) filter, or the pattern is wrong.
        """
        self._refuse_own(name)
        group = self._described(name)
        if group.get("logGroupClass") == "INFREQUENT_ACCESS":
            raise UserError(
                f"{name} is of the class INFREQUENT_ACCESS, which has no subscription filters",
                "Have its application write to a log group of the class STANDARD.",
            )
        others = [row for row in self._filters(name) if row["filterName"] != self._filter_name]
        if len(others) >= FILTERS_A_GROUP:
            names = ", ".join(row["filterName"] for row in others)
            raise UserError(
                f"{name} has {len(others)} subscription filters already ({names}), and CloudWatch Logs takes no more",
                f"aws logs delete-subscription-filter --log-group-name {name} --filter-name NAME removes one.",
            )
        wanted = self.default_pattern() if pattern is None else pattern
        try:
            self._logs.put_subscription_filter(
                logGroupName=name,
                filterName=self._filter_name,
                filterPattern=wanted,
                destinationArn=self._function_arn,
            )
        except ClientError as error:
            raise _refused(error, f"{name} cannot be attached") from error
        return Attached(name, self._filter_name, wanted)

    def detach(self, name: str) -> None:
        """Have errors of a log group explained no more."""
        try:
            self._logs.delete_subscription_filter(logGroupName=name, filterName=self._filter_name)
        except self._logs.exceptions.ResourceNotFoundException as error:
            raise UserError(
                f"{name} is not attached", "watchfloor triage list --log-groups shows which are."
            ) from error
        except ClientError as error:
            raise _refused(error, f"{name} cannot be detached") from error

    def attached(self, prefix: str = "") -> Iterator[Attached]:
        """Log groups that lead to this stack's function; asks each group whose name begins so."""
        for group in self._groups(prefix):
            for row in self._filters(group["logGroupName"]):
                if row["destinationArn"] == self._function_arn:
                    yield Attached(group["logGroupName"], row["filterName"], row.get("filterPattern", ""))

    def default_pattern(self) -> str:
        """The stack's parameter TriageFilterPattern."""
        stacks = self._deployment.client("cloudformation").describe_stacks(StackName=self._stack)["Stacks"]
        found = {row["ParameterKey"]: row["ParameterValue"] for row in stacks[0].get("Parameters", [])}
        return found["TriageFilterPattern"]

    def own_prefixes(self) -> list[str]:
        """What the names of our own log groups begin with, as the function that receives errors has it."""
        functions = self._deployment.client("lambda")
        variables = functions.get_function_configuration(FunctionName=self._function_arn)["Environment"]["Variables"]
        return [prefix for prefix in variables["OWN_LOG_GROUPS"].split(",") if prefix]

    def _refuse_own(self, name: str) -> None:
        if is_own(name, self.own_prefixes()):
            raise UserError(
                f"{name} is one of Watchfloor's own log groups: what it writes of an error would be an error to explain",
                "Attach the log groups of your applications. Watchfloor's own failures come as alarms.",
            )

    def _described(self, name: str) -> dict[str, Any]:
        for group in self._groups(name):
            if group["logGroupName"] == name:
                return group
        last = name.rpartition("/")[2]
        near = [
            group["logGroupName"] for group in self._groups("", limit=500) if last and last in group["logGroupName"]
        ]
        raise UserError(
            f"there is no log group {name}",
            f"There is {', '.join(near[:5])}." if near else "aws logs describe-log-groups lists them.",
        )

    def _groups(self, prefix: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        pages = self._logs.get_paginator("describe_log_groups").paginate(
            **({"logGroupNamePrefix": prefix} if prefix else {}), PaginationConfig={"MaxItems": limit}
        )
        for page in pages:
            yield from page["logGroups"]

    def _filters(self, name: str) -> list[dict[str, Any]]:
        return self._logs.describe_subscription_filters(logGroupName=name)["subscriptionFilters"]


def _refused(error: ClientError, what: str) -> UserError:
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    fixes = {
        "InvalidParameterException": "Mend the pattern (CloudWatch Logs, filter pattern syntax), or leave --pattern out.",
        "LimitExceededException": "CloudWatch Logs takes two subscription filters a log group; remove one.",
        "AccessDeniedException": "It takes logs:PutSubscriptionFilter on the log group.",
        "ResourceNotFoundException": "aws logs describe-log-groups lists the log groups.",
    }
    return UserError(f"{what}: {message}", fixes.get(code, "Try again."))
