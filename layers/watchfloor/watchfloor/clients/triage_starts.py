"""Executions of error triage: one for each generation of an incident, so many an hour."""

from __future__ import annotations

import time

from watchfloor.clients.executions import Executions
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.incidents import Incident, held, hour_of, started


class TriageStarts:
    """
    Parameters
    ----------
    machine_arn
        The state machine.
    per_hour
        Executions that may begin in one hour of the clock.
    context_wait_seconds
        How long each waits for the lines that follow its error.
    """

    def __init__(
        self,
        table: IncidentTable,
        executions: Executions,
        machine_arn: str,
        *,
        per_hour: int,
        context_wait_seconds: int,
    ) -> None:
        self._table = table
        self._executions = executions
        self._machine_arn = machine_arn
        self._per_hour = per_hour
        self._context_wait_seconds = context_wait_seconds

    def start(self, incident: Incident) -> bool:
        """Start the generation's execution; False where it is held back. May be repeated: each starts once."""
        now = time.time()
        if not self._table.take_start(hour_of(now), incident.name, self._per_hour):
            self._table.change(incident.fingerprint, lambda row: held(row, now=now) if row.needs_start else row)
            return False
        self._executions.start(
            self._machine_arn,
            incident.name,
            {
                "fingerprint": incident.fingerprint,
                "generation": incident.generation,
                "context_wait_seconds": self._context_wait_seconds,
            },
        )
        self._table.change(incident.fingerprint, lambda row: started(row, incident.generation, now=now))
        return True
