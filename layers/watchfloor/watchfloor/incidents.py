"""An incident: one kind of error, what is known of it, and what people said about it.

Errors of one fingerprint are one incident. A new generation begins, and is told anew, when the error comes back after a
time of silence, after somebody silenced it, or after it was resolved. All changes are pure functions from an incident to
the next one; whoever stores it does so on condition that nobody else did meanwhile.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from watchfloor.errors import ConflictError, InvalidInputError
from watchfloor.fingerprints import SPLITS, Fingerprint
from watchfloor.log_events import ErrorEvent
from watchfloor.stack_frames import cut

OPEN, ACKNOWLEDGED, SILENCED, RESOLVED, MERGED, REOPENED = (
    "open",
    "acknowledged",
    "silenced",
    "resolved",
    "merged",
    "reopened",
)
# What an incident waits for: its execution, its message brought up to date, the end of its silence.
START, REFRESH, AWAKE = "start", "refresh", "awake"
MAX_LOG_GROUPS = 20
_LAMBDA_LOGS = "/aws/lambda/"
MAX_TITLE_CHARACTERS = 300
MAX_NOTE_CHARACTERS = 1_000


@dataclass(frozen=True)
class Incident:
    """What the incident table keeps of one fingerprint.

    Attributes
    ----------
    version
        Counts the changes; 0 is an incident that is not stored yet.
    generation
        Counts how often it began; 0 before its first error.
    started
        The last generation that has its execution.
    total, count
        Errors over all generations, and of this one.
    first_seen, since, last_seen
        Epoch seconds of the first error, of this generation's first one, and of the last one.
    kind
        What incidents that look alike have in common: the type of the error, and where in our code it was raised.
    back_after
        Why this generation began, in words; empty for the first one.
    is_held
        Whether its execution waits because too many began in this hour.
    merged_into
        Fingerprint for which its errors count.
    split_by
        What tells its errors apart besides.
    """

    fingerprint: str
    version: int = 0
    generation: int = 0
    started: int = 0
    status: str = OPEN
    total: int = 0
    count: int = 0
    first_seen: float = 0.0
    since: float = 0.0
    last_seen: float = 0.0
    title: str = ""
    error_type: str = ""
    kind: str = ""
    log_groups: tuple[str, ...] = ()
    back_after: str = ""
    is_held: bool = False
    changed_at: float = 0.0
    by: str = ""
    note: str = ""
    until: float = 0.0
    merged_into: str = ""
    split_by: tuple[str, ...] = ()
    to_do: str = ""
    due_at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "log_groups": list(self.log_groups), "split_by": list(self.split_by)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Incident:
        known = {field.name: row[field.name] for field in fields(cls) if field.name in row}
        return cls(
            **{**known, "log_groups": tuple(known.get("log_groups", ())), "split_by": tuple(known.get("split_by", ()))}
        )

    @property
    def name(self) -> str:
        """The name of this generation's execution; Step Functions takes each name once."""
        return f"{self.fingerprint}-{self.generation}"

    @property
    def needs_start(self) -> bool:
        """Whether it is to be told; not what somebody silenced or resolved while it was held back."""
        is_wanted = not self.merged_into and self.status not in (SILENCED, RESOLVED)
        return is_wanted and self.generation > self.started


@dataclass(frozen=True)
class Arrivals:
    """Errors of one fingerprint in one delivery."""

    fingerprint: str
    count: int
    first_seen: float
    last_seen: float
    per_day: Mapping[str, int]
    title: str
    error_type: str
    kind: str
    log_group: str


def day_of(time: float) -> str:
    """The day of an epoch time, UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def hour_of(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H")


def next_hour(time: float) -> float:
    return (time // 3_600 + 1) * 3_600


def arrivals(fingerprint: str, errors: Sequence[ErrorEvent], title: str) -> Arrivals:
    """What a delivery's errors of one fingerprint add; `title` is safe to show."""
    times = [error.time for error in errors]
    first = min(errors, key=lambda error: error.time)
    return Arrivals(
        fingerprint=fingerprint,
        count=len(errors),
        first_seen=min(times),
        last_seen=max(times),
        per_day=Counter(map(day_of, times)),
        title=title[:MAX_TITLE_CHARACTERS],
        error_type=first.type or "",
        kind=kind_of(first),
        log_group=first.log_group,
    )


def title_of(error: ErrorEvent) -> str:
    """One line that names an error; foreign text."""
    said = " ".join((error.message or error.text).split())
    return f"{error.type}: {said}" if error.type and not said.startswith(error.type) else said


def kind_of(error: ErrorEvent) -> str:
    """What looks alike: the type of the error and the function of ours that it went through last."""
    if not error.type:
        return ""
    own = next((frame for frame in reversed(error.frames) if frame.in_app), None)
    place = (own.function or own.file or own.module or "") if own else ""
    # An index takes no longer keys.
    return f"{error.type} in {place}"[:500] if place else error.type[:500]


def batch_digest(log_group: str, log_stream: str, event_ids: Iterable[str]) -> str:
    """Names a delivery by what is in it, so that the same one counts once."""
    digest = hashlib.sha256(f"{log_group}\n{log_stream}\n".encode())
    for event_id in event_ids:
        digest.update(event_id.encode() + b"\n")
    return digest.hexdigest()[:32]


def is_own(log_group: str, own_prefixes: Iterable[str]) -> bool:
    """Whether a log group is one of Watchfloor's; to explain its errors could make new ones for ever."""
    return any(log_group.startswith(_kept(prefix)) for prefix in own_prefixes if prefix)


def _kept(prefix: str) -> str:
    """What is left of it in the names that CloudFormation makes: of a long stack name at least 24 characters."""
    return prefix[: len(_LAMBDA_LOGS) + 24] if prefix.startswith(_LAMBDA_LOGS) else prefix


# --- what errors change -------------------------------------------------------------------------------------------


def record(incident: Incident, new: Arrivals, *, now: float, reopen_after_seconds: float) -> Incident:
    """The incident after these errors; a new generation where they are the first, or the first after silence."""
    back_after = _back_after(incident, new, now, reopen_after_seconds)
    counted = replace(
        incident,
        total=incident.total + new.count,
        count=incident.count + new.count,
        first_seen=min(incident.first_seen or new.first_seen, new.first_seen),
        since=min(incident.since or new.first_seen, new.first_seen),
        last_seen=max(incident.last_seen, new.last_seen),
        log_groups=tuple(dict.fromkeys((*incident.log_groups, new.log_group)))[:MAX_LOG_GROUPS],
    )
    if incident.generation == 0 or back_after:
        counted = replace(
            counted,
            generation=incident.generation + 1,
            status=REOPENED if back_after else OPEN,
            count=new.count,
            since=new.first_seen,
            title=new.title,
            error_type=new.error_type,
            kind=new.kind,
            back_after=back_after,
            is_held=False,
            by="",
            note="",
            until=0.0,
        )
    return _due(counted, now)


def _back_after(incident: Incident, new: Arrivals, now: float, reopen_after_seconds: float) -> str:
    """Why these errors begin a new generation; empty where they do not."""
    if incident.generation == 0 or incident.needs_start:
        return ""
    if incident.status == SILENCED:
        if now < incident.until:
            return ""
        return "it was silenced until " + _shown(incident.until)
    if incident.status == RESOLVED:
        # What was logged before somebody resolved it may arrive after.
        if new.last_seen <= incident.changed_at:
            return ""
        return f"it was resolved on {_shown(incident.changed_at)}" + (f" by {incident.by}" if incident.by else "")
    quiet = new.first_seen - incident.last_seen
    return f"{_duration(quiet)} of silence" if quiet >= reopen_after_seconds else ""


def _shown(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _duration(seconds: float) -> str:
    hours = int(seconds // 3_600)
    if hours < 48:
        return f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{hours // 24} days"


# --- what people change -------------------------------------------------------------------------------------------


def acknowledge(incident: Incident, *, by: str, now: float) -> Incident:
    return _said(incident, ACKNOWLEDGED, by=by, now=now)


def silence(incident: Incident, *, by: str, until: float, now: float) -> Incident:
    """Errors are counted and not told until then."""
    if until <= now:
        raise InvalidInputError("the end of a silence lies in the future")
    return _due(replace(_said(incident, SILENCED, by=by, now=now), until=until), now)


def resolve(incident: Incident, *, by: str, note: str, now: float) -> Incident:
    """`note` says what resolved it; it is shown when the error comes back."""
    return _said(incident, RESOLVED, by=by, note=cut(note, MAX_NOTE_CHARACTERS), now=now)


def reopen(incident: Incident, *, by: str, now: float) -> Incident:
    """Take back what was said: acknowledged, silenced or resolved."""
    return _said(incident, OPEN, by=by, now=now)


def merge(incident: Incident, into: Incident, *, by: str, now: float) -> Incident:
    """From now on the incident's errors count for another one."""
    if into.fingerprint == incident.fingerprint:
        raise ConflictError(f"{incident.fingerprint} is that incident already, or the other one was merged into it")
    return _due(replace(incident, merged_into=into.fingerprint, by=by, changed_at=now), now)


def unmerge(incident: Incident, *, by: str, now: float) -> Incident:
    return _due(replace(incident, merged_into="", by=by, changed_at=now), now)


def split(incident: Incident, split_by: Sequence[str], *, by: str, now: float) -> Incident:
    """From now on the incident's errors are told apart by this too; nothing given takes it back."""
    if unknown := [name for name in split_by if name not in SPLITS]:
        raise InvalidInputError(f"errors cannot be told apart by {', '.join(unknown)}; by {', '.join(SPLITS)} they can")
    return _due(replace(incident, split_by=tuple(dict.fromkeys(split_by)), by=by, changed_at=now), now)


def _said(incident: Incident, status: str, *, by: str, now: float, note: str = "") -> Incident:
    if incident.generation == 0:
        raise InvalidInputError(f"there is no incident {incident.fingerprint}")
    return _due(replace(incident, status=status, by=by, note=note, until=0.0, changed_at=now), now)


# --- what the clock changes ---------------------------------------------------------------------------------------


def started(incident: Incident, generation: int, *, now: float) -> Incident:
    """A generation has its execution."""
    return _due(replace(incident, started=max(incident.started, generation), is_held=False), now)


def held(incident: Incident, *, now: float) -> Incident:
    """Too many began in this hour; it is tried again in the next."""
    return replace(incident, is_held=True, to_do=START, due_at=next_hour(now))


def awake(incident: Incident, *, now: float) -> Incident:
    """The end of a silence, where it has come."""
    if incident.status != SILENCED or now < incident.until:
        return incident
    # The next error is told as one that is back, so it stays silenced until then; only the message changes.
    return replace(incident, to_do=REFRESH, due_at=now)


def refreshed(incident: Incident, *, now: float) -> Incident:
    """Its message is up to date."""
    settled = replace(incident, to_do="", due_at=0.0)
    is_silent = settled.status == SILENCED and settled.until > now
    return replace(settled, to_do=AWAKE, due_at=settled.until) if is_silent else settled


def postponed(incident: Incident, *, until: float) -> Incident:
    """Its message could not be brought up to date, or changed again while it was: later, after those that wait."""
    return replace(incident, due_at=until) if incident.to_do == REFRESH else incident


def _due(incident: Incident, now: float) -> Incident:
    """What is to be done next, and when; what is due already keeps its place in the queue."""
    if not incident.generation:
        return incident
    to_do = START if incident.needs_start else REFRESH
    return incident if incident.to_do == to_do else replace(incident, to_do=to_do, due_at=now)


# --- what is told -------------------------------------------------------------------------------------------------


def message_state(incident: Incident, per_day: Mapping[str, int], *, now: float) -> dict[str, Any]:
    """What of an incident's message changes with time; `watchfloor.messages` reads it."""
    status = MERGED if incident.merged_into else incident.status
    if status == SILENCED and incident.until <= now:
        status = OPEN
    note = incident.note if status != REOPENED else f"Back after {incident.back_after}."
    return {
        "status": status,
        "count": incident.count,
        "first_seen": incident.since,
        "last_seen": incident.last_seen,
        "generation": incident.generation,
        "by": incident.by or None,
        "note": note or None,
        "until": incident.until or None,
        "into": incident.merged_into or None,
        "per_day": dict(per_day),
    }


def grouping(found: Fingerprint) -> dict[str, Any]:
    """How an error got its fingerprint, for the report."""
    return {"rule": found.rule, "reason": found.reason, "basis": list(found.basis)}
