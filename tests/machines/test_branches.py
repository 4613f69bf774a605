"""Campaigns, Jira issues and cases: each fails alone, and each may take more than one call."""

from __future__ import annotations

from typing import Any

import pytest

from tests.machines.harness import Cloud, Fault
from tests.machines.samples import assert_complete, intrusion
from watchfloor.errors import TransientError

BRANCHES = {"CreateCampaign": "campaign", "CreateJira": "jira", "CreateCase": "case"}
SUMMARY_KEY = {"campaign": "campaigns", "jira": "jira", "case": "case"}


@pytest.mark.parametrize("function", BRANCHES)
def test_branch_fails_alone(cloud: Cloud, function: str) -> None:
    cloud.faults[function] = Fault(RuntimeError("out of the blue"))
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])
    summary = cloud.output(run, "summary.json")
    for branch, key in SUMMARY_KEY.items():
        assert (summary[key]["status"] == "failed") == (branch == BRANCHES[function])
    failed = SUMMARY_KEY[BRANCHES[function]]
    assert summary[failed] == {"status": "failed", "error": "RuntimeError: out of the blue"}
    ((subject, text),) = cloud.mails()
    assert subject == f"Watchfloor: run {run.run_id}: {BRANCHES[function]} failed"
    assert f"{BRANCHES[function]}: RuntimeError: out of the blue" in text
    assert bool(cloud.items("CampaignTable")) == (function != "CreateCampaign")


def test_all_branches_fail_and_one_mail_names_them(cloud: Cloud) -> None:
    for function in BRANCHES:
        cloud.faults[function] = Fault(RuntimeError(f"no {function}"))
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])
    ((subject, text),) = cloud.mails()
    assert subject.endswith("campaign, case, jira failed")
    assert all(f"no {function}" in text for function in BRANCHES)


@pytest.mark.parametrize("function", BRANCHES)
def test_branch_is_retried_on_a_passing_error(cloud: Cloud, function: str) -> None:
    cloud.faults[function] = Fault(TransientError("throttled"), times=2)
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert cloud.interpreter.waits == [15, 30]
    assert cloud.mails() == []
    assert cloud.output(run, "summary.json")[SUMMARY_KEY[BRANCHES[function]]]["status"] in ("done", "skipped")


@pytest.mark.parametrize("function", BRANCHES)
def test_branch_that_answers_more_is_called_again_where_it_stopped(cloud: Cloud, function: str) -> None:
    asked: list[Any] = []

    def one_at_a_time(event: dict[str, Any]) -> dict[str, Any]:
        asked.append((event["run_id"], event.get("next", 0)))
        following = event.get("next", 0) + 1
        status = "more" if following < 3 else "done"
        return {"run_id": event["run_id"], "bucket": event.get("bucket"), "status": status, "next": following}

    cloud.stand_ins[function] = one_at_a_time
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert asked == [(run.run_id, 0), (run.run_id, 1), (run.run_id, 2)]
    assert cloud.states(run.arn).count(function) == 3
    assert cloud.output(run, "summary.json")[SUMMARY_KEY[BRANCHES[function]]] == {"status": "done"}


def test_campaigns_short_of_time_are_all_kept(cloud: Cloud) -> None:
    """Two attackers who have nothing in common are two campaigns; with no time left, each needs a call."""
    other = [
        {**alert, "src": "198.51.100.77", "dst": "mail9", "time": alert["time"] + 40 * 86_400}
        for alert in intrusion("b", 10)
    ]
    cloud.remaining_milliseconds = 0
    run = cloud.run("input/alerts.json", intrusion("a", 10) + other)

    flows = {row["flow_id"] for row in cloud.output(run, "flow.json")}
    assert len(flows) > 1
    assert {row["campaign_id"] for row in cloud.items("CampaignTable")} == flows
    assert cloud.states(run.arn).count("CreateCampaign") == len(flows)
    assert cloud.output(run, "summary.json")["campaigns"]["created"] == len(flows)
