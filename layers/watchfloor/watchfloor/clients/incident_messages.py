"""An incident's message in Slack: posted once a generation, in one thread, and kept up to date."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import orjson

from watchfloor.clients.documents import Documents
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.slack import Slack, UnknownOutcomeError
from watchfloor.errors import InvalidInputError, TransientError
from watchfloor.incidents import message_state, postponed, refreshed
from watchfloor.layout import IncidentLayout
from watchfloor.messages import incident_message

# An execution takes less, whatever is down.
_PATIENCE_SECONDS = 3_600


class IncidentMessages:
    """The first message about a fingerprint begins a thread; when the error is back, a reply says so there."""

    def __init__(self, table: IncidentTable, slack: Slack | None, documents: Documents) -> None:
        self._table = table
        self._slack = slack
        self._documents = documents

    def tell(self, fingerprint: str, generation: int) -> str:
        """Tell of a generation, once, whatever is repeated: `sent`, or `unknown` where Slack's answer got lost.

        Raises
        ------
        TransientError
            Slack did not take it; try again.
        InvalidInputError
            Slack refuses.
        """
        if not self._slack:
            return "skipped"
        name = f"{fingerprint}-{generation}"
        known = self._table.message(fingerprint)
        if known.get("told") == name:
            return "sent" if known.get("is_certain", True) else "unknown"
        again = known.get("attempted") == name
        report = self._documents.read_json(IncidentLayout(fingerprint, generation).report)
        state = message_state(self._table.get(fingerprint), self._table.per_day(fingerprint), now=time.time())
        self._table.keep_message(fingerprint, attempted=name)
        message = incident_message(report, state, buttons=self._slack.can_thread)
        try:
            thread_ts = self._thread(known, message)
            posted = self._slack.post(message, name, thread_ts, again=again)
        except UnknownOutcomeError:
            raise
        except TransientError:
            # Whether an earlier try posted it is as open as before.
            if not again:
                self._table.keep_message(fingerprint, attempted="")
            raise
        place = {} if thread_ts else {"channel": posted.channel, "ts": posted.ts}
        self._table.keep_message(fingerprint, told=name, is_certain=posted.is_certain, shown=_digest(message), **place)
        return "sent" if posted.is_certain else "unknown"

    def _thread(self, known: Mapping[str, Any], message: Mapping[str, Any]) -> str | None:
        """The thread to go on with, its first message brought up to date; None where a new one has to begin."""
        slack = self._slack
        # The channel may be another one since, and a thread lies in one.
        if not slack or not slack.can_thread or not known.get("ts") or known["channel"] != slack.channel:
            return None
        try:
            return known["ts"] if slack.update(known["channel"], known["ts"], message) else None
        except InvalidInputError:
            # An earlier app's message, or one that is too old to be changed; what is wrong with all, `post` says.
            return None

    def refresh(self, fingerprint: str) -> bool:
        """Bring the message up to date with its incident, where that has changed; False where there is none to change."""
        now = time.time()
        incident = self._table.get(fingerprint)
        known = self._table.message(fingerprint)
        is_told = bool(known.get("told"))
        if is_told and known.get("ts") and self._slack and self._slack.can_thread:
            generation = int(known["told"].rpartition("-")[2])
            report = self._documents.read_json(IncidentLayout(fingerprint, generation).report)
            message = incident_message(report, message_state(incident, self._table.per_day(fingerprint), now=now))
            if known.get("shown") != _digest(message):
                self._slack.update(known["channel"], known["ts"], message)
                self._table.keep_message(fingerprint, shown=_digest(message))
        elif self._slack and not is_told and now - incident.due_at < _PATIENCE_SECONDS:
            # Its execution has not come that far yet.
            return False
        # What changed since then remains to be shown; others come first.
        self._table.change(
            fingerprint,
            lambda row: refreshed(row, now=now) if row.version == incident.version else postponed(row, until=now),
        )
        return is_told


def _digest(message: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(message)).hexdigest()[:16]
