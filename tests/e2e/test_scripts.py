"""Ops scripts on the deployed application, IAM enforced: what they do is read back."""

from __future__ import annotations

import json

import pytest

from local import sandbox
from tests.e2e.pipeline import Pipeline
from tests.e2e.scripts import Scripts
from tests.script_scenarios import CHANGES, SCENARIOS, SHOP
from watchfloor.scripts import GROUPS, same_plan

# What a plan names that time alone makes another.
MOVING = ("ScheduleExpression",)
# Schedules of other stacks may change something meanwhile; what a dry run changed would change each time.
ATTEMPTS = 3


@pytest.fixture(scope="module")
def scripts(pipeline: Pipeline) -> Scripts:
    return Scripts(pipeline)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_script_does_what_it_is_for(scripts, scenario):
    scenario(scripts.shop)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_dry_run_changes_nothing_and_names_the_calls_that_are_then_made(scripts, change):
    parameters = change.prepare(scripts.shop)
    scripts.shop.call(change.script, parameters, dry_run=True)  # starts the environment, which leaves traces too
    for _ in range(ATTEMPTS):
        before, count = scripts.snapshot(), len(scripts.calls(change.script))
        planned = scripts.shop.call(change.script, parameters, dry_run=True)
        assert planned.status_code == 202, planned.body
        if not (changed := scripts.changed(before, scripts.snapshot())):
            break
    assert changed == []
    assert scripts.writes_since(change.script, count) == []
    assert planned.planned_calls

    done = scripts.run(change, parameters)
    assert done.status_code == 200, done.body
    assert bool(scripts.changed(before, scripts.snapshot())) == change.leaves_traces
    made = json.loads(scripts.records(change.script)[-1]["calls"])
    assert [call["outcome"] for call in made] == ["made"] * len(made)
    assert len(made) == len(planned.planned_calls)
    for one, other in zip(planned.planned_calls, made, strict=True):
        assert same_plan(still(one), still(other))
    assert scripts.writes_since(change.script, count) == scripts.actions_of(planned.planned_calls)


def still(call):
    return {**call, "parameters": {key: value for key, value in call["parameters"].items() if key not in MOVING}}


def test_restart_whose_tasks_stop_says_what_ecs_says_and_rings(scripts):
    """The circuit breaker of ECS goes back to what ran before; the answer is a fault, though no error to Lambda."""
    shop = scripts.shop
    shop.steady()
    before = shop.deployment_id()
    scripts.cloud.inject_faults(task=[{"match": SHOP, "times": 20, "kind": "stops"}])
    try:
        answer = shop.call("oncall-restart-service", shop.service())
    finally:
        scripts.cloud.inject_faults(task=[])
    assert (answer.status_code, answer.body["changed"]) == (500, True)
    error = answer.body["error"]
    assert error["type"] == "RolloutError"
    assert "circuit breaker" in error["message"]
    assert [call["operation"] for call in error["calls"]] == ["UpdateService"]
    assert shop.deployment_id() == before
    shop.steady()
    (mail, *_) = scripts.alarm_mails("OncallRestartServiceFaults")
    assert (mail["NewStateValue"], mail["Trigger"]["MetricName"]) == ("ALARM", "ScriptFault")


def test_script_that_lambda_ends_rings_and_those_on_duty_get_mail(scripts):
    """A handler that is not there, which no script can answer for."""
    functions = scripts.functions
    function = {"FunctionName": "oncall-service-health"}
    before = functions.get_function_configuration(**function)
    functions.update_function_configuration(**function, Handler="oncall_service_health.missing")
    try:
        answer = functions.invoke(**function, Payload=b"{}")
    finally:
        functions.update_function_configuration(**function, Handler=before["Handler"])
    assert answer["FunctionError"] == "Unhandled"
    (mail, *_) = scripts.alarm_mails("OncallServiceHealthErrors")
    assert (mail["NewStateValue"], mail["Trigger"]["MetricName"]) == ("ALARM", "Errors")


def test_every_script_has_both_alarms_and_they_reach_those_on_duty(scripts):
    cloudwatch = scripts.pipeline.deployment.client("cloudwatch")
    topic = scripts.pipeline.deployment.outputs["AlertTopicArn"]
    pages = cloudwatch.get_paginator("describe_alarms").paginate()
    watched: dict[str, set[str]] = {}
    for alarm in (row for page in pages for row in page["MetricAlarms"] if topic in row["AlarmActions"]):
        for dimension in alarm["Dimensions"]:
            watched.setdefault(dimension["Value"], set()).add(alarm["MetricName"])
    stems = [path.stem for path in (sandbox.ROOT / "events/scripts").glob("*.json")]
    names = [stem.replace("_", "-") for stem in stems if stem.partition("_")[0] in GROUPS]
    assert len(names) == 17
    assert {name for name in names if watched.get(name) != {"Errors", "ScriptFault"}} == set()


def test_every_call_is_recorded_with_who_asked_for_it(scripts):
    scripts.shop.call("oncall-service-health", {"service_name": "nothing"}, requested_by="anna")
    record = scripts.records("oncall-service-health")[-1]
    assert (record["requested_by"], record["status"], record["status_code"]) == ("anna", "failed", 404)
    assert record["changed"] is False
