"""Target groups of load balancers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from watchfloor.clients.aws import or_none

_NOT_FOUND = ("TargetGroupNotFound", "TargetGroupNotFoundException")


class TargetGroups:
    """`elb` is a boto3 client of Elastic Load Balancing v2; its errors are named by who runs the script."""

    def __init__(self, elb: Any) -> None:
        self._elb = elb

    def find(self, arns: Iterable[str], load_balancers: Iterable[str], name: str | None) -> list[tuple[str, str]]:
        """ARN and name of target groups by their ARN, their load balancer's ARN, and their name, in order of name."""
        found = {arn: arn.split("/")[1] for arn in arns}
        requests: list[dict[str, Any]] = [{"LoadBalancerArn": arn} for arn in load_balancers]
        requests += [{"Names": [name]}] if name else []
        for request in requests:
            answer = or_none(partial(self._elb.describe_target_groups, **request), *_NOT_FOUND) or {"TargetGroups": []}
            found |= {row["TargetGroupArn"]: row["TargetGroupName"] for row in answer["TargetGroups"]}
        return sorted(found.items(), key=lambda item: item[1])

    def targets(self, arn: str) -> list[dict[str, Any]]:
        """As DescribeTargetHealth answers."""
        return self._elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
