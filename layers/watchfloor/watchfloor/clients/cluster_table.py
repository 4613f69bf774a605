"""The ledger of clusters: what each one amounts to over all runs.

Every row keeps the totals before and after the run that touched it last, so a repeated run counts once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from watchfloor.clients.aws import passing_errors
from watchfloor.clients.batch_read import read_items
from watchfloor.clusters import Totals


class ClusterTable:
    """Key `cluster_id`; `before` and `total` hold a cluster's totals as JSON.

    Parameters
    ----------
    table
        boto3 DynamoDB Table resource.
    retention_seconds
        A cluster that no alert joined for this long is forgotten.
    """

    def __init__(self, table: Any, retention_seconds: int = 400 * 86_400) -> None:
        self._table = table
        self._retention_seconds = retention_seconds

    def totals_before(self, cluster_ids: Iterable[str], run_id: str) -> dict[str, dict[str, Any]]:
        """Totals of the known clusters as they were before this run."""
        totals = {}
        for item in read_items(self._table, "cluster_id", cluster_ids):
            value = item.get("before") if item["run_id"] == run_id else item["total"]
            if value:
                totals[item["cluster_id"]] = orjson.loads(value)
        return totals

    def record(self, run_id: str, totals: Mapping[str, Totals], before: Mapping[str, Totals]) -> None:
        """Write the totals after this run, and remember those before it."""
        expires = int(time.time()) + self._retention_seconds
        with passing_errors(), self._table.batch_writer(overwrite_by_pkeys=["cluster_id"]) as writer:
            for cluster_id, total in totals.items():
                item = {
                    "cluster_id": cluster_id,
                    "run_id": run_id,
                    "total": orjson.dumps(total.to_json()).decode(),
                    "expires_at": expires,
                }
                if cluster_id in before:
                    item["before"] = orjson.dumps(before[cluster_id].to_json()).decode()
                writer.put_item(Item=item)
