"""Silences an alarm for a while: its actions are off until an end that is fixed beforehand, and come back by themselves.

The end is a one-time schedule of EventBridge Scheduler. It is made before the alarm is silenced, so whatever happens to
this function, nothing stays silent for ever; the schedule's description says who silenced the alarm and why.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import Field

from watchfloor.clients.aws import error_code
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError, NotFoundError
from watchfloor.scripts import Parameters

AlarmName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
Reason = Annotated[str, Field(min_length=5, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
MAX_MINUTES = 24 * 60
TARGET = "arn:{partition}:scheduler:::aws-sdk:cloudwatch:enableAlarmActions"
_DESCRIPTION_CHARACTERS = 512


class SilenceAlarm(Parameters):
    alarm_name: AlarmName = Field(description="The metric or composite alarm")
    minutes: int = Field(ge=0, le=MAX_MINUTES, description="How long, from now; 0 ends the silence at once")
    reason: Reason = Field(description="Why; others see it")


def silence_alarm(parameters: SilenceAlarm, run: ScriptRun) -> dict[str, Any]:
    alarm = describe(run, parameters.alarm_name)
    schedule = scheduled_end(run, parameters.alarm_name)
    before = {
        "alarm_name": parameters.alarm_name,
        "alarm_state": alarm["StateValue"],
        "was_silent": not alarm["ActionsEnabled"],
        "was_silent_until": end_of(schedule),
        "was_silenced_by": (schedule or {}).get("Description"),
    }
    if parameters.minutes == 0:
        return {**before, **end_silence(parameters, run, alarm, schedule)}
    if not alarm["ActionsEnabled"] and schedule is None:
        raise ConflictError(
            f"the actions of {parameters.alarm_name} are off already, and not by this script: at its end they would be"
            " turned on against somebody's will"
        )
    until = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=parameters.minutes)
    arguments = schedule_arguments(parameters, run, until)
    if schedule is None:
        run.write("scheduler").create_schedule(**arguments)
    else:
        run.write("scheduler").update_schedule(**arguments)
    if alarm["ActionsEnabled"]:
        run.write("cloudwatch").disable_alarm_actions(AlarmNames=[parameters.alarm_name])
    result = {**before, "silent_until": until.isoformat(), "extended": schedule is not None}
    if not run.dry_run and describe(run, parameters.alarm_name)["ActionsEnabled"]:
        raise ConflictError(f"the actions of {parameters.alarm_name} were turned on again at once, by somebody else")
    return result


def end_silence(
    parameters: SilenceAlarm, run: ScriptRun, alarm: dict[str, Any], schedule: dict[str, Any] | None
) -> dict[str, Any]:
    """Actions on first, then the schedule away: the other way round a crash would leave the alarm silent."""
    if schedule is None:
        if not alarm["ActionsEnabled"]:
            raise ConflictError(f"the actions of {parameters.alarm_name} are off, but not by this script")
        return {"silent_until": None}
    run.write("cloudwatch").enable_alarm_actions(AlarmNames=[parameters.alarm_name])
    run.write("scheduler").delete_schedule(Name=schedule["Name"])
    return {"silent_until": None}


def describe(run: ScriptRun, name: str) -> dict[str, Any]:
    found = run.read("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    alarms = found.get("MetricAlarms", []) + found.get("CompositeAlarms", [])
    if not alarms:
        raise NotFoundError(f"there is no alarm {name}")
    return alarms[0]


def scheduled_end(run: ScriptRun, alarm_name: str) -> dict[str, Any] | None:
    """The schedule that is to end the alarm's silence, if it is silent by this script."""
    try:
        return run.read("scheduler").get_schedule(Name=schedule_name(run, alarm_name))
    except ClientError as error:
        if error_code(error) == "ResourceNotFoundException":
            return None
        raise


def schedule_arguments(parameters: SilenceAlarm, run: ScriptRun, until: dt.datetime) -> dict[str, Any]:
    role_arn = run.settings["RESTORE_ROLE_ARN"]
    return {
        "Name": schedule_name(run, parameters.alarm_name),
        "Description": f"{run.requested_by}: {parameters.reason}"[:_DESCRIPTION_CHARACTERS],
        "ScheduleExpression": f"at({until:%Y-%m-%dT%H:%M:%S})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": TARGET.format(partition=role_arn.split(":")[1]),
            "RoleArn": role_arn,
            "Input": json.dumps({"AlarmNames": [parameters.alarm_name]}),
        },
    }


def schedule_name(run: ScriptRun, alarm_name: str) -> str:
    """One schedule an alarm; alarm names may hold what schedule names may not."""
    return f"{run.settings['SCHEDULE_PREFIX']}{hashlib.sha256(alarm_name.encode()).hexdigest()[:16]}"


def end_of(schedule: dict[str, Any] | None) -> str | None:
    found = re.fullmatch(r"at\((.+)\)", (schedule or {}).get("ScheduleExpression", ""))
    return f"{found[1]}+00:00" if found else None


script = Script("oncall-silence-alarm", SilenceAlarm, silence_alarm, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
