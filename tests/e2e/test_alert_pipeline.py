"""The alert pipeline through the real template, on the local cloud, with IAM enforced."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.simulate import simulate
from local import sandbox
from tests.e2e.conftest import CHUNK_SIZE
from tests.e2e.pipeline import Pipeline


def alert(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "time": 1_793_600_000.0 + number,
        "src": "10.0.0.1",
        "dst": "srv-1",
        "name": "login failed",
        "tech": ["T1110"],
        "other_attributes_dict": {},
        **fields,
    }


def burst(start: int, count: int = 12, **fields: Any) -> dict[str, Any]:
    """One attacker guessing passwords, an alert a second."""
    return {"input": [alert(start + n, **fields) for n in range(count)]}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return simulate(alerts=1500, seed=11, attackers=2, days=1)[0]


@pytest.fixture(scope="module")
def first(pipeline: Pipeline, document: dict[str, Any]):
    return pipeline.run("simulated/alerts.json", document)


def test_every_alert_is_in_exactly_one_cluster_or_rejected(first, document):
    placed = [alert_id for row in first.output("cluster.json") for alert_id in row["alert_ids"]]
    assert len(placed) == len(set(placed))
    rejected = len(first.rejected())
    assert len(placed) + rejected == len(document["input"]) == first.summary["alerts"] + rejected
    assert first.summary["batches"] == -(-len(placed) // CHUNK_SIZE)
    events = first.output("event.json")
    assert sorted(str(row["id"]) for row in events) == sorted(placed)
    assert [row["time"] for row in events] == sorted(row["time"] for row in events)


def test_flows_lead_between_clusters_and_become_campaigns(first, pipeline):
    clusters, flows = first.clusters(), first.output("flow.json")
    assert flows
    assert all(set(flow["cluster_ids"]) <= clusters.keys() for flow in flows)
    assert [flow["score"] for flow in flows] == sorted((flow["score"] for flow in flows), reverse=True)
    table = pipeline.deployment.table("CampaignTableName")
    for flow in flows:
        row = table.get_item(Key={"campaign_id": flow["flow_id"]})["Item"]
        assert row["status"] == "open"
        assert pipeline.read(row["doc_uri"].removeprefix(f"s3://{pipeline.bucket}/"))["events"]
        assert first.output(f"attack_flow/{flow['flow_id']}.json")["type"] == "bundle"
    assert first.output("navigator_layer.json")["versions"]["layer"] == "4.5"
    assert first.summary["campaigns"]["created"] == len(flows)


def test_clusters_become_issues_and_cases(first, pipeline):
    raised = {
        row["cluster_id"] for row in first.output("cluster.json") if row["total_alert_count"] >= 3 and row["tactics"]
    }
    assert raised
    links = pipeline.deployment.table("LinkTableName").scan()["Items"]
    tickets = sandbox.tickets(pipeline.deployment.cloud)
    for integration in ("jira", "opensearch", "kibana"):
        linked = {
            link["cluster_id"]: link["external_id"]
            for link in links
            if link["integration"] == integration and link["cluster_id"] in raised
        }
        assert linked.keys() == raised
        assert set(linked.values()) <= tickets[integration].keys()
    assert first.summary["jira"]["created"] == len(raised)


def test_nothing_of_the_run_is_left_waiting(first, pipeline):
    assert pipeline.queue_of("simulated") == []
    assert "Items" in (page := pipeline.deployment.table("CallbackTableName").scan())
    assert not [item for item in page["Items"] if first.run_id in item["job_key"] and "is_open" in item]
    assert pipeline.row(first.run_id)["status"] == "SUCCEEDED"


def test_two_files_continue_one_attack(pipeline):
    one = pipeline.run("two/1.json", burst(0))
    cluster_id, before = max(one.clusters().items(), key=lambda item: item[1]["alert_count"])
    two = pipeline.run("two/2.json", burst(12))
    row = two.clusters()[cluster_id]
    assert row["updated"]
    assert row["total_alert_count"] >= before["total_alert_count"] + row["alert_count"]
    assert row["first_seen_run"] == one.run_id
    assert two.summary["jira"]["created"] == 0
    assert two.summary["jira"]["updated"] == 1
    (key,) = issues = jira_issues(pipeline, cluster_id)
    assert f"Alerts: {row['total_alert_count']}, {row['alert_count']} of them in the latest file" in issues[key]

    pipeline.jira.transition(key, "Done")
    pipeline.run("two/3.json", burst(24))
    issues = jira_issues(pipeline, cluster_id)
    assert len(issues) == 2
    link = pipeline.deployment.table("LinkTableName").get_item(Key={"cluster_id": cluster_id, "integration": "jira"})
    assert link["Item"]["external_id"] == max(issues)


def jira_issues(pipeline: Pipeline, cluster_id: str) -> dict[str, str]:
    """Issue key -> description, of all issues that carry the cluster's label."""
    state = pipeline.jira.issues()
    return {
        issue["key"]: json.dumps(issue) for issue in state if f"watchfloor-cluster-{cluster_id}" in json.dumps(issue)
    }


def test_same_object_twice_runs_once(pipeline, first):
    (execution,) = pipeline.executions_of("simulated/alerts.json")
    again = pipeline.sfn.start_execution(stateMachineArn=pipeline.arn, name="again", input=execution["input"])
    pipeline.ended("simulated/alerts.json", count=2)
    assert pipeline.entered(again["executionArn"])[-1] == "NothingToDo"


def test_folder_marker_is_ignored(pipeline):
    pipeline.upload("marker/", b"")
    execution = pipeline.ended("marker/")
    assert execution["status"] == "SUCCEEDED"
    assert pipeline.entered(execution["executionArn"])[-1] == "NothingToDo"


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("text.json", b"these are no alerts", "JSON"),
        ("empty.json", b"", "empty"),
        ("none.json", b'{"input": []}', "alert"),
        ("times.json", json.dumps({"input": [alert(1, time=None)]}).encode(), "time"),
    ],
)
def test_useless_file_fails_with_a_message(pipeline, name, body, says):
    pipeline.upload(f"bad/{name}", body)
    execution = pipeline.ended(f"bad/{name}")
    assert execution["status"] == "FAILED"
    assert execution["error"] == "InvalidInputError"
    (mail,) = pipeline.mails(name)
    assert "InvalidInputError" in mail["Message"]
    assert says in mail["Message"]
    assert "Traceback" not in mail["Message"]
    assert execution["executionArn"] in mail["Message"]
    assert mail["Subject"].endswith("failed in EnrichWithTechnique")
    assert pipeline.queue_of("bad") == []


def test_bad_alerts_are_put_aside_and_the_rest_goes_on(pipeline):
    body = burst(100)
    body["input"] += [alert(100), alert(201, time="soon"), {"id": 202}, alert(203, name="x" * 10_000_000), "text"]
    run = pipeline.run("some/bad.json", body)
    assert run.summary["alerts"] == 12
    assert run.summary["rejected"] == 5
    assert len(run.rejected()) == 5
    assert all(row["reason"] for row in run.rejected())


def test_model_error_fails_the_run_and_frees_the_stream(pipeline):
    pipeline.break_transforms({"match": "cluster", "kind": "model", "times": 1})
    pipeline.upload("model/1.json", burst(0))
    execution = pipeline.ended("model/1.json")
    assert execution["status"] == "FAILED"
    (mail,) = pipeline.mails("model/1.json")
    assert "ModelError" in mail["Message"]
    assert pipeline.queue_of("model") == []
    pipeline.run("model/2.json", burst(20))
    # The same object again is taken over and done after all.
    pipeline.sfn.start_execution(stateMachineArn=pipeline.arn, name="model-again", input=execution["input"])
    assert pipeline.ended("model/1.json", count=2)["status"] == "SUCCEEDED"


@pytest.mark.parametrize("kind", ["capacity", "quota"])
def test_missing_capacity_takes_the_next_instance_type(pipeline, kind):
    pipeline.break_transforms({"match": "cluster", "kind": kind, "times": 2})
    run = pipeline.run(f"{kind}/1.json", burst(0))
    prefix = pipeline.deployment.table("CallbackTableName").get_item(Key={"job_key": f"cluster-{run.run_id}-000000"})
    assert (prefix["Item"]["attempt"], prefix["Item"]["capacity_failures"]) == (2, 2)
    jobs = pipeline.deployment.client("sagemaker").list_transform_jobs(NameContains=run.run_id)["TransformJobSummaries"]
    (last,) = [job["TransformJobName"] for job in jobs if job["TransformJobName"].endswith("000000-2")]
    job = pipeline.deployment.client("sagemaker").describe_transform_job(TransformJobName=last)
    assert job["TransformResources"]["InstanceType"] == "ml.c5.xlarge"


def test_internal_error_is_tried_again(pipeline):
    pipeline.break_transforms({"match": "flow", "kind": "internal", "times": 1})
    pipeline.run("internal/1.json", burst(0))


def test_lost_event_is_found_by_the_sweeper(pipeline):
    pipeline.break_transforms({"match": "cluster", "kind": "lost-event", "times": 1})
    pipeline.upload("lost/1.json", burst(0))
    (execution,) = pipeline.wait(lambda: pipeline.executions_of("lost/1.json"), "execution")
    jobs = pipeline.deployment.client("sagemaker")

    def job_done() -> bool:
        table = pipeline.deployment.table("CallbackTableName")
        (row,) = [
            row for row in table.scan()["Items"] if row.get("is_open") and row["job_key"].startswith("cluster-")
        ] or [None]
        listed = jobs.list_transform_jobs(NameContains=row["job_key"])["TransformJobSummaries"] if row else []
        return bool(listed) and listed[0]["TransformJobStatus"] == "Completed"

    pipeline.wait(job_done, "the job whose event is lost")
    assert pipeline.sfn.describe_execution(executionArn=execution["executionArn"])["status"] == "RUNNING"
    found = pipeline.invoke("sweep_callbacks", {})
    assert found["jobs"] == {"Completed": 1}
    assert pipeline.ended("lost/1.json")["status"] == "SUCCEEDED"


def test_duplicate_event_does_no_harm(pipeline):
    pipeline.break_transforms({"match": "", "kind": "duplicate-event", "times": 3})
    pipeline.run("duplicate/1.json", burst(0))


def test_runs_of_a_stream_take_turns_and_a_dead_one_loses_its_lease(pipeline):
    pipeline.break_transforms({"match": "cluster", "kind": "slow", "times": 1, "seconds": 60})
    pipeline.upload("turns/1.json", burst(0))
    holds = lambda: any("cluster" in job for job in running_jobs(pipeline))
    pipeline.wait(holds, "the first run's job")
    pipeline.upload("turns/2.json", burst(12))
    pipeline.wait(lambda: any("token" in item for item in pipeline.queue_of("turns")), "the second run to queue")
    other = pipeline.run("elsewhere/1.json", burst(0))
    assert other.summary["alerts"] == 12
    (one,), (two,) = pipeline.executions_of("turns/1.json"), pipeline.executions_of("turns/2.json")
    assert (one["status"], two["status"]) == ("RUNNING", "RUNNING")
    pipeline.sfn.stop_execution(executionArn=one["executionArn"], error="Drill", cause="stopped by hand")
    assert pipeline.ended("turns/2.json")["status"] == "SUCCEEDED"
    (mail,) = pipeline.mails("turns/1.json")
    assert mail["Subject"].endswith("aborted in ClusterBatches")


def running_jobs(pipeline: Pipeline) -> list[str]:
    answer = pipeline.deployment.client("sagemaker").list_transform_jobs(StatusEquals="InProgress")
    return [job["TransformJobName"] for job in answer["TransformJobSummaries"]]


def test_killed_run_goes_on_after_its_last_batch_with_the_same_clusters(pipeline, first, document):
    pipeline.break_transforms({"match": "000002-", "kind": "slow", "times": 1, "seconds": 30})
    pipeline.upload("killed/alerts.json", document)
    pipeline.wait(lambda: any("-000002-" in job for job in running_jobs(pipeline)), "batch 2")
    (execution,) = pipeline.executions_of("killed/alerts.json")
    pipeline.sfn.stop_execution(executionArn=execution["executionArn"])
    pipeline.ended("killed/alerts.json")
    again = pipeline.sfn.start_execution(stateMachineArn=pipeline.arn, name="killed-again", input=execution["input"])
    assert pipeline.ended("killed/alerts.json", count=2)["status"] == "SUCCEEDED"
    states = pipeline.entered(again["executionArn"])
    assert "EnrichWithTechnique" not in states
    run_id = json.loads(pipeline.ended("killed/alerts.json", count=2)["output"])["run_id"]
    grouping = {frozenset(row["alert_ids"]) for row in pipeline.read(f"output/{run_id}/cluster.json")}
    assert grouping == first.grouping()


def test_integration_that_is_down_fails_alone(pipeline):
    jira = pipeline.jira
    jira.fail("down", count=1_000)
    try:
        run = pipeline.run("down/1.json", burst(0), seconds=180)
    finally:
        jira.faults.clear()
    assert run.summary["jira"]["status"] == "failed"
    assert run.summary["case"]["status"] == "done"
    (mail,) = pipeline.mails("down/1.json")
    assert mail["Subject"].endswith("jira failed")
