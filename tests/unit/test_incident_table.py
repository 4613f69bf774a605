"""Incidents in DynamoDB: counted once, changed by one at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import boto3
import pytest
from moto.dynamodb.responses import DynamoHandler

from tests.machines.stack import REGION
from tests.unit.tables import table
from watchfloor import incidents
from watchfloor.clients.documents import Documents
from watchfloor.clients.error_intake import ErrorIntake
from watchfloor.clients.incident_table import Counted, IncidentTable
from watchfloor.errors import ConflictError, InvalidInputError
from watchfloor.incidents import REFRESH, START, Arrivals, Incident, record
from watchfloor.log_events import LogBatch, LogEvent, errors_in

NOON = 1_795_176_000.0
DAY = 86_400.0


@pytest.fixture
def stored(monkeypatch):
    lock, call = threading.RLock(), DynamoHandler.call_action

    def one_at_a_time(handler):
        """moto copies whole tables for a transaction and puts them back when it fails, whatever others wrote."""
        with lock:
            return call(handler)

    monkeypatch.setattr(DynamoHandler, "call_action", one_at_a_time)
    with table("IncidentTable") as rows:
        yield IncidentTable(rows)


def arrival(name: str, count: int = 1, at: float = NOON, kind: str = "KeyError in load") -> Arrivals:
    return Arrivals(name, count, at, at, {incidents.day_of(at): count}, f"title of {name}", "KeyError", kind, "/a")


def count(stored: IncidentTable, delivery: str, *arrived: Arrivals) -> bool:
    changes = []
    for new in arrived:
        before = stored.get(new.fingerprint)
        after = record(before, new, now=new.last_seen, reopen_after_seconds=DAY)
        changes.append(Counted(before, after, new.per_day))
    return stored.count(delivery, changes)


def test_unknown_incident_is_there_with_version_0(stored):
    assert stored.get("a") == Incident("a")


def test_delivery_is_counted_once(stored):
    assert count(stored, "one", arrival("a", 3))
    assert not count(stored, "one", arrival("a", 3))
    assert count(stored, "two", arrival("a", 4))
    assert (stored.get("a").total, stored.per_day("a")) == (7, {"2026-11-20": 7})


def test_delivery_is_counted_for_all_of_its_incidents_or_for_none(stored):
    stale = [Counted(Incident("b"), replace(Incident("b"), total=1, generation=1), {})]
    count(stored, "one", arrival("b"))
    first = arrival("a")
    before = stored.get("a")
    changes = [Counted(before, record(before, first, now=NOON, reopen_after_seconds=DAY), first.per_day), *stale]
    with pytest.raises(ConflictError):
        stored.count("two", changes)
    assert stored.get("a").total == 0
    assert stored.per_day("a") == {}
    # It is not marked as counted either.
    assert count(stored, "two", arrival("a"))


def test_concurrent_deliveries_are_all_counted_exactly(stored):
    barrier = threading.Barrier(8)

    def deliver(number: int) -> None:
        barrier.wait()
        for part in range(3):
            while True:
                try:
                    count(stored, f"{number}-{part}", arrival("a", 10))
                    break
                except ConflictError:
                    continue

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(deliver, range(8)))
    found = stored.get("a")
    assert (found.total, found.generation) == (240, 1)
    assert stored.per_day("a") == {"2026-11-20": 240}


def test_flood_over_many_streams_is_counted_exactly(stored):
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket="data")
    intake = ErrorIntake(stored, Documents(s3, "data"), reopen_after_seconds=DAY, with_ips=False)

    def deliver(number: int) -> list[str]:
        events = [LogEvent(f"{number}-{line}", NOON + number, "ERROR door is open") for line in range(3)]
        # Each comes twice, from one of twenty streams.
        batch = LogBatch("DATA_MESSAGE", "1", "/shop", f"stream-{number % 20}", [], events)
        return [incident.name for incident in intake.take(batch, errors_in(batch))]

    with ThreadPoolExecutor(12) as pool:
        waiting = set().union(*pool.map(deliver, [number // 2 for number in range(80)]))
    (name,) = waiting
    found = stored.get(name.partition("-")[0])
    assert (found.total, found.count, found.generation) == (120, 120, 1)
    assert (found.since, found.last_seen) == (NOON, NOON + 39)
    assert stored.per_day(found.fingerprint) == {"2026-11-20": 120}


def test_secret_is_hidden_where_the_name_before_it_was_taken_off(stored):
    s3 = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket="data")
    intake = ErrorIntake(stored, Documents(s3, "data"), reopen_after_seconds=DAY, with_ips=False)
    line = "E, [2026-11-20T10:15:00.123456 #7] ERROR -- db.password: tiger-fUzOoofk7"
    batch = LogBatch("DATA_MESSAGE", "1", "/shop", "one", [], [LogEvent("a", NOON, line)])
    (error,) = errors_in(batch)
    assert error.text == "tiger-fUzOoofk7"
    (incident,) = intake.take(batch, [error])
    assert incident.title == "[PASSWORD_1]"
    told = s3.get_object(Bucket="data", Key=f"triage/{incident.fingerprint}/1/error.json")["Body"].read().decode()
    assert "fUzOoofk" not in told


def test_deliveries_of_a_flood_need_not_wait_for_each_other(stored):
    count(stored, "first", arrival("a", at=NOON))
    before = stored.get("a")
    # All of them read the incident before any of them wrote.
    for number in range(1, 6):
        new = arrival("a", number, NOON + 10 - number)
        after = record(before, new, now=NOON + 20, reopen_after_seconds=DAY)
        if number == 1:
            assert stored.count("1", [Counted(before, after, new.per_day)])
            continue
        # Somebody's later error is there already; found so, the rest adds up.
        with pytest.raises(ConflictError):
            stored.count(str(number), [Counted(before, after, new.per_day)])
        assert stored.get("a").last_seen == NOON + 9
    latest = stored.get("a")
    for number in range(2, 6):
        new = arrival("a", number, NOON + 9 - number)
        after = record(latest, new, now=NOON + 20, reopen_after_seconds=DAY)
        assert stored.count(str(number), [Counted(latest, after, new.per_day)])
        assert not stored.count(str(number), [Counted(latest, after, new.per_day)])
    found = stored.get("a")
    assert (found.total, found.count, found.last_seen, found.since) == (16, 16, NOON + 9, NOON)
    assert stored.per_day("a") == {"2026-11-20": 16}
    # Whoever rewrites it has to see them.
    assert found.version == latest.version + 4


@pytest.mark.parametrize(
    "edit",
    [
        lambda row: incidents.resolve(row, by="kim", note="", now=NOON + 1),
        lambda row: incidents.started(row, 1, now=NOON + 1),
        lambda row: incidents.refreshed(row, now=NOON + 1),
    ],
)
def test_errors_are_not_added_to_what_has_become_another_incident(stored, edit):
    count(stored, "one", arrival("a"))
    before = stored.get("a")
    stored.change("a", edit)
    after = record(before, arrival("a"), now=NOON + 2, reopen_after_seconds=DAY)
    with pytest.raises(ConflictError):
        stored.count("two", [Counted(before, after, {})])
    assert stored.get("a").total == 1


def test_flood_does_not_move_what_is_due(stored):
    count(stored, "one", arrival("a"))
    stored.change("a", lambda row: incidents.started(row, 1, now=NOON))
    count(stored, "two", arrival("a", at=NOON + 60))
    found = stored.get("a")
    assert (found.to_do, found.due_at, found.total) == (REFRESH, NOON, 2)


def test_days_are_kept_apart(stored):
    count(stored, "one", arrival("a", 2))
    count(stored, "two", arrival("a", 3, NOON + DAY / 2))
    assert stored.per_day("a") == {"2026-11-20": 2, "2026-11-21": 3}
    assert stored.per_day("a", days=1) == {"2026-11-21": 3}


def test_new_generation_keeps_how_the_last_one_ended(stored):
    count(stored, "one", arrival("a", 5))
    stored.change("a", lambda row: incidents.started(row, 1, now=NOON))
    stored.change("a", lambda row: incidents.resolve(row, by="kim", note="rolled back", now=NOON + 60))
    count(stored, "two", arrival("a", 1, NOON + 3_600))
    (ended,) = stored.ended("a")
    assert (ended["generation"], ended["count"], ended["note"], ended["by"]) == (1, 5, "rolled back", "kim")
    assert (stored.get("a").generation, stored.get("a").total) == (2, 6)


def test_change_is_made_on_what_others_made_meanwhile(stored):
    count(stored, "one", arrival("a"))
    seen: list[str] = []

    def slowly(row: Incident) -> Incident:
        if not seen:
            # Somebody is faster.
            stored.change("a", lambda other: incidents.acknowledge(other, by="ana", now=NOON))
        seen.append(row.status)
        return replace(row, note="mine")

    found = stored.change("a", slowly)
    assert seen == ["open", "acknowledged"]
    assert (found.by, found.note) == ("ana", "mine")


def test_change_that_changes_nothing_writes_nothing(stored):
    count(stored, "one", arrival("a"))
    version = stored.get("a").version
    stored.change("a", lambda row: row)
    assert stored.get("a").version == version


def merge(stored: IncidentTable, one: str, into: str) -> Incident:
    return stored.merge(one, into, lambda row, target: incidents.merge(row, target, by="kim", now=NOON))


def test_merged_incidents_lead_to_the_one_that_is_left(stored):
    for name in "abc":
        count(stored, name, arrival(name))
    merge(stored, "a", "b")
    merge(stored, "b", "c")
    assert stored.survivor("a").fingerprint == "c"
    assert stored.get("a").merged_into == "b"


def test_merge_into_one_that_was_merged_goes_to_the_one_that_is_left(stored):
    for name in "abc":
        count(stored, name, arrival(name))
    merge(stored, "b", "c")
    assert merge(stored, "a", "b").merged_into == "c"


def test_merge_makes_no_circle(stored):
    for name in "ab":
        count(stored, name, arrival(name))
    merge(stored, "a", "b")
    with pytest.raises(ConflictError):
        merge(stored, "b", "a")
    assert stored.survivor("b").fingerprint == "b"


def test_merges_at_the_same_time_make_no_circle(stored):
    for name in "ab":
        count(stored, name, arrival(name))
    barrier = threading.Barrier(2)

    def other_way(pair: tuple[str, str]) -> bool:
        barrier.wait()
        try:
            merge(stored, *pair)
            return True
        except ConflictError:
            return False

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(other_way, [("a", "b"), ("b", "a")])) == [False, True]
    assert stored.survivor("a") == stored.survivor("b")


def test_merge_into_nothing_is_refused(stored):
    count(stored, "one", arrival("a"))
    with pytest.raises(InvalidInputError, match="there is no incident nowhere"):
        merge(stored, "a", "nowhere")


def test_what_is_due_is_found_and_what_is_done_is_not(stored):
    count(stored, "one", arrival("a"), arrival("b"))
    assert stored.due(START, NOON + 1) == ["a", "b"]
    assert stored.due(START, NOON - 1) == []
    stored.change("a", lambda row: incidents.started(row, 1, now=NOON))
    assert (stored.due(START, NOON + 1), stored.due(REFRESH, NOON + 1)) == (["b"], ["a"])
    stored.change("a", lambda row: incidents.refreshed(row, now=NOON))
    assert stored.due(REFRESH, NOON + 1) == []


def test_held_back_starts_are_listed_and_counted(stored):
    count(stored, "one", arrival("a"), arrival("b"))
    stored.change("a", lambda row: incidents.held(row, now=NOON + 1))
    assert [row.fingerprint for row in stored.held(NOON + 1)] == ["a"]
    assert stored.held_count(NOON + 1) == 1
    assert stored.due(START, NOON + 3_600) == ["b", "a"]


def test_incidents_of_one_kind_are_found_the_newest_first(stored):
    count(stored, "one", arrival("a"), arrival("b", at=NOON + 60), arrival("c", kind="other"), arrival("d", kind=""))
    assert [row.fingerprint for row in stored.same_kind("KeyError in load")] == ["b", "a"]
    assert stored.same_kind("") == []


def test_recent_incidents_are_listed_without_those_merged(stored):
    count(stored, "one", arrival("a"), arrival("b", at=NOON + 60), arrival("c", at=NOON + 90))
    merge(stored, "c", "a")
    assert [(row["fingerprint"], row["title"]) for row in stored.recent()] == [
        ("b", "title of b"),
        ("a", "title of a"),
    ]


def test_starts_of_an_hour_are_limited_and_the_same_one_takes_one(stored):
    assert [stored.take_start("2026-11-20T12", name, 2) for name in ("a-1", "b-1", "a-1", "c-1", "b-1")] == [
        True,
        True,
        True,
        False,
        True,
    ]
    assert stored.take_start("2026-11-20T13", "c-1", 2)


def test_starts_taken_at_the_same_time_do_not_exceed_the_limit(stored):
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: stored.take_start("2026-11-20T12", f"{n}-1", 5), range(24)))
    assert sum(taken) == 5


def test_held_back_is_told_once_an_hour(stored):
    assert [stored.claim_held_notice("12"), stored.claim_held_notice("12"), stored.claim_held_notice("13")] == [
        True,
        False,
        True,
    ]


def test_notice_that_could_not_be_told_is_told_by_the_next(stored):
    assert stored.claim_held_notice("12")
    stored.release_held_notice("12")
    assert stored.claim_held_notice("12")


def test_tokens_of_a_day_are_reserved_up_to_the_limit_and_settled_after(stored):
    assert stored.reserve_tokens("2026-11-20", 600, 1_000)
    assert not stored.reserve_tokens("2026-11-20", 600, 1_000)
    stored.settle_tokens("2026-11-20", 100 - 600)
    assert stored.reserve_tokens("2026-11-20", 900, 1_000)
    assert not stored.reserve_tokens("2026-11-20", 1, 1_000)
    assert stored.reserve_tokens("2026-11-21", 1_000, 1_000)


@pytest.mark.parametrize("limit", [0, 599])
def test_question_larger_than_the_limit_is_not_asked_even_first(stored, limit):
    assert not stored.reserve_tokens("2026-11-20", 600, limit)


def test_message_is_kept_beside_the_incident(stored):
    assert stored.message("a") == {}
    stored.keep_message("a", told="a-1", ts="1.2", channel="C1")
    stored.keep_message("a", shown="x")
    found = stored.message("a")
    assert (found["told"], found["ts"], found["shown"]) == ("a-1", "1.2", "x")
    assert stored.get("a").version == 0
