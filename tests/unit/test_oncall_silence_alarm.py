"""oncall-silence-alarm: valid, edge and invalid input, and that no crash leaves an alarm silent for ever."""

import datetime as dt
import json
from collections.abc import Iterator

import pytest

from tests.machines.stack import physical_id
from tests.resources import make_alarm
from tests.unit.scripts import World, scripts
from watchfloor.clients import script_runtime

NAME = "oncall-silence-alarm"
ERRORS = {"alarm_name": "checkout-errors", "minutes": 60, "reason": "database upgrade"}


@pytest.fixture
def world() -> Iterator[World]:
    with scripts() as made:
        make_alarm(made.client("cloudwatch"), "checkout-errors", ActionsEnabled=True)
        yield made


def rings(world: World) -> bool:
    (alarm,) = world.client("cloudwatch").describe_alarms(AlarmNames=["checkout-errors"])["MetricAlarms"]
    return alarm["ActionsEnabled"]


def schedules(world: World):
    scheduler = world.client("scheduler")
    return [scheduler.get_schedule(Name=row["Name"]) for row in scheduler.list_schedules()["Schedules"]]


def test_alarm_is_silent_and_its_end_is_fixed(world):
    answer = world.call(NAME, ERRORS, requested_by="anna")
    assert (answer.status_code, answer.body["changed"]) == (200, True), answer.body
    assert not rings(world)
    (schedule,) = schedules(world)
    assert schedule["ScheduleExpression"] == f"at({answer.result['silent_until'].removesuffix('+00:00')})"
    left = dt.datetime.fromisoformat(answer.result["silent_until"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=59) < left <= dt.timedelta(minutes=60)
    assert schedule["ActionAfterCompletion"] == "DELETE"
    assert schedule["Description"] == "anna: database upgrade"
    assert schedule["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:cloudwatch:enableAlarmActions"
    assert schedule["Target"]["RoleArn"].endswith(f":role/{physical_id('EndSilenceRole')}")
    assert json.loads(schedule["Target"]["Input"]) == {"AlarmNames": ["checkout-errors"]}


def test_dry_run_plans_the_end_before_the_silence(world):
    answer = world.call(NAME, ERRORS, dry_run=True)
    assert answer.status_code == 202
    assert [call["operation"] for call in answer.planned_calls] == ["CreateSchedule", "DisableAlarmActions"]
    assert rings(world)
    assert schedules(world) == []


@pytest.mark.parametrize("broken", ["create_schedule", "disable_alarm_actions"])
def test_a_failure_never_leaves_the_alarm_silent_without_an_end(world, monkeypatch, broken):
    client = script_runtime._client

    def fails(**_: object) -> None:
        raise RuntimeError("broken")

    def patched(service: str, *settings: object):
        found = client(service, *settings)
        if hasattr(found, broken):
            monkeypatch.setattr(found, broken, fails, raising=False)
        return found

    monkeypatch.setattr(script_runtime, "_client", patched)
    assert world.call(NAME, ERRORS).status_code == 500
    assert rings(world) or schedules(world)


def test_silencing_again_moves_the_end_and_shows_who_it_was(world):
    first = world.call(NAME, ERRORS, requested_by="anna").result["silent_until"]
    answer = world.call(NAME, {**ERRORS, "minutes": 120, "reason": "takes longer"}, requested_by="ben")
    assert (answer.status_code, answer.result["extended"]) == (200, True)
    assert (answer.result["was_silent_until"], answer.result["was_silenced_by"]) == (first, "anna: database upgrade")
    (schedule,) = schedules(world)
    assert schedule["Description"] == "ben: takes longer"
    assert answer.result["silent_until"] > first
    assert not rings(world)


def test_0_minutes_end_the_silence(world):
    world.call(NAME, ERRORS)
    answer = world.call(NAME, {**ERRORS, "minutes": 0})
    assert (answer.status_code, answer.result["silent_until"]) == (200, None)
    assert rings(world)
    assert schedules(world) == []
    again = world.call(NAME, {**ERRORS, "minutes": 0})
    assert (again.status_code, again.body["changed"]) == (200, False)


@pytest.mark.parametrize("minutes", [0, 60])
def test_alarm_that_somebody_switched_off_otherwise_is_left_alone(world, minutes):
    world.client("cloudwatch").disable_alarm_actions(AlarmNames=["checkout-errors"])
    answer = world.call(NAME, {**ERRORS, "minutes": minutes})
    assert (answer.status_code, "not by this script" in answer.error["message"]) == (409, True)
    assert schedules(world) == []


@pytest.mark.parametrize(
    ("event", "code", "says"),
    [
        ({**ERRORS, "alarm_name": "none"}, 404, "no alarm none"),
        ({**ERRORS, "minutes": 1441}, 400, "minutes"),
        ({**ERRORS, "minutes": -1}, 400, "minutes"),
        ({**ERRORS, "reason": "x"}, 400, "reason"),
        ({**ERRORS, "reason": "line\nbreak"}, 400, "reason"),
        ({"alarm_name": "checkout-errors", "minutes": 5}, 400, "reason: is missing"),
        ({**ERRORS, "alarm_name": ""}, 400, "alarm_name"),
    ],
)
def test_what_cannot_be_silenced(world, event, code, says):
    answer = world.call(NAME, event)
    assert (answer.status_code, answer.body["changed"]) == (code, False)
    assert says in answer.error["message"]
    assert rings(world)
