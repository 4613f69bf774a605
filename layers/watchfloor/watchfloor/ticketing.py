"""Every cluster its ticket, exactly one open at a time, whatever is retried, delivered twice or cut off.

A cluster's link row is claimed first, so that two workers do not write the same ticket. The row remembers that a
ticket is about to be created; when the answer to that never came, the ticket is looked for by its label, for as long
as the service's search may lag behind, before another one is created.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from watchfloor.errors import ConflictError, InvalidInputError, TransientError
from watchfloor.markup import Section
from watchfloor.tickets import Draft, Thresholds, Ticket, merge_comment, merge_sentence

CREATED, UPDATED, COMMENTED, UNCHANGED = "created", "updated", "commented", "unchanged"
_CONFLICTS_BORNE = 3


@dataclass(frozen=True)
class Link:
    """Which ticket a cluster has in one integration; times in epoch seconds.

    `fingerprint` is that of the draft last written in full, `outcome` what that came to, in run `run_id`.
    """

    cluster_id: str
    external_id: str | None = None
    url: str = ""
    fingerprint: str | None = None
    run_id: str = ""
    outcome: str = ""
    create_attempted_at: int | None = None
    merged_into: str | None = None


class Links(Protocol):
    """Link rows of one integration, seen by one worker. Every write needs the claim: TransientError without it."""

    def get(self, cluster_id: str) -> Link | None: ...
    def claim(self, cluster_id: str) -> Link: ...
    def release(self, cluster_id: str) -> None: ...
    def attempt(self, cluster_id: str) -> None: ...
    def forget_attempt(self, cluster_id: str) -> None: ...
    def point(self, cluster_id: str, ticket: Ticket) -> Link: ...
    def finish(self, cluster_id: str, run_id: str, outcome: str, fingerprint: str) -> None: ...
    def merge(self, cluster_id: str, run_id: str, into: str, survivor: Ticket | None) -> None: ...


class Tracker(Protocol):
    """A service that holds tickets.

    Raises TransientError where the same call may succeed later or its outcome is unknown, InvalidInputError where
    it was refused, ConflictError where somebody changed the ticket meanwhile.

    Attributes
    ----------
    name
        Integration, as link rows name it.
    settle_seconds
        How long a new ticket may be missing from `search`.
    """

    name: str
    settle_seconds: float

    def find(self, ticket_id: str) -> Ticket | None: ...
    def search(self, label: str) -> Iterable[Ticket]: ...
    def create(self, draft: Draft) -> Ticket: ...
    def update(self, ticket: Ticket, draft: Draft) -> None: ...
    def attach(self, ticket: Ticket, draft: Draft, is_new: bool) -> None: ...
    def comment_once(self, ticket_id: str, sentence: str, comment: Sequence[Section]) -> None: ...


@dataclass
class Progress:
    """How far a run's tickets are. `next` counts clusters, then merged clusters; `reason` is the first refusal's."""

    next: int = 0
    created: int = 0
    updated: int = 0
    commented: int = 0
    unchanged: int = 0
    refused: int = 0
    reason: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Progress:
        return cls(**{field.name: event[field.name] for field in fields(cls) if field.name in event})

    def result(self, status: str) -> dict[str, Any]:
        return {"status": status, **asdict(self)}


def raise_tickets(
    document: Mapping[str, Any],
    trackers: Mapping[str, Callable[[], tuple[Tracker, Links]]],
    progress: Progress,
    *,
    thresholds: Thresholds,
    console_url: str = "",
    has_time: Callable[[], bool] = lambda: True,
    clock: Callable[[], float] = time.time,
) -> bool:
    """Write the tickets of a run, from `progress.next` on; True when all are written, False when time ran out.

    Parameters
    ----------
    document
        enrich_alert_input.json.
    trackers
        By name, how to connect. One that fails does not keep the others from their work.
    progress
        Brought up to date in place.

    Raises
    ------
    TransientError, InvalidInputError
        At the end, naming every tracker that failed. What was written stays, and is recognised by the next try.
    """
    run_id = document["run_id"]
    flows = {flow["flow_id"]: flow for flow in document["flows"]}
    merged = {merge["cluster_id"]: merge["into"] for merge in document["merged_clusters"]}
    work = [("cluster", cluster) for cluster in document["clusters"] if thresholds.met_by(cluster)]
    work += [("merge", cluster_id) for cluster_id in merged]  # type: ignore[misc]
    connected, failed = _connect(trackers)
    for number, (kind, item) in enumerate(work[progress.next :], start=progress.next):
        if not connected or not has_time():
            break
        for name, (tracker, links) in list(connected.items()):
            try:
                if kind == "cluster":
                    draft = Draft(item, flows.get(item.get("flow_id") or ""), console_url)
                    outcome: str | None = _raise_ticket(tracker, links, draft, run_id, clock)
                else:
                    outcome = _note_merge(tracker, links, str(item), _survivor(str(item), merged), run_id)
            except InvalidInputError as error:
                progress.refused += 1
                progress.reason = progress.reason or f"{name}: {error}"
            except Exception as error:  # noqa: BLE001 - raised when the others are done
                failed[name] = error
                del connected[name]
            else:
                if outcome:
                    setattr(progress, outcome, getattr(progress, outcome) + 1)
        progress.next = number + 1
    if failed:
        raise _summed_up(failed)
    if progress.next < len(work):
        return False
    if progress.refused:
        raise InvalidInputError(f"{progress.refused} of {len(work)} tickets were refused; the first: {progress.reason}")
    return True


def _connect(
    trackers: Mapping[str, Callable[[], tuple[Tracker, Links]]],
) -> tuple[dict[str, tuple[Tracker, Links]], dict[str, Exception]]:
    connected, failed = {}, {}
    for name, connect in trackers.items():
        try:
            connected[name] = connect()
        except Exception as error:  # noqa: BLE001 - raised when the others are done
            failed[name] = error
    return connected, failed


def _summed_up(failed: Mapping[str, Exception]) -> Exception:
    """One error for all that failed, retried where one of them is."""
    if len(failed) == 1:
        return next(iter(failed.values()))
    kind = TransientError if any(isinstance(error, TransientError) for error in failed.values()) else InvalidInputError
    return kind("; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed.items()))


def _raise_ticket(tracker: Tracker, links: Links, draft: Draft, run_id: str, clock: Callable[[], float]) -> str:
    cluster_id = draft.cluster_id
    link = links.get(cluster_id)
    if link and link.fingerprint == draft.fingerprint:
        return _outcome_before(link, run_id)
    link = links.claim(cluster_id)
    try:
        if link.fingerprint == draft.fingerprint:  # written between the look and the claim
            links.release(cluster_id)
            return _outcome_before(link, run_id)
        outcome = _write_despite_conflicts(tracker, links, link, draft, clock)
        links.finish(cluster_id, run_id, outcome, draft.fingerprint)
        return outcome
    except Exception:
        links.release(cluster_id)
        raise


def _outcome_before(link: Link, run_id: str) -> str:
    """A run that is repeated reports what it did the first time."""
    return link.outcome if link.run_id == run_id else UNCHANGED


def _write_despite_conflicts(
    tracker: Tracker, links: Links, link: Link | None, draft: Draft, clock: Callable[[], float]
) -> str:
    for _ in range(_CONFLICTS_BORNE):
        try:
            return _write(tracker, links, link or Link(draft.cluster_id), draft, clock)
        except ConflictError:
            link = links.get(draft.cluster_id)
    raise TransientError(f"{tracker.name}: the ticket of cluster {draft.cluster_id} changes faster than it is written")


def _write(tracker: Tracker, links: Links, link: Link, draft: Draft, clock: Callable[[], float]) -> str:
    attempted = link.create_attempted_at is not None
    ticket = tracker.find(link.external_id) if link.external_id else None
    known = ticket is not None and ticket.is_open
    adopted = False
    if not known:
        # Measured before the search: what it misses then was not there long enough.
        wait = (link.create_attempted_at or 0) + tracker.settle_seconds - clock() if attempted else 0
        ticket = next((found for found in tracker.search(draft.label) if found.is_open), None)
        adopted = ticket is not None
        if ticket is None:
            if wait > 0:
                raise TransientError(
                    f"{tracker.name}: whether a ticket was created for cluster {draft.cluster_id} is not known yet;"
                    f" its search is up to date in {wait:.0f} s"
                )
            ticket = _create(tracker, links, draft)
        link = links.point(draft.cluster_id, ticket)
    assert ticket is not None
    if known or adopted:
        tracker.update(ticket, draft)
    tracker.attach(ticket, draft, is_new=link.fingerprint is None)
    found_without_attempt = not known and adopted and not attempted
    return UPDATED if link.fingerprint or found_without_attempt else CREATED


def _create(tracker: Tracker, links: Links, draft: Draft) -> Ticket:
    links.attempt(draft.cluster_id)
    try:
        return tracker.create(draft)
    except InvalidInputError:
        links.forget_attempt(draft.cluster_id)
        raise


def _note_merge(tracker: Tracker, links: Links, cluster_id: str, into: str, run_id: str) -> str | None:
    """Tell an absorbed cluster's ticket once, and let its link lead to the survivor's ticket."""
    link = links.get(cluster_id)
    if link is None or not link.external_id:
        return None
    if link.merged_into == into:
        return COMMENTED if link.run_id == run_id else UNCHANGED
    link = links.claim(cluster_id)
    try:
        target = links.get(into)
        survivor = Ticket(target.external_id, target.url, True) if target and target.external_id else None
        if link.external_id:
            comment = merge_comment(cluster_id, into, survivor)
            tracker.comment_once(link.external_id, merge_sentence(cluster_id, into), comment)
        links.merge(cluster_id, run_id, into, survivor)
    except Exception:
        links.release(cluster_id)
        raise
    return COMMENTED


def _survivor(cluster_id: str, merged: Mapping[str, str]) -> str:
    seen = {cluster_id}
    while (cluster_id := merged[cluster_id]) in merged and cluster_id not in seen:
        seen.add(cluster_id)
    return cluster_id
