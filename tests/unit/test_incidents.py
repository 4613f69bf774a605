"""What errors, people and the clock make of an incident."""

from dataclasses import replace

import pytest

from watchfloor import incidents
from watchfloor.errors import ConflictError, InvalidInputError
from watchfloor.incidents import AWAKE, REFRESH, START, Arrivals, Incident, arrivals, record
from watchfloor.log_events import ErrorEvent
from watchfloor.stack_frames import Frame

HOUR, DAY = 3_600.0, 86_400.0
# 2026-11-20 12:00 UTC
NOON = 1_795_176_000.0


def new(count=1, first=NOON, last=None, **more) -> Arrivals:
    last = first if last is None else last
    values = {"title": "KeyError: 'id'", "error_type": "KeyError", "kind": "KeyError in load", "log_group": "/a"}
    return Arrivals("f" * 16, count, first, last, {incidents.day_of(first): count}, **{**values, **more})


def after(incident, arrived, now=None):
    return record(incident, arrived, now=arrived.last_seen if now is None else now, reopen_after_seconds=DAY)


@pytest.fixture
def running() -> Incident:
    """One that was seen once, and has its execution."""
    return incidents.started(after(Incident("f" * 16), new()), 1, now=NOON)


def error(**more) -> ErrorEvent:
    values = {"id": "1", "time": NOON, "log_group": "/a", "log_stream": "s", "text": "boom", "message": "boom"}
    return ErrorEvent(**{**values, **more})


# --- errors


def test_first_error_begins_a_generation_that_waits_for_its_execution():
    found = after(Incident("f" * 16), new(3, NOON, NOON + 5))
    assert (found.generation, found.count, found.total, found.status) == (1, 3, 3, "open")
    assert (found.first_seen, found.since, found.last_seen) == (NOON, NOON, NOON + 5)
    assert (found.to_do, found.needs_start, found.name) == (START, True, "f" * 16 + "-1")


def test_more_errors_are_counted_and_the_message_is_due(running):
    found = after(running, new(9_999, NOON + 60, log_group="/b"))
    assert (found.generation, found.count, found.total) == (1, 10_000, 10_000)
    assert found.log_groups == ("/a", "/b")
    assert (found.to_do, found.needs_start) == (REFRESH, False)


def test_late_error_moves_the_first_time_and_not_the_last(running):
    found = after(running, new(first=NOON - 60), now=NOON + 60)
    assert (found.first_seen, found.since, found.last_seen) == (NOON - 60, NOON - 60, NOON)


def test_error_after_silence_is_back_as_a_new_generation(running):
    found = after(running, new(2, NOON + 3 * DAY))
    assert (found.generation, found.status, found.count, found.total) == (2, "reopened", 2, 3)
    assert found.since == NOON + 3 * DAY
    assert found.back_after == "3 days of silence"
    assert found.first_seen == NOON


@pytest.mark.parametrize(("later", "is_back"), [(DAY - 1, False), (DAY, True)])
def test_silence_is_measured_from_the_last_error(running, later, is_back):
    assert (after(running, new(first=NOON + later)).generation == 2) == is_back


def test_error_that_waits_for_its_execution_begins_no_further_generation():
    waiting = after(Incident("f" * 16), new())
    assert after(waiting, new(first=NOON + 9 * DAY)).generation == 1


def test_resolved_error_is_back_at_once_and_says_who_resolved_it(running):
    resolved = incidents.resolve(running, by="kim", note="rolled back", now=NOON + HOUR)
    found = after(resolved, new(first=NOON + 2 * HOUR))
    assert (found.generation, found.status, found.note) == (2, "reopened", "")
    assert found.back_after == "it was resolved on 2026-11-20 13:00 UTC by kim"


def test_error_from_before_its_resolution_that_arrives_after_it_is_only_counted(running):
    resolved = incidents.resolve(running, by="kim", note="", now=NOON + HOUR)
    found = after(resolved, new(first=NOON + 60), now=NOON + 2 * HOUR)
    assert (found.generation, found.status, found.count) == (1, "resolved", 2)


def test_silenced_error_is_counted_however_long_ago_the_last_one_was(running):
    silenced = incidents.silence(running, by="kim", until=NOON + 7 * DAY, now=NOON)
    found = after(silenced, new(first=NOON + 3 * DAY))
    assert (found.generation, found.status, found.count) == (1, "silenced", 2)


def test_first_error_after_a_silence_is_told(running):
    silenced = incidents.silence(running, by="kim", until=NOON + HOUR, now=NOON)
    found = after(silenced, new(first=NOON + 2 * HOUR))
    assert (found.generation, found.status) == (2, "reopened")
    assert "silenced until 2026-11-20 13:00" in found.back_after


def test_log_groups_of_an_incident_are_bounded(running):
    for number in range(50):
        running = after(running, new(log_group=f"/{number}"))
    assert len(running.log_groups) == incidents.MAX_LOG_GROUPS


# --- people


def test_acknowledged_says_who(running):
    found = incidents.acknowledge(running, by="kim", now=NOON)
    assert (found.status, found.by, found.to_do) == ("acknowledged", "kim", REFRESH)


def test_silence_ends_by_itself(running):
    silenced = incidents.silence(running, by="kim", until=NOON + HOUR, now=NOON)
    shown = incidents.refreshed(silenced, now=NOON + 60)
    assert (shown.to_do, shown.due_at) == (AWAKE, NOON + HOUR)
    assert incidents.awake(shown, now=NOON + 60) == shown
    ended = incidents.awake(shown, now=NOON + HOUR)
    assert (ended.to_do, incidents.message_state(ended, {}, now=NOON + HOUR)["status"]) == (REFRESH, "open")
    assert incidents.refreshed(ended, now=NOON + HOUR).to_do == ""


@pytest.mark.parametrize("until", [NOON - 1, NOON])
def test_silence_that_is_over_is_refused(running, until):
    with pytest.raises(InvalidInputError):
        incidents.silence(running, by="kim", until=until, now=NOON)


def test_nothing_can_be_said_of_an_incident_that_never_was():
    with pytest.raises(InvalidInputError, match="there is no incident"):
        incidents.acknowledge(Incident("f" * 16), by="kim", now=NOON)


def test_reopened_by_hand_takes_back_what_was_said(running):
    silenced = incidents.silence(running, by="kim", until=NOON + HOUR, now=NOON)
    found = incidents.reopen(silenced, by="ana", now=NOON)
    assert (found.status, found.until, found.by) == ("open", 0.0, "ana")


def test_merged_into_itself_is_refused(running):
    with pytest.raises(ConflictError):
        incidents.merge(running, running, by="kim", now=NOON)


def test_merged_incident_needs_no_execution_and_its_message_says_into_what():
    waiting = after(Incident("f" * 16), new())
    found = incidents.merge(waiting, Incident("e" * 16), by="kim", now=NOON)
    assert (found.needs_start, found.to_do) == (False, REFRESH)
    state = incidents.message_state(found, {}, now=NOON)
    assert (state["status"], state["into"], state["by"]) == ("merged", "e" * 16, "kim")
    assert incidents.unmerge(found, by="kim", now=NOON).needs_start


def test_split_by_what_does_not_exist_is_refused(running):
    assert incidents.split(running, ["message", "message"], by="kim", now=NOON).split_by == ("message",)
    with pytest.raises(InvalidInputError, match="colour"):
        incidents.split(running, ["colour"], by="kim", now=NOON)


# --- the clock


def test_held_back_waits_for_the_next_hour_even_when_more_errors_come():
    waiting = after(Incident("f" * 16), new(first=NOON + 60))
    held = incidents.held(waiting, now=NOON + 60)
    assert (held.due_at, held.is_held) == (NOON + HOUR, True)
    more = after(held, new(5, NOON + 120))
    assert (more.to_do, more.due_at, more.is_held, more.count) == (START, NOON + HOUR, True, 6)
    assert not incidents.started(more, 1, now=NOON + HOUR).is_held


def test_start_of_an_older_generation_is_not_that_of_the_newest(running):
    back = after(running, new(first=NOON + 3 * DAY))
    assert incidents.started(back, 1, now=NOON).needs_start
    assert not incidents.started(back, 2, now=NOON).needs_start


# --- what is stored and told


def test_incident_comes_back_as_it_was_stored(running):
    changed = replace(running, split_by=("message",), until=NOON, note="n")
    assert Incident.from_json(changed.to_json()) == changed


def test_reopened_message_says_after_what(running):
    back = after(running, new(first=NOON + 3 * DAY))
    state = incidents.message_state(back, {"2026-11-23": 1}, now=NOON + 3 * DAY)
    assert (state["status"], state["note"]) == ("reopened", "Back after 3 days of silence.")
    assert (state["count"], state["first_seen"], state["per_day"]) == (1, NOON + 3 * DAY, {"2026-11-23": 1})


def test_arrivals_count_by_day_and_take_the_earliest_as_the_example():
    first, last = error(type="A", time=NOON), error(type="B", time=NOON + DAY)
    found = arrivals("f", [last, first, first], "t" * 999)
    assert (found.count, found.first_seen, found.last_seen) == (3, NOON, NOON + DAY)
    assert found.per_day == {"2026-11-20": 2, "2026-11-21": 1}
    assert (found.error_type, len(found.title)) == ("A", incidents.MAX_TITLE_CHARACTERS)


def test_kind_names_type_and_innermost_function_of_our_own():
    frames = (Frame("h.py", "handler", in_app=True), Frame("o.py", "load", in_app=True), Frame("lib.py", "get"))
    assert incidents.kind_of(error(type="KeyError", frames=frames)) == "KeyError in load"
    assert incidents.kind_of(error(type="KeyError")) == "KeyError"
    assert incidents.kind_of(error()) == ""


def test_title_names_the_type_once():
    assert incidents.title_of(error(type="KeyError", message="'id'\n  here")) == "KeyError: 'id' here"
    assert incidents.title_of(error(type="KeyError", message="KeyError: 'id'")) == "KeyError: 'id'"
    assert incidents.title_of(error(message="", text="boom")) == "boom"


def test_delivery_has_the_same_name_every_time_and_another_one_has_another():
    name = incidents.batch_digest("/a", "s", ["1", "2"])
    assert name == incidents.batch_digest("/a", "s", ["1", "2"])
    others = [("/b", "s", ["1", "2"]), ("/a", "t", ["1", "2"]), ("/a", "s", ["12"]), ("/a", "s", ["2", "1"])]
    assert name not in [incidents.batch_digest(*other) for other in others]


@pytest.mark.parametrize(
    ("log_group", "own"),
    [
        ("/aws/lambda/watchfloor-Triage-AB-AskModelFunction-1", True),
        ("/aws/vendedlogs/states/watchfloor-triage", True),
        ("/aws/lambda/watchfloorless", False),
        ("/aws/lambda/orders", False),
    ],
)
def test_own_log_groups_are_known(log_group, own):
    prefixes = ["/aws/lambda/watchfloor-", "/aws/vendedlogs/states/watchfloor-", ""]
    assert incidents.is_own(log_group, prefixes) == own


def test_own_log_groups_are_known_by_what_is_left_of_a_long_stack_name():
    prefixes = ["/aws/lambda/watchfloor-of-the-payments-team-production-"]
    assert incidents.is_own("/aws/lambda/watchfloor-of-the-paymen-FindEarlierIncidentsFun-1ABCDEF2GHIJ", prefixes)
    assert not incidents.is_own("/aws/lambda/watchfloor-orders", prefixes)


def test_held_incident_that_somebody_silenced_is_not_told_and_comes_back_after_its_time():
    waiting = incidents.held(after(Incident("f" * 16), new()), now=NOON)
    silent = incidents.silence(waiting, by="kim", until=NOON + 2 * HOUR, now=NOON)
    assert (waiting.needs_start, silent.needs_start, silent.to_do) == (True, False, REFRESH)
    assert after(silent, new(first=NOON + HOUR)).generation == 1
    back = after(silent, new(first=NOON + 3 * HOUR))
    assert (back.generation, back.needs_start, back.status) == (2, True, "reopened")
    # Taken back, it is told after all.
    again = incidents.reopen(silent, by="kim", now=NOON + 90)
    assert (again.needs_start, again.to_do) == (True, START)


def test_held_incident_that_somebody_resolved_is_not_told():
    waiting = incidents.held(after(Incident("f" * 16), new()), now=NOON)
    solved = incidents.resolve(waiting, by="kim", note="a typo", now=NOON + 5)
    assert (solved.needs_start, solved.to_do) == (False, REFRESH)
    back = after(solved, new(first=NOON + 60))
    assert (back.generation, back.needs_start) == (2, True)
