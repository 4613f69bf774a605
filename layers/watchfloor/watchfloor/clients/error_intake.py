"""Errors of a delivery counted for their incidents, once, and kept where a new incident begins with them."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from watchfloor.clients.documents import Documents
from watchfloor.clients.incident_table import TRANSACTION_ITEMS, Counted, IncidentTable
from watchfloor.errors import ConflictError, TransientError
from watchfloor.fingerprints import Fingerprint, fingerprint
from watchfloor.incidents import Arrivals, Incident, arrivals, batch_digest, grouping, record, title_of
from watchfloor.layout import IncidentLayout
from watchfloor.log_events import ErrorEvent, LogBatch
from watchfloor.redaction import Redactor

# Event id -> what was logged, to the letter.
Messages = Mapping[str, str]
# Half a minute to a minute, with pauses of up to a second.
_TRIES = 80
# CloudWatch Logs takes events of the last fourteen days.
_DAYS = 15
# A transaction holds the delivery's mark, and of each incident itself, the end of its last generation, and its days.
_AT_ONCE = (TRANSACTION_ITEMS - 1) // (2 + _DAYS)


class Part(NamedTuple):
    """Errors of one fingerprint in a delivery: how they are grouped, the first one, their counts, what may be shown."""

    grouped_by: dict[str, Any]
    first: ErrorEvent
    new: Arrivals
    redacted: dict[str, Any]


class ErrorIntake:
    """
    Parameters
    ----------
    reopen_after_seconds
        Silence after which an error counts as back.
    with_ips
        Whether IP addresses are taken out of what is told too.
    """

    def __init__(
        self, table: IncidentTable, documents: Documents, *, reopen_after_seconds: float, with_ips: bool
    ) -> None:
        self._table = table
        self._documents = documents
        self._reopen_after_seconds = reopen_after_seconds
        self._with_ips = with_ips

    def take(self, batch: LogBatch, errors: Sequence[ErrorEvent]) -> list[Incident]:
        """Count the errors of a delivery; the incidents among theirs that wait for their execution."""
        delivery = batch_digest(batch.log_group, batch.log_stream, (event.id for event in batch.events))
        messages = {event.id: event.message for event in batch.events}
        grouped: dict[str, list[ErrorEvent]] = {}
        found: dict[str, Fingerprint] = {}
        # A flood repeats itself to the letter.
        known: dict[tuple[Any, ...], Fingerprint] = {}
        for error in errors:
            key = (error.explicit, error.type, error.text, error.exceptions)
            if key not in known:
                known[key] = fingerprint(error)
            value = known[key].value
            found[value] = known[key]
            grouped.setdefault(value, []).append(error)
        waiting: dict[str, Incident] = {}
        for value, group in grouped.items():
            for incident in self._take_group(f"{delivery}#{value}", found[value], group, messages):
                waiting[incident.fingerprint] = incident
        return list(waiting.values())

    def _take_group(
        self, delivery: str, found: Fingerprint, errors: Sequence[ErrorEvent], messages: Messages
    ) -> list[Incident]:
        """Errors of one fingerprint, which somebody may have split."""
        split_by = self._table.get(found.value).split_by
        if not split_by:
            return self._take_parts(delivery, [(found, errors)], messages)
        parts: dict[str, tuple[Fingerprint, list[ErrorEvent]]] = {}
        for error in errors:
            finer = fingerprint(error, split_by=split_by)
            parts.setdefault(finer.value, (finer, []))[1].append(error)
        waiting = []
        # By name, so that the same delivery falls into the same pieces again.
        ordered = [parts[value] for value in sorted(parts)]
        for start in range(0, len(ordered), _AT_ONCE):
            waiting += self._take_parts(f"{delivery}#{start}", ordered[start : start + _AT_ONCE], messages)
        return waiting

    def _take_parts(
        self, delivery: str, parts: Sequence[tuple[Fingerprint, Sequence[ErrorEvent]]], messages: Messages
    ) -> list[Incident]:
        shown = [part_of(found, errors, messages, ips=self._with_ips) for found, errors in parts]
        for attempt in range(_TRIES):
            changes: dict[str, Counted] = {}
            for part in shown:
                self._add(changes, part, messages)
            try:
                if self._table.count(delivery, list(changes.values())):
                    incidents = [change.after for change in changes.values()]
                else:
                    # Counted before; its execution may be missing all the same.
                    incidents = [self._table.get(value) for value in changes]
                return [incident for incident in incidents if incident.needs_start and not incident.is_held]
            except ConflictError:
                time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))
        raise TransientError(f"delivery {delivery}: its incidents are changed by too many at once")

    def _add(self, changes: dict[str, Counted], part: Part, messages: Messages) -> None:
        survivor = self._table.survivor(part.new.fingerprint)
        value = survivor.fingerprint
        earlier = changes.get(value)
        before = earlier.before if earlier else survivor
        after = record(
            earlier.after if earlier else survivor,
            part.new,
            now=time.time(),
            reopen_after_seconds=self._reopen_after_seconds,
        )
        if after.generation > before.generation and not earlier:
            # Before it is counted: an execution that finds nothing would have nothing to tell.
            layout, first = IncidentLayout(value, after.generation), part.first
            raw = {"error": first.to_dict(), "grouped_by": part.grouped_by, "first_message": messages[first.id]}
            self._documents.write_json(layout.raw, raw)
            self._documents.write_json(layout.error, part.redacted)
        per_day = dict(earlier.per_day) if earlier else {}
        for day, count in part.new.per_day.items():
            per_day[day] = per_day.get(day, 0) + count
        changes[value] = Counted(before, after, per_day)


def part_of(found: Fingerprint, errors: Sequence[ErrorEvent], messages: Messages, *, ips: bool) -> Part:
    """What a delivery's errors of one fingerprint add; redacted once, however often the counting is tried."""
    redactor = Redactor(ips=ips)
    first = min(errors, key=lambda error: error.time)
    # What was taken off before the message may be what says that it is a secret.
    redactor.lines(messages[event_id] for event_id in first.event_ids)
    error = redactor.value(first.to_dict())
    new = arrivals(found.value, errors, redactor.text(title_of(first)))
    return Part(grouping(found), first, new, {"error": error, "grouped_by": redactor.value(grouping(found))})
