"""Values of CloudWatch's metrics."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

# Of one request.
_MOST_METRICS = 500


class Metrics:
    """Metrics of things of one kind; `cloudwatch` is a boto3 CloudWatch client.

    Parameters
    ----------
    namespace
        Such as AWS/SQS.
    dimension
        The dimension that names a thing, such as QueueName.
    """

    def __init__(self, cloudwatch: Any, namespace: str, dimension: str) -> None:
        self._cloudwatch = cloudwatch
        self._namespace = namespace
        self._dimension = dimension

    def values(
        self,
        names: Iterable[str],
        metrics: Mapping[str, tuple[str, str]],
        begin: dt.datetime,
        end: dt.datetime,
        *,
        period_seconds: int,
    ) -> dict[str, dict[str, list[float]]]:
        """Of each thing the values of each metric, the latest first.

        Parameters
        ----------
        metrics
            Metric and statistic, each by the key that stands for them in the answer.
        """
        found: dict[str, dict[str, list[float]]] = {name: {key: [] for key in metrics} for name in names}
        asked = [(name, key) for name in found for key in metrics]
        for start in range(0, len(asked), _MOST_METRICS):
            places = {f"m{number}": place for number, place in enumerate(asked[start : start + _MOST_METRICS])}
            queries = [
                {
                    "Id": number,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": self._namespace,
                            "MetricName": metrics[key][0],
                            "Dimensions": [{"Name": self._dimension, "Value": name}],
                        },
                        "Period": period_seconds,
                        "Stat": metrics[key][1],
                    },
                }
                for number, (name, key) in places.items()
            ]
            pages = self._cloudwatch.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries, StartTime=begin, EndTime=end, ScanBy="TimestampDescending"
            )
            for page in pages:
                for series in page["MetricDataResults"]:
                    name, key = places[series["Id"]]
                    found[name][key] += series["Values"]
        return found
