"""Schedules of EventBridge Scheduler."""

from __future__ import annotations

from typing import Any

from watchfloor.clients.aws import or_none


class Schedules:
    """`scheduler` is a boto3 EventBridge Scheduler client; its errors are named by who runs the script."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    def find(self, name: str) -> dict[str, Any] | None:
        """As GetSchedule answers; None where there is no such schedule (any more)."""
        return or_none(lambda: self._scheduler.get_schedule(Name=name), "ResourceNotFoundException")
