"""Files that run through, and files that there is nothing to do for."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.machines.harness import Cloud, Run
from tests.machines.samples import assert_complete, assert_failed, assert_released, intrusion, partition


@pytest.mark.parametrize("cloud", [{"ChunkSize": "4"}], indirect=True)
def test_file_becomes_clusters_flows_and_campaigns(cloud: Cloud) -> None:
    alerts = intrusion("a", 10)
    run = cloud.run("input/alerts.json", reversed(alerts))

    assert_complete(cloud, run, [alert["id"] for alert in alerts])
    assert cloud.mails() == [] and cloud.dead_letters == []
    assert [row["id"] for row in cloud.output(run, "event.json")] == [alert["id"] for alert in alerts]
    summary = cloud.output(run, "summary.json")
    assert summary | {"alerts": 10, "rejected": 0, "batches": 3, "flows": 1} == summary
    assert summary["campaigns"]["created"] == len(cloud.items("CampaignTable")) == 1
    assert (summary["jira"]["status"], summary["case"]["status"]) == ("skipped", "skipped")
    assert summary == cloud.row(run)["summary"]
    flow = cloud.output(run, "flow.json")[0]["flow_id"]
    assert set(cloud.keys(f"output/{run.run_id}/")) == {
        f"output/{run.run_id}/{name}"
        for name in (
            "event.json",
            "cluster.json",
            "flow.json",
            "navigator_layer.json",
            "summary.json",
            f"attack_flow/{flow}.json",
        )
    }
    batches = [f"{batch:06d}.json" for batch in range(3)]
    assert cloud.keys(f"intermediate/{run.run_id}/cluster/") == [
        f"intermediate/{run.run_id}/cluster/{batch}" for batch in batches
    ]
    assert cloud.keys(f"response/cluster_out/{run.run_id}/") == [
        f"response/cluster_out/{run.run_id}/{batch}.out" for batch in batches
    ]
    given = [cloud.read(key)["given_ids"] for key in cloud.keys(f"scratch/{run.run_id}/id_map/")]
    assert given == [[f"a-{i}" for i in batch] for batch in ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9))]


@pytest.mark.parametrize("cloud", [{"ChunkSize": "4"}], indirect=True)
def test_states_come_in_the_order_of_the_trip(cloud: Cloud) -> None:
    run = cloud.run("input/alerts.json", intrusion("a", 8))

    before, _, after = (" ".join(cloud.states(run.arn))).partition(" RaiseClusters ")
    assert before.split() == [
        "ClaimRun",
        "WhatIsLeft",
        "EnrichWithTechnique",
        "HasUnknownNames",
        "CreateTechnique",
        "AcquireLease",
        "IsPublished",
        "ProcessEnrichedWithTechnique",
        "UpdateLookupTable",
        "MoreBatches",
        "ClusterBatches",
        "MoreBatches",
        "CreateFlow",
        "ProcessFlow",
    ]
    assert {"CreateCampaign", "CreateJira", "CreateCase"} < set(after.split())
    assert after.endswith("FinishRun")
    (child,) = cloud.executions(machine_name="cluster-batches")
    batch = ["CreateCluster", "ProcessCluster", "AnotherBatchHere"]
    assert cloud.states(child) == [*batch, *batch, "BatchesDone"]


def test_second_file_continues_the_first(cloud: Cloud) -> None:
    first = cloud.run("input/monday.json", intrusion("a", 10))
    second = cloud.run("input/tuesday.json", intrusion("b", 10, start=600))

    assert_complete(cloud, second, [f"b-{i}" for i in range(10)])
    merged = cloud.read(f"scratch/{second.run_id}/enrich_alert_input.json")["merged_clusters"]
    lives_on_in = {item["cluster_id"]: item["into"] for item in merged}
    before: Counter[str] = Counter()
    for cluster_id, alert_ids in partition(cloud, first).items():
        before[lives_on_in.get(cluster_id, cluster_id)] += len(alert_ids)
    rows = cloud.output(second, "cluster.json")
    assert any(row["updated"] for row in rows)
    for row in rows:
        assert row["total_alert_count"] == before[row["cluster_id"]] + row["alert_count"]
        assert row["updated"] == (before[row["cluster_id"]] > 0) == (row["first_seen_run"] == first.run_id)
    flows = [cloud.output(run, "flow.json")[0]["flow_id"] for run in (first, second)]
    assert flows[0] == flows[1]
    assert cloud.output(second, "summary.json")["campaigns"]["updated"] == 1
    state = next(item for item in cloud.items("StreamTable") if item["item"] == "state")
    assert (state["version"], state["run_id"]) == (2, second.run_id)


def test_names_that_were_learned_are_not_asked_again(cloud: Cloud) -> None:
    cloud.run("input/monday.json", intrusion("a", 5))
    learned = {row["name"]: row["techniques"] for row in cloud.items("TechniqueTable")}
    second = cloud.run("input/tuesday.json", intrusion("b", 5))

    # Names that come with a technique of their own are not asked either.
    assert learned.keys() == {"Encoded PowerShell command", "SMB copy to an admin share", "DNS tunnel with long labels"}
    assert "CreateTechnique" not in cloud.states(second.arn)
    events = cloud.output(second, "event.json")
    assert events[0]["techniques"] == ["T1046"]
    threshold = 0.35
    best = [item["id"] for item in json.loads(learned[events[2]["name"]]) if item["score"] >= threshold]
    assert events[2]["techniques"] == best


@pytest.mark.parametrize("content", [b"", b'{"input": []}', b"no JSON", b'{"input": [{"id": 1}]}'])
def test_file_without_a_usable_alert_fails_and_says_why(cloud: Cloud, content: bytes) -> None:
    run = cloud.upload("input/alerts.json", content)

    assert_failed(cloud, run, "InvalidInputError", "alerts.json")
    assert cloud.row(run) | {"status": "FAILED", "error": "InvalidInputError"} == cloud.row(run)
    assert "EnrichWithTechnique" in cloud.mails()[0][0]
    assert "Traceback" not in cloud.mails()[0][1]


def test_bad_alert_is_kept_aside_and_the_others_go_on(cloud: Cloud) -> None:
    alerts = intrusion("a", 6)
    alerts[2]["time"] = "yesterday"
    run = cloud.run("input/alerts.json", alerts)

    assert_complete(cloud, run, ["a-0", "a-1", "a-3", "a-4", "a-5"])
    (rejected,) = cloud.read_lines(f"rejected/{run.run_id}.jsonl")
    assert "time" in rejected["reason"] and rejected["record"]["id"] == "a-2"
    assert cloud.output(run, "summary.json")["rejected"] == 1


def test_folder_marker_is_nothing_to_do(cloud: Cloud) -> None:
    marker = cloud.upload("input/branch/", b"")

    assert cloud.wait(marker)["status"] == "SUCCEEDED"
    assert cloud.states(marker.arn) == ["ClaimRun", "WhatIsLeft", "NothingToDo"]
    assert cloud.items("RunTable") == cloud.items("StreamTable") == cloud.mails() == []


def test_same_event_after_the_run_is_nothing_to_do(cloud: Cloud) -> None:
    run = cloud.run("input/alerts.json", intrusion("a", 5))
    written = cloud.row(run)
    again = cloud.again(run)

    assert cloud.wait(again)["status"] == "SUCCEEDED"
    assert cloud.states(again.arn) == ["ClaimRun", "WhatIsLeft", "NothingToDo"]
    assert cloud.row(run) == written
    assert cloud.tickets() == []


def test_same_event_during_the_run_is_nothing_to_do(cloud: Cloud) -> None:
    run = cloud.stored("input/alerts.json", intrusion("a", 5))
    twice = [Run(arn, run.run_id, run.event) for _ in range(2) for arn in cloud.deliver(run.event)]

    assert [cloud.wait(one)["status"] for one in twice] == ["SUCCEEDED", "SUCCEEDED"]
    assert sorted("FinishRun" in cloud.states(one.arn) for one in twice) == [False, True]
    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])
    assert len(cloud.requests) == len({name for name, _ in cloud.requests}) == 3


def test_overwritten_file_is_read_in_the_version_that_the_event_names(cloud: Cloud) -> None:
    first = cloud.stored("input/alerts.json", intrusion("a", 5))
    cloud.stored("input/alerts.json", intrusion("b", 5))
    (arn,) = cloud.deliver(first.event)

    assert cloud.wait(Run(arn, first.run_id, first.event))["status"] == "SUCCEEDED"
    assert_complete(cloud, first, [f"a-{i}" for i in range(5)])


def test_file_that_is_too_large_is_refused_with_advice(cloud: Cloud) -> None:
    run = cloud.stored("input/alerts.json", b"{}")
    run.event["detail"]["object"]["size"] = 6_000_000_000
    (arn,) = cloud.deliver(run.event)

    assert_failed(cloud, Run(arn, run.run_id, run.event), "InvalidInputError", "Split it into several files")


def test_execution_started_with_something_else_says_what_it_needs(cloud: Cloud) -> None:
    run = cloud.stored("input/alerts.json", b"{}")
    machine = cloud.sfn.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    answer = cloud.sfn.start_execution(stateMachineArn=machine, name="by-hand", input='{"file": "alerts.json"}')

    assert_failed(
        cloud, Run(answer["executionArn"], "by-hand", run.event), "InvalidInputError", "start this state machine"
    )
    assert_released(cloud, run)


def test_two_stacks_never_share_a_job_name(cloud: Cloud) -> None:
    """The names hold the stack's own prefix, and stay within SageMaker's 63 characters."""
    cloud.run("input/alerts.json", intrusion("a", 5))
    names = [name for name, _ in cloud.requests]
    assert all(name.startswith("1a2b3c4d-") and len(name) <= 63 and "_" not in name for name in names)
