"""Every way in which a run fails: told once, with its cause, and the lease is free again."""

from __future__ import annotations

import json

import pytest

from tests.machines.harness import Cloud, Fate, Fault
from tests.machines.samples import assert_complete, assert_failed, intrusion
from tests.machines.stack import machine
from watchfloor.errors import InvalidInputError, TransientError

# Every Task outside of the branches; what runs in the child machine fails in the state that started it.
STATE_OF = {
    "ClaimRun": "ClaimRun",
    "EnrichWithTechnique": "EnrichWithTechnique",
    "CreateTechnique": "CreateTechnique",
    "AcquireLease": "AcquireLease",
    "ProcessEnrichedWithTechnique": "ProcessEnrichedWithTechnique",
    "UpdateLookupTable": "UpdateLookupTable",
    "CreateCluster": "ClusterBatches",
    "ProcessCluster": "ClusterBatches",
    "CreateFlow": "CreateFlow",
    "ProcessFlow": "ProcessFlow",
    "FinishRun": "FinishRun",
}


def test_every_task_is_failed_below() -> None:
    tasks = {name for name, state in machine("alert_pipeline")["States"].items() if state["Type"] == "Task"}
    assert tasks == set(STATE_OF.values()) | {"ReportFailure"}


@pytest.mark.parametrize("function", STATE_OF)
def test_unexpected_error_is_reported_and_fails_the_run(cloud: Cloud, function: str) -> None:
    cloud.faults[function] = Fault(RuntimeError("out of the blue"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    assert_failed(cloud, run, "RuntimeError", "out of the blue")
    assert f"failed in {STATE_OF[function]}" in cloud.mails()[0][0]
    assert cloud.tickets() == []
    assert cloud.interpreter.waits == []
    if function != "ClaimRun":
        row = cloud.row(run)
        assert (row["status"], row["error"]) == ("FAILED", "RuntimeError")


@pytest.mark.parametrize("function", STATE_OF)
def test_passing_error_is_retried(cloud: Cloud, function: str) -> None:
    cloud.faults[function] = Fault(TransientError("throttled"), times=2)
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    first = 5 if function.startswith("Create") or function == "AcquireLease" else 2
    assert cloud.interpreter.waits == [first, 2 * first]
    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])


@pytest.mark.parametrize("function", [name for name in STATE_OF if name != "ClaimRun"])
def test_function_whose_answer_was_lost_may_run_again(cloud: Cloud, function: str) -> None:
    """It did its work, but nobody heard: everything it wrote has to bear being written twice."""
    cloud.faults[function] = Fault(TransientError("connection lost"), times=1, after=True)
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])
    assert {row["total_alert_count"] for row in cloud.output(run, "cluster.json")} == {
        row["alert_count"] for row in cloud.output(run, "cluster.json")
    }
    assert len(cloud.requests) == len({name for name, _ in cloud.requests}) == 3


def test_claim_whose_answer_was_lost_is_claimed_again(cloud: Cloud) -> None:
    cloud.faults["ClaimRun"] = Fault(TransientError("connection lost"), times=1, after=True)
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])
    assert cloud.tickets() == []


def test_error_of_the_user_is_not_retried(cloud: Cloud) -> None:
    cloud.faults["EnrichWithTechnique"] = Fault(InvalidInputError("no alerts in it"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    assert_failed(cloud, run, "InvalidInputError", "no alerts in it")
    assert cloud.interpreter.waits == []
    assert "Mend the file" in cloud.mails()[0][1]


def test_next_file_of_the_stream_runs_after_a_failure(cloud: Cloud) -> None:
    cloud.faults["ProcessFlow"] = Fault(RuntimeError("out of the blue"), times=1)
    failed = cloud.upload("input/monday.json", intrusion("a", 5))
    assert_failed(cloud, failed, "RuntimeError", "out of the blue")

    run = cloud.run("input/tuesday.json", intrusion("b", 5))
    assert_complete(cloud, run, [f"b-{i}" for i in range(5)])
    assert {row["first_seen_run"] for row in cloud.output(run, "cluster.json")} == {run.run_id}


@pytest.mark.parametrize(
    ("function", "answer", "error"),
    [
        ("CreateJira", {"no": "status"}, "States.Runtime"),
        ("UpdateLookupTable", {"padding": "x" * 300_000}, "States.DataLimitExceeded"),
    ],
)
def test_error_that_no_catch_sees_is_reported_by_the_rule(
    cloud: Cloud, function: str, answer: dict[str, str], error: str
) -> None:
    cloud.stand_ins[function] = lambda event: answer
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    end = cloud.wait(run)

    assert (end["status"], end["error"]) == ("FAILED", error)
    assert "ReportFailure" not in cloud.states(run.arn)
    ((_, text),) = cloud.mails()
    assert f"Error:    {error}" in text
    assert cloud.tickets() == []
    assert cloud.row(run)["status"] == "FAILED"


def test_report_that_fails_is_made_by_the_rule(cloud: Cloud) -> None:
    cloud.faults["EnrichWithTechnique"] = Fault(RuntimeError("out of the blue"))
    cloud.faults["ReportFailure"] = Fault(RuntimeError("no mail today"), times=1)
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    assert_failed(cloud, run, "RuntimeError", "out of the blue")
    assert cloud.tickets() == []


def test_report_that_never_succeeds_ends_in_the_dead_letters(cloud: Cloud) -> None:
    cloud.faults["EnrichWithTechnique"] = Fault(RuntimeError("out of the blue"))
    cloud.faults["ReportFailure"] = Fault(RuntimeError("no mail today"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    end = cloud.wait(run)
    assert (end["status"], end["error"]) == ("FAILED", "RuntimeError")
    ((function, _, error),) = cloud.dead_letters
    assert (function, str(error)) == ("ReportFailure", "no mail today")


def test_aborted_run_is_reported_and_releases_the_lease(cloud: Cloud) -> None:
    cloud.fates["cluster"].append(Fate(status="InProgress"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    cloud.until(lambda: "ClusterBatches" in cloud.states(run.arn) and len(cloud.requests) == 2)
    cloud.stop(run.arn)

    assert cloud.wait(run)["status"] == "ABORTED"
    assert [cloud.sfn.describe_execution(executionArn=arn)["status"] for arn in cloud.executions()] == ["ABORTED"] * 2
    ((subject, text),) = cloud.mails()
    assert subject == f"Watchfloor: run {run.run_id} aborted in ClusterBatches"
    assert "none given" in text
    assert cloud.tickets() == []
    assert cloud.row(run)["status"] == "FAILED"


def test_run_out_of_time_is_reported_and_releases_the_lease(cloud: Cloud) -> None:
    machines = {item["name"]: item["stateMachineArn"] for item in cloud.sfn.list_state_machines()["stateMachines"]}
    arn = machines["watchfloor-alert-pipeline"]
    definition = json.loads(cloud.sfn.describe_state_machine(stateMachineArn=arn)["definition"])
    cloud.sfn.update_state_machine(stateMachineArn=arn, definition=json.dumps(definition | {"TimeoutSeconds": 2}))
    cloud.fates["technique"].append(Fate(status="InProgress"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    assert cloud.wait(run)["status"] == "TIMED_OUT"
    ((subject, _),) = cloud.mails()
    assert subject.startswith(f"Watchfloor: run {run.run_id} timed out in ")
    assert cloud.tickets() == []
