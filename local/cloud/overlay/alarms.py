"""CloudWatch alarms that look at their dimensions and are looked at without being asked.

MiniStack compares an alarm with the metrics of all dimensions, and only when a metric comes in through the API.
"""

from __future__ import annotations

import contextvars
import operator
import threading
import time
from typing import Any

from ministack.services import cloudwatch

from local.cloud import anchors

TICK_SECONDS = 1.0

_COMPARISONS = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_lock = threading.RLock()


def install() -> None:
    anchors.replace("services.cloudwatch:_evaluate_alarm", evaluate)
    record = anchors.replace(
        "services.cloudwatch:record_metric",
        lambda namespace, name, *arguments, **keywords: _recorded(record, namespace, name, *arguments, **keywords),
    )
    threading.Thread(target=contextvars.copy_context().run, args=(_tick,), daemon=True, name="alarms").start()


def evaluate(alarm: dict[str, Any]) -> None:
    """Bring an alarm's state up to date and tell its actions of a change. Alarms on metric maths are left alone."""
    comparison = _COMPARISONS.get(alarm.get("ComparisonOperator", ""))
    if comparison is None or not alarm.get("MetricName"):
        return
    with _lock:
        values = _values(alarm)
        needed = alarm.get("DatapointsToAlarm") or alarm.get("EvaluationPeriods", 1)
        breaching = sum(1 for value in values if value is not None and comparison(value, alarm["Threshold"]))
        missing, known = values.count(None), len(values) - values.count(None)
        treatment = alarm.get("TreatMissingData") or "missing"
        if treatment == "breaching":
            breaching += missing
        if known == 0 and treatment in ("missing", "ignore"):
            state = alarm["StateValue"] if treatment == "ignore" else "INSUFFICIENT_DATA"
        else:
            state = "ALARM" if breaching >= needed else "OK"
        before = alarm["StateValue"]
        if state == before:
            return
        shown = [value for value in values if value is not None]
        reason = f"Threshold Crossed: {shown} {alarm['ComparisonOperator']} {alarm['Threshold']}"
        alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _values(alarm: dict[str, Any]) -> list[float | None]:
    """The statistic of each period, the latest first."""
    dimensions = {item["Name"]: item["Value"] for item in alarm.get("Dimensions") or []}
    key = (alarm.get("Namespace"), alarm["MetricName"], cloudwatch._dims_key(dimensions))
    points = list(cloudwatch._metrics.get(key) or [])
    period, now = alarm.get("Period", 60), time.time()
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    values: list[float | None] = []
    for index in range(alarm.get("EvaluationPeriods", 1)):
        end = now - index * period
        within = [point for point in points if end - period < point["Timestamp"] <= end]
        values.append(cloudwatch._stat_value(cloudwatch._calc_stats(within), statistic, within) if within else None)
    return values


def _recorded(record: Any, namespace: str, name: str, *arguments: Any, **keywords: Any) -> None:
    record(namespace, name, *arguments, **keywords)
    for alarm in list(cloudwatch._alarms.values()):
        if alarm.get("Namespace") == namespace and alarm.get("MetricName") == name:
            evaluate(alarm)


def _tick() -> None:
    """Let alarms return to OK when their metric falls silent."""
    while True:
        time.sleep(TICK_SECONDS)
        cloudwatch._evaluate_all_alarms()
