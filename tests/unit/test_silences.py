"""Alarms that are silent for a while: what is refused, and what their end looks like."""

import datetime as dt
import json

import pytest

from watchfloor.errors import ConflictError
from watchfloor.silences import check_owner, schedule_name, scheduled_end, told

RINGS = {"AlarmName": "errors", "StateValue": "ALARM", "ActionsEnabled": True}
SILENT = {**RINGS, "ActionsEnabled": False}
UNTIL = dt.datetime(2026, 11, 20, 22, 0, tzinfo=dt.UTC)
END = scheduled_end("errors", UNTIL, "anna: upgrade", "arn:aws-cn:iam::1:role/ends")


@pytest.mark.parametrize("minutes", [0, 60])
def test_alarm_that_somebody_else_silenced_is_refused(minutes):
    with pytest.raises(ConflictError, match="not by this script"):
        check_owner(SILENT, None, minutes=minutes)
    check_owner(SILENT, END, minutes=minutes)
    check_owner(RINGS, None, minutes=minutes)


def test_scheduled_end_happens_once_and_turns_the_actions_on():
    assert END["ScheduleExpression"] == "at(2026-11-20T22:00:00)"
    assert END["ActionAfterCompletion"] == "DELETE"
    assert END["Target"]["Arn"] == "arn:aws-cn:scheduler:::aws-sdk:cloudwatch:enableAlarmActions"
    assert json.loads(END["Target"]["Input"]) == {"AlarmNames": ["errors"]}
    assert len(scheduled_end("errors", UNTIL, "x" * 900, "arn:aws:iam::1:role/ends")["Description"]) == 512


def test_alarm_is_told_with_its_end_and_who_it_was():
    about = told(SILENT, END)
    assert (about["was_silent"], about["was_silent_until"]) == (True, UNTIL.isoformat())
    assert about["was_silenced_by"] == "anna: upgrade"
    assert told(RINGS, None)["was_silent_until"] is None


def test_schedule_name_takes_what_alarm_names_may_hold():
    name = schedule_name("shop-silence-", "errors: 5xx / orders")
    assert name.startswith("shop-silence-")
    assert (name, len(name) < 64) == (schedule_name("shop-silence-", "errors: 5xx / orders"), True)
    assert name != schedule_name("shop-silence-", "errors")
