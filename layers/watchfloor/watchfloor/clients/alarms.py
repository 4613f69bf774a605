"""CloudWatch alarms that ring."""

from __future__ import annotations

from typing import Any

from watchfloor.clients.aws import passing_errors

_MAX_PAGES = 5


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


def _dimensions(alarm: dict[str, Any]) -> list[tuple[str, str]]:
    metrics = [alarm, *(query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query)]
    return [(row["Name"], row["Value"]) for metric in metrics for row in metric.get("Dimensions", [])]
