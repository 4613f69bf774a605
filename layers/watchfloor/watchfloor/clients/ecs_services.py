"""What ECS says about a service."""

from __future__ import annotations

from typing import Any

from watchfloor.errors import NotFoundError


class EcsServices:
    """`ecs` is a boto3 ECS client; its errors are named by who runs the script."""

    def __init__(self, ecs: Any) -> None:
        self._ecs = ecs

    def find(self, cluster: str, name: str) -> dict[str, Any]:
        """As DescribeServices answers; NotFoundError where there is no such service."""
        found = self._ecs.describe_services(cluster=cluster, services=[name])["services"]
        if not found:
            raise NotFoundError(f"there is no service {name} in the cluster {cluster}")
        return found[0]
