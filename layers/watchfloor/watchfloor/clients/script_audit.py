"""The record of every call of an ops script: who asked for what, and what came of it."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

from watchfloor.clients.aws import passing_errors
from watchfloor.scripts import Answer, Call, dump

# An item may have 400 KB.
_MAX_CHARACTERS = 50_000


class ScriptAudit:
    """Table with key `script`, `call` (when it began, and the request's id); index `by_requester`.

    Written before the script does anything and again at its end, so that a call that was cut off leaves a record
    that says `started`.
    """

    def __init__(self, table: Any, retention_days: int) -> None:
        self._table = table
        self._retention_seconds = retention_days * 86_400

    def start(
        self,
        script: str,
        request_id: str,
        *,
        requested_by: str,
        parameters: Any,
        dry_run: bool,
        approval_id: str,
        function: str,
    ) -> dict[str, str]:
        """Write that the call begins; the record's key."""
        now = dt.datetime.now(dt.UTC)
        key = {"script": script, "call": f"{now.isoformat(timespec='milliseconds')}#{request_id}"}
        item = {
            **key,
            "request_id": request_id,
            "requested_by": requested_by,
            "parameters": _text(parameters),
            "dry_run": dry_run,
            "function": function,
            "status": "started",
            "expires_at": int(now.timestamp()) + self._retention_seconds,
        }
        if approval_id:
            item["approval_id"] = approval_id
        with passing_errors():
            self._table.put_item(Item=item)
        return key

    def end(self, key: dict[str, str], answer: Answer, calls: list[Call]) -> None:
        """Write what came of it."""
        values = {
            "status": answer.status,
            "status_code": answer.status_code,
            "changed": answer.changed,
            "calls": _text([call.record() for call in calls]),
            "outcome": _text(answer.content),
            "duration_ms": answer.duration_ms,
            "ended_at": int(time.time()),
        }
        with passing_errors():
            self._table.update_item(
                Key=key,
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
                ExpressionAttributeNames={f"#{name}": name for name in values},
                ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
            )


def _text(value: Any) -> str:
    text = dump(value).decode()
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
