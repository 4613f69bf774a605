"""Alarms that are silent for a while: a one-time schedule turns their actions on again.

An alarm is as DescribeAlarms shows it, its end as EventBridge Scheduler's GetSchedule does (None where there is none).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from watchfloor.errors import ConflictError

_DESCRIPTION_CHARACTERS = 512


def check_owner(alarm: Mapping[str, Any], end: Mapping[str, Any] | None, *, minutes: int) -> None:
    """Refuse an alarm whose actions somebody else turned off."""
    if alarm["ActionsEnabled"] or end is not None:
        return
    name = alarm["AlarmName"]
    if minutes == 0:
        raise ConflictError(f"the actions of {name} are off, but not by this script")
    raise ConflictError(
        f"the actions of {name} are off already, and not by this script: at its end they would be turned on against"
        " somebody's will"
    )


def told(alarm: Mapping[str, Any], end: Mapping[str, Any] | None) -> dict[str, Any]:
    """An alarm before something is done to it."""
    return {
        "alarm_name": alarm["AlarmName"],
        "alarm_state": alarm["StateValue"],
        "was_silent": not alarm["ActionsEnabled"],
        "was_silent_until": _end_of(end),
        "was_silenced_by": (end or {}).get("Description"),
    }


def _end_of(end: Mapping[str, Any] | None) -> str | None:
    found = re.fullmatch(r"at\((.+)\)", (end or {}).get("ScheduleExpression", ""))
    return f"{found[1]}+00:00" if found else None


def schedule_name(prefix: str, alarm_name: str) -> str:
    """One schedule an alarm; alarm names may hold what schedule names may not."""
    return f"{prefix}{hashlib.sha256(alarm_name.encode()).hexdigest()[:16]}"


def scheduled_end(alarm_name: str, until: dt.datetime, why: str, role_arn: str) -> dict[str, Any]:
    """The schedule, without its name, that turns an alarm's actions on once by means of a role, and then goes."""
    partition = role_arn.split(":")[1]
    return {
        "Description": why[:_DESCRIPTION_CHARACTERS],
        "ScheduleExpression": f"at({until:%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": f"arn:{partition}:scheduler:::aws-sdk:cloudwatch:enableAlarmActions",
            "RoleArn": role_arn,
            "Input": json.dumps({"AlarmNames": [alarm_name]}),
        },
    }
