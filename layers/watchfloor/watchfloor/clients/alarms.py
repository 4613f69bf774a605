"""What CloudWatch says of alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchfloor.clients.aws import passing_errors
from watchfloor.errors import NotFoundError

_MAX_PAGES = 5
_NAMES = 100
_KINDS = ["MetricAlarm", "CompositeAlarm"]


class Alarms:
    """`cloudwatch` is a boto3 CloudWatch client."""

    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch

    def ringing(self, dimension: str, value: str) -> list[dict[str, Any]]:
        """Metric alarms in ALARM whose metric, or one of whose metrics, has this dimension."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        for _ in range(_MAX_PAGES):
            with passing_errors():
                page = self._cloudwatch.describe_alarms(
                    StateValue="ALARM", AlarmTypes=["MetricAlarm"], MaxRecords=100, **token
                )
            found += [alarm for alarm in page["MetricAlarms"] if (dimension, value) in set(_dimensions(alarm))]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        return found

    def find(self, name: str) -> dict[str, Any]:
        """The metric or composite alarm of this name; NotFoundError where there is none."""
        found = self.named([name])
        if not found:
            raise NotFoundError(f"there is no alarm {name}")
        return found[0]

    def named(self, names: Sequence[str], prefix: str = "") -> list[dict[str, Any]]:
        """Metric and composite alarms of these names, and those whose names begin so, by name."""
        requests: list[dict[str, Any]] = [{"AlarmNamePrefix": prefix}] if prefix else []
        requests += [{"AlarmNames": list(names[start : start + _NAMES])} for start in range(0, len(names), _NAMES)]
        found: dict[str, dict[str, Any]] = {}
        for request in requests:
            pages = self._cloudwatch.get_paginator("describe_alarms").paginate(**request, AlarmTypes=_KINDS)
            for page in pages:
                for alarm in page.get("MetricAlarms", []) + page.get("CompositeAlarms", []):
                    found[alarm["AlarmName"]] = alarm
        return [alarm for _, alarm in sorted(found.items())]


def _dimensions(alarm: dict[str, Any]) -> list[tuple[str, str]]:
    metrics = [alarm, *(query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query)]
    return [(row["Name"], row["Value"]) for metric in metrics for row in metric.get("Dimensions", [])]
