"""What RDS says about its instances and clusters. Never connects to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code
from watchfloor.errors import NotFoundError

_MOST_EVENTS = 100


class Databases:
    """`rds` is a boto3 RDS client; its errors are named by who runs the script."""

    def __init__(self, rds: Any) -> None:
        self._rds = rds

    def instance(self, name: str) -> dict[str, Any]:
        """As DescribeDBInstances answers; NotFoundError where there is no such instance."""
        try:
            return self._rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
        except ClientError as error:
            raise _missing(error, name, "instance", "cluster") from error

    def cluster(self, name: str) -> dict[str, Any]:
        """As DescribeDBClusters answers; NotFoundError where there is no such cluster."""
        try:
            return self._rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]
        except ClientError as error:
            raise _missing(error, name, "cluster", "instance") from error

    def parameters(self, groups: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Parameters of parameter groups."""
        pages = self._rds.get_paginator("describe_db_parameters")
        for group in groups:
            try:
                for page in pages.paginate(DBParameterGroupName=group):
                    yield from page["Parameters"]
            except ClientError as error:
                # A group that is gone explains nothing; the database itself is looked at all the same.
                if "NotFound" not in error_code(error):
                    raise

    def events(self, kind: str, name: str, minutes: int) -> list[dict[str, Any]]:
        """RDS's own events of a db-instance or db-cluster."""
        answer = self._rds.describe_events(
            SourceType=kind, SourceIdentifier=name, Duration=minutes, MaxRecords=_MOST_EVENTS
        )
        return answer["Events"]

    def maintenance(self, arn: str) -> list[dict[str, Any]]:
        """Maintenance that is due."""
        answer = self._rds.describe_pending_maintenance_actions(ResourceIdentifier=arn)
        return [
            action
            for resource in answer["PendingMaintenanceActions"]
            for action in resource["PendingMaintenanceActionDetails"]
        ]


def _missing(error: ClientError, name: str, kind: str, other: str) -> Exception:
    if "NotFound" in error_code(error):
        return NotFoundError(f"there is no database {kind} {name} in this region; is it a {other} (kind: {other})?")
    return error
