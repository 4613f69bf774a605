"""The deployed ops scripts, as a test drives them: call, compare what was asked for and what is there, read alarms."""

from __future__ import annotations

import json
import time
from typing import Any

from local.scripts.catalog import ROOT, Entry
from tests.e2e.pipeline import Pipeline
from tests.script_scenarios import Change, shop
from watchfloor import iam_actions
from watchfloor.clients.items import plain

Json = dict[str, Any]
# What every call of a script changes: its own logs, metrics and record. Alarms are looked at once a second.
_OWN_TRACES = ("cloudwatch_logs/", "cloudwatch/metrics/", "cloudwatch/alarm_history/")
_SETTLE_SECONDS = 0.3


class Scripts:
    """The ops scripts of one deployment."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.cloud: Any = pipeline.deployment.cloud
        self.shop = shop(pipeline.deployment)
        self.functions = pipeline.deployment.client("lambda")
        outputs = pipeline.deployment.outputs
        self._audit, self._approvals = outputs["ScriptAuditTableName"], outputs["ApprovalTableName"]

    # --- what there is

    def snapshot(self) -> dict[str, str]:
        """A digest of every resource of the local cloud, the scripts' own traces aside."""
        time.sleep(_SETTLE_SECONDS)
        return {
            key: value
            for key, value in self.cloud.state().items()
            if not key.startswith(_OWN_TRACES) and self._audit not in key
        }

    @staticmethod
    def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
        return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))

    # --- what was asked for

    def calls(self, script: str) -> list[tuple[str, str]]:
        """Actions and resources that the script's role has asked for and got, its record and its approval aside."""
        role = self.functions.get_function_configuration(FunctionName=script)["Role"].rpartition("/")[2]
        return [
            (call["action"], call["resource"])
            for call in self.cloud.calls()
            if f":assumed-role/{role}/" in call["caller"]
            and call["allowed"]
            and not call["resource"].endswith((self._audit, self._approvals))
        ]

    def writes_since(self, script: str, count: int) -> list[str]:
        """The writing actions among the calls that came after the first `count`, less those that it only reads by."""
        actions = [action for action, _ in self.calls(script)[count:]]
        reading = Entry(ROOT, script.replace("-", "_")).script.reading
        return [
            action for action in actions if not iam_actions.is_reading(*action.split(":")) and action not in reading
        ]

    @staticmethod
    def actions_of(planned: list[Json]) -> list[str]:
        """The actions that planned calls stand for, by which the local cloud knows them."""
        # What is no call of AWS's, the local cloud does not see.
        calls = [call for call in planned if call["service"] != "http"]
        return [iam_actions.actions(call["service"], call["operation"])[0] for call in calls]

    def run(self, change: Change, parameters: Json, **controls: Any) -> Any:
        if change.needs_approval and not controls.get("dry_run"):
            controls["approval_id"] = self.shop.approval(change.script, parameters)
        return self.shop.call(change.script, parameters, **controls)

    def records(self, script: str) -> list[Json]:
        """The script's audit records, the oldest first."""
        table = self.pipeline.deployment.table("ScriptAuditTableName")
        rows = table.query(
            KeyConditionExpression="#s = :s",
            ExpressionAttributeNames={"#s": "script"},
            ExpressionAttributeValues={":s": script},
        )["Items"]
        return [plain(row) for row in rows]

    # --- alarms

    def alarm_mails(self, name: str, seconds: float = 20) -> list[Json]:
        """What CloudWatch told those on duty of alarms whose name contains this."""
        mails = self.pipeline.mails(name, seconds)
        return [json.loads(mail["Message"]) for mail in mails]
