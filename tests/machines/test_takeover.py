"""A run whose execution died goes on in another one, after its last finished batch, with the same result."""

from __future__ import annotations

from typing import Any

import pytest

from tests.machines.harness import Cloud, Fate, Fault, Run
from tests.machines.samples import assert_complete, intrusion
from watchfloor.clients.cluster_table import ClusterTable
from watchfloor.clients.run_table import PUBLISHED, RunTable

ALERTS = intrusion("a", 16)
FOUR_BATCHES = pytest.mark.parametrize("cloud", [{"ChunkSize": "4"}], indirect=True)


def result(cloud: Cloud, run: Run) -> list[Any]:
    """What users see, without the run's own id."""
    clusters = [row | {"first_seen_run": ""} for row in cloud.output(run, "cluster.json")]
    return [clusters, cloud.output(run, "flow.json"), cloud.output(run, "event.json")]


@pytest.fixture(scope="module")
def untroubled() -> list[Any]:
    """The result of a run in which nothing went wrong."""
    with Cloud(ChunkSize="4") as cloud:
        return result(cloud, cloud.run("input/alerts.json", ALERTS))


def jobs_of_batches(cloud: Cloud) -> list[int]:
    """Batch of every clustering job, in the order in which they were asked for."""
    return [int(name.split("-")[-2]) for name, _ in cloud.requests if "-cluster-" in name]


def kill_in_batch(cloud: Cloud, batch: int, run: Run) -> None:
    cloud.until(lambda: batch in jobs_of_batches(cloud))
    cloud.stop(run.arn)
    assert cloud.wait(run)["status"] == "ABORTED"


@FOUR_BATCHES
@pytest.mark.parametrize("report", ["heard", "lost"])
def test_killed_in_a_batch_goes_on_with_that_batch(untroubled: list[Any], cloud: Cloud, report: str) -> None:
    if report == "lost":
        cloud.lost.add("Step Functions Execution Status Change")
    cloud.fates["cluster"].extend([Fate(), Fate(), Fate(status="InProgress")])
    killed = cloud.upload("input/alerts.json", ALERTS)
    kill_in_batch(cloud, 2, killed)
    cloud.end_job(cloud.requests[-1][0])
    run = cloud.again(killed)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert jobs_of_batches(cloud) == [0, 1, 2, 3]
    assert "EnrichWithTechnique" not in cloud.states(run.arn)
    assert cloud.states(cloud.executions(machine_name="cluster-batches")[-1]).count("ProcessCluster") == 2
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])
    assert result(cloud, run) == untroubled
    assert cloud.tickets() == []


@FOUR_BATCHES
def test_failed_batch_goes_on_with_another_job(untroubled: list[Any], cloud: Cloud) -> None:
    cloud.fates["cluster"].extend([Fate(), Fate(failure="ClientError: out of memory")])
    failed = cloud.upload("input/alerts.json", ALERTS)
    assert cloud.wait(failed)["status"] == "FAILED"
    run = cloud.again(failed)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert jobs_of_batches(cloud) == [0, 1, 1, 2, 3]
    assert result(cloud, run) == untroubled


def test_killed_while_the_technique_model_ran_waits_for_it_again(cloud: Cloud) -> None:
    cloud.fates["technique"].append(Fate(status="InProgress"))
    killed = cloud.upload("input/alerts.json", ALERTS)
    cloud.until(lambda: cloud.requests)
    cloud.stop(killed.arn)
    assert cloud.wait(killed)["status"] == "ABORTED"
    run = cloud.again(killed)
    cloud.until(lambda: "CreateTechnique" in cloud.states(run.arn))
    cloud.end_job(cloud.requests[0][0])
    cloud.until(lambda: cloud.sweep()["jobs"] == {} or cloud.describe(run)["status"] != "RUNNING")

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert len([name for name, _ in cloud.requests if "-technique-" in name]) == 1
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])


def test_killed_before_the_file_was_read_begins_anew(cloud: Cloud) -> None:
    cloud.faults["EnrichWithTechnique"] = Fault(RuntimeError("out of the blue"), times=1)
    failed = cloud.upload("input/alerts.json", ALERTS)
    assert cloud.wait(failed)["status"] == "FAILED"
    run = cloud.again(failed)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])


def test_published_run_only_repeats_the_branches(cloud: Cloud) -> None:
    cloud.faults["FinishRun"] = Fault(RuntimeError("out of the blue"), times=1)
    failed = cloud.upload("input/alerts.json", ALERTS)
    assert cloud.wait(failed)["status"] == "FAILED"
    written = result(cloud, failed)
    asked = len(cloud.requests)
    run = cloud.again(failed)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    states = cloud.states(run.arn)
    assert states[:5] == ["ClaimRun", "WhatIsLeft", "AcquireLease", "IsPublished", "RaiseClusters"]
    assert states[-1] == "FinishRun"
    assert len(cloud.requests) == asked
    assert result(cloud, run) == written
    assert len(cloud.items("CampaignTable")) == 1
    assert cloud.output(run, "summary.json")["batches"] == 1
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])


@pytest.mark.parametrize("place", ["before the ledger", "before its note"])
def test_killed_after_the_state_moved_on_counts_every_alert_once(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    advance, record = RunTable.advance, ClusterTable.record

    def die_before_the_note(runs: RunTable, run_id: str, **changes: Any) -> None:
        if changes.get("stage") == PUBLISHED:
            monkeypatch.setattr(RunTable, "advance", advance)
            raise RuntimeError("killed")
        advance(runs, run_id, **changes)

    def die_before_the_ledger(*_: Any) -> None:
        monkeypatch.setattr(ClusterTable, "record", record)
        raise RuntimeError("killed")

    if place == "before its note":
        monkeypatch.setattr(RunTable, "advance", die_before_the_note)
    else:
        monkeypatch.setattr(ClusterTable, "record", die_before_the_ledger)
    failed = cloud.upload("input/alerts.json", ALERTS)
    assert cloud.wait(failed)["status"] == "FAILED"
    assert [item["run_id"] for item in cloud.items("StreamTable") if item["item"] == "state"] == [failed.run_id]
    run = cloud.again(failed)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])
    assert all(row["total_alert_count"] == row["alert_count"] for row in cloud.output(run, "cluster.json"))
    assert len(cloud.items("ClusterTable")) == len(cloud.output(run, "cluster.json"))
    (state,) = (item for item in cloud.items("StreamTable") if item["item"] == "state")
    assert state["version"] == 1


@FOUR_BATCHES
def test_run_that_was_overtaken_begins_with_the_state_of_now(cloud: Cloud) -> None:
    """Finished batches were clustered on a state that is no longer the stream's."""
    cloud.fates["cluster"].extend([Fate(), Fate(), Fate(status="InProgress")])
    killed = cloud.upload("input/monday.json", ALERTS)
    kill_in_batch(cloud, 2, killed)
    other = cloud.run("input/tuesday.json", intrusion("b", 4, start=3_600))
    run = cloud.again(killed)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])
    batches = [int(name.split("-")[-2]) for name, _ in cloud.requests if f"-cluster-{run.run_id}" in name]
    assert batches == [0, 1, 2, 0, 1, 2, 3]
    (state,) = (item for item in cloud.items("StreamTable") if item["item"] == "state")
    assert (state["version"], state["run_id"]) == (2, run.run_id)
    totals = {row["cluster_id"]: row["total_alert_count"] for row in cloud.output(run, "cluster.json")}
    before = {row["cluster_id"]: row["alert_count"] for row in cloud.output(other, "cluster.json")}
    assert sum(totals.values()) <= len(ALERTS) + sum(before.values())


def test_two_executions_that_take_over_at_once_are_one_run(cloud: Cloud) -> None:
    cloud.faults["CreateFlow"] = Fault(RuntimeError("out of the blue"), times=1)
    failed = cloud.upload("input/alerts.json", ALERTS)
    assert cloud.wait(failed)["status"] == "FAILED"
    both = [cloud.again(failed), cloud.again(failed)]

    assert [cloud.wait(run)["status"] for run in both] == ["SUCCEEDED", "SUCCEEDED"]
    assert sorted("FinishRun" in cloud.states(run.arn) for run in both) == [False, True]
    assert_complete(cloud, failed, [alert["id"] for alert in ALERTS])
    assert cloud.tickets() == []


@FOUR_BATCHES
def test_last_batch_done_but_not_noted_goes_on_with_the_flows(cloud: Cloud) -> None:
    cloud.faults["ProcessCluster"] = Fault(RuntimeError("killed"), times=1, after=True)
    failed = cloud.upload("input/alerts.json", ALERTS[:4])
    assert cloud.wait(failed)["status"] == "FAILED"
    run = cloud.again(failed)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert jobs_of_batches(cloud) == [0]
    assert "ClusterBatches" not in cloud.states(run.arn)
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS[:4]])


def test_run_that_lost_its_lease_moves_nothing(cloud: Cloud) -> None:
    """Should two runs of a stream ever go on at once, the later one fails, and the ledger knows only the other."""
    cloud.fates["flow"].append(Fate(status="InProgress"))
    late = cloud.upload("input/monday.json", ALERTS)
    cloud.until(lambda: "CreateFlow" in cloud.states(late.arn) and len(cloud.requests) == 3)
    (ticket,) = cloud.tickets()
    cloud.tables["StreamTable"].delete_item(Key={"stream": ticket["stream"], "item": ticket["item"]})
    other = cloud.run("input/tuesday.json", intrusion("b", 5))
    ledger = sorted(cloud.items("ClusterTable"), key=str)
    cloud.end_job(cloud.requests[2][0])

    assert cloud.wait(late)["status"] == "FAILED"
    assert cloud.row(late)["error"] == "ConflictError"
    assert sorted(cloud.items("ClusterTable"), key=str) == ledger
    (state,) = (item for item in cloud.items("StreamTable") if item["item"] == "state")
    assert (state["version"], state["run_id"]) == (1, other.run_id)

    run = cloud.again(late)
    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])
    counted = {row["cluster_id"]: row["alert_count"] for row in cloud.output(other, "cluster.json")}
    for row in cloud.output(run, "cluster.json"):
        assert row["total_alert_count"] >= row["alert_count"] + counted.get(row["cluster_id"], 0)
