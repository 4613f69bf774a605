"""Silences an alarm for a while: its actions are off until an end that is fixed beforehand, and come back by themselves.

The end is a one-time schedule of EventBridge Scheduler. It is made before the alarm is silenced, so whatever happens to
this function, nothing stays silent for ever; the schedule's description says who silenced the alarm and why.
"""

from __future__ import annotations

import datetime as dt
import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.alarms import Alarms
from watchfloor.clients.schedules import Schedules
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError
from watchfloor.scripts import Parameters
from watchfloor.silences import check_owner, schedule_name, scheduled_end, told

AlarmName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
Reason = Annotated[str, Field(min_length=5, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
MAX_MINUTES = 24 * 60


class SilenceAlarm(Parameters):
    alarm_name: AlarmName = Field(description="The metric or composite alarm")
    minutes: int = Field(ge=0, le=MAX_MINUTES, description="How long, from now; 0 ends the silence at once")
    reason: Reason = Field(description="Why; others see it")


def silence_alarm(parameters: SilenceAlarm, run: ScriptRun) -> dict[str, Any]:
    alarms, name = Alarms(run.read("cloudwatch")), parameters.alarm_name
    alarm = alarms.find(name)
    end_name = schedule_name(run.settings["SCHEDULE_PREFIX"], name)
    end = Schedules(run.read("scheduler")).find(end_name)
    check_owner(alarm, end, minutes=parameters.minutes)
    before = told(alarm, end)
    if parameters.minutes == 0:
        if end:
            # The other way round a crash would leave the alarm silent.
            run.write("cloudwatch").enable_alarm_actions(AlarmNames=[name])
            run.write("scheduler").delete_schedule(Name=end_name)
        return {**before, "silent_until": None}
    until = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=parameters.minutes)
    why = f"{run.requested_by}: {parameters.reason}"
    arguments = {"Name": end_name, **scheduled_end(name, until, why, run.settings["RESTORE_ROLE_ARN"])}
    if end is None:
        run.write("scheduler").create_schedule(**arguments)
    else:
        run.write("scheduler").update_schedule(**arguments)
    if alarm["ActionsEnabled"]:
        run.write("cloudwatch").disable_alarm_actions(AlarmNames=[name])
    if not run.dry_run and alarms.find(name)["ActionsEnabled"]:
        raise ConflictError(f"the actions of {name} were turned on again at once, by somebody else")
    return {**before, "silent_until": until.isoformat(), "extended": end is not None}


script = Script("oncall-silence-alarm", SilenceAlarm, silence_alarm, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
