"""Which execution works on a run."""

from __future__ import annotations

from typing import Any

from watchfloor.clients.executions import Executions
from watchfloor.clients.run_table import CLAIMED, SUCCEEDED, RunTable
from watchfloor.clients.stream_table import StreamTable, Ticket
from watchfloor.runs import RunSource

_SKIP = {"decision": "skip", "stage": "other"}


class Claims:
    def __init__(self, runs: RunTable, streams: StreamTable, executions: Executions) -> None:
        self._runs = runs
        self._streams = streams
        self._executions = executions

    def claim(self, source: RunSource, execution_arn: str) -> dict[str, Any]:
        """Take the run, new or left behind by a dead execution; `decision` is `skip` where it is another's.

        A claim draws the ticket that fixes the order of arrival. May be repeated.
        """
        row = self._runs.get(source.run_id)
        if row is None:
            ticket = self._streams.draw_ticket(source.stream)
            created = {**source.to_json(), "execution_arn": execution_arn, "ticket": ticket}
            if self._runs.create(source.run_id, created):
                row = {**created, "stage": CLAIMED, "status": "RUNNING"}
            else:
                row = self._runs.get(source.run_id) or {}
        if row["status"] == SUCCEEDED:
            return {**_SKIP, "reason": "the run succeeded before"}
        if row["execution_arn"] != execution_arn:
            if self._executions.is_running(row["execution_arn"]):
                return {**_SKIP, "reason": "another execution is at it"}
            ticket = self._streams.draw_ticket(source.stream)
            if not self._runs.take_over(source.run_id, row["execution_arn"], execution_arn, ticket):
                return {**_SKIP, "reason": "another execution was faster"}
            self._streams.remove_ticket(source.stream, row["ticket"])
            row["ticket"] = ticket
        self._streams.put_ticket(Ticket(source.stream, row["ticket"], source.run_id, execution_arn))
        known = {key: row[key] for key in _CARRIED if key in row}
        return {"decision": "run", "ticket": row["ticket"], **known}


# What a run that is taken over brings along.
_CARRIED = ("stage", "batch_count", "unknown_name_count", "base_version", "next_batch")
