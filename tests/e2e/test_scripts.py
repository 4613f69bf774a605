"""Ops scripts on the deployed application, IAM enforced: what they do is read back."""

from __future__ import annotations

import json

import pytest

from tests.e2e.pipeline import Pipeline
from tests.e2e.scripts import Scripts
from tests.script_scenarios import CHANGES, SCENARIOS
from watchfloor.scripts import same_plan

# What a plan names that time alone makes another.
MOVING = ("ScheduleExpression",)


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
    before, count = scripts.snapshot(), len(scripts.calls(change.script))
    planned = scripts.shop.call(change.script, parameters, dry_run=True)
    assert planned.status_code == 202, planned.body
    assert scripts.changed(before, scripts.snapshot()) == []
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
