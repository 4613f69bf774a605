"""Runs of one stream take turns in the order of arrival; streams do not wait for each other."""

from __future__ import annotations

from tests.machines.harness import Cloud, Fate, Run
from tests.machines.samples import assert_complete, intrusion, partition

TURN = "ProcessEnrichedWithTechnique"
STATUS_CHANGE = "Step Functions Execution Status Change"


def learn_names(cloud: Cloud) -> None:
    """After this, files of `intrusion` need no technique job."""
    cloud.run("input/learn/alerts.json", intrusion("x", 5))


def test_second_run_waits_for_the_first(cloud: Cloud) -> None:
    learn_names(cloud)
    cloud.fates["cluster"].append(Fate(status="InProgress"))
    first = cloud.upload("input/branch/monday.json", intrusion("a", 10))
    cloud.until(lambda: "ClusterBatches" in cloud.states(first.arn))
    second = cloud.upload("input/branch/tuesday.json", intrusion("b", 10, start=600))
    cloud.until(lambda: "AcquireLease" in cloud.states(second.arn))
    assert cloud.sweep()["queued"] == 1
    assert TURN not in cloud.states(second.arn)
    assert [ticket["run_id"] for ticket in cloud.tickets()] == [first.run_id, second.run_id]
    cloud.end_job(cloud.requests[-1][0])

    assert [cloud.wait(run)["status"] for run in (first, second)] == ["SUCCEEDED", "SUCCEEDED"]
    assert_complete(cloud, second, [f"b-{i}" for i in range(10)])
    assert partition(cloud, first).keys() & partition(cloud, second).keys()
    assert cloud.tickets() == []


def test_order_is_that_of_arrival_not_of_readiness(cloud: Cloud) -> None:
    """The second file has no unknown names, and so is ready long before the first."""
    learn_names(cloud)
    cloud.fates["technique"].append(Fate(status="InProgress"))
    first = cloud.upload(
        "input/branch/monday.json", [alert | {"name": f"new {alert['name']}", "tech": []} for alert in intrusion("a")]
    )
    cloud.until(lambda: "CreateTechnique" in cloud.states(first.arn) and len(cloud.requests) == 4)
    second = cloud.upload("input/branch/tuesday.json", intrusion("b"))
    cloud.until(lambda: cloud.sweep()["queued"] == 1)
    assert TURN not in cloud.states(second.arn)
    cloud.end_job(cloud.requests[3][0])

    assert [cloud.wait(run)["status"] for run in (first, second)] == ["SUCCEEDED", "SUCCEEDED"]
    (state,) = (item for item in cloud.items("StreamTable") if (item["stream"], item["item"]) == ("branch", "state"))
    assert (state["version"], state["run_id"]) == (2, second.run_id)


def test_streams_do_not_wait_for_each_other(cloud: Cloud) -> None:
    learn_names(cloud)
    cloud.fates["cluster"].append(Fate(status="InProgress"))
    slow = cloud.upload("input/branch/alerts.json", intrusion("a", 5))
    cloud.until(lambda: "ClusterBatches" in cloud.states(slow.arn))
    quick = cloud.run("input/headquarters/alerts.json", intrusion("a", 5))
    assert cloud.describe(slow)["status"] == "RUNNING"
    cloud.end_job(cloud.requests[3][0])
    assert cloud.wait(slow)["status"] == "SUCCEEDED"

    # The same alerts in two streams are two attacks.
    assert not partition(cloud, slow).keys() & partition(cloud, quick).keys()
    for run in (slow, quick):
        assert {row["alert_count"] for row in cloud.output(run, "cluster.json")} == {
            row["total_alert_count"] for row in cloud.output(run, "cluster.json")
        }


def queue_behind_a_dead_run(cloud: Cloud) -> tuple[Run, Run]:
    learn_names(cloud)
    cloud.fates["cluster"].append(Fate(status="InProgress"))
    dead = cloud.upload("input/branch/monday.json", intrusion("a", 5))
    cloud.until(lambda: len(cloud.requests) == 4)
    waiting = cloud.upload("input/branch/tuesday.json", intrusion("b", 5))
    cloud.until(lambda: len([ticket for ticket in cloud.tickets() if "token" in ticket]) == 1)
    cloud.stop(dead.arn)
    return dead, waiting


def test_report_of_a_killed_run_calls_the_next_one(cloud: Cloud) -> None:
    dead, waiting = queue_behind_a_dead_run(cloud)

    assert cloud.wait(waiting)["status"] == "SUCCEEDED"
    assert cloud.row(dead)["status"] == "FAILED"
    assert len(cloud.mails()) == 1
    assert_complete(cloud, waiting, [f"b-{i}" for i in range(5)])


def test_sweeper_breaks_the_lease_of_a_killed_run_that_nobody_reported(cloud: Cloud) -> None:
    cloud.lost.add(STATUS_CHANGE)
    _, waiting = queue_behind_a_dead_run(cloud)
    cloud.settle()
    assert TURN not in cloud.states(waiting.arn)
    assert cloud.sweep()["queued"] == 1

    assert cloud.wait(waiting)["status"] == "SUCCEEDED"
    assert cloud.tickets() == cloud.mails() == []
    assert_complete(cloud, waiting, [f"b-{i}" for i in range(5)])


def test_killed_run_in_the_queue_is_passed_over(cloud: Cloud) -> None:
    learn_names(cloud)
    cloud.lost.add(STATUS_CHANGE)
    cloud.fates["cluster"].append(Fate(status="InProgress"))
    first = cloud.upload("input/branch/monday.json", intrusion("a", 5))
    cloud.until(lambda: len(cloud.requests) == 4)
    others = [cloud.upload(f"input/branch/{day}.json", intrusion(day, 5)) for day in ("tuesday", "wednesday")]
    cloud.until(lambda: len([ticket for ticket in cloud.tickets() if "token" in ticket]) == 2)
    cloud.stop(others[0].arn)
    cloud.end_job(cloud.requests[3][0])

    assert [cloud.wait(run)["status"] for run in (first, *others)] == ["SUCCEEDED", "ABORTED", "SUCCEEDED"]
    assert cloud.tickets() == []


def test_wait_for_the_lease_that_missed_its_heartbeats_goes_on(cloud: Cloud) -> None:
    learn_names(cloud)
    cloud.fates["cluster"].append(Fate(status="InProgress"))
    first = cloud.upload("input/branch/monday.json", intrusion("a", 5))
    cloud.until(lambda: len(cloud.requests) == 4)
    cloud.interpreter.cut_short = 1
    second = cloud.upload("input/branch/tuesday.json", intrusion("b", 5))
    cloud.until(lambda: cloud.interpreter.waits == [5])
    cloud.end_job(cloud.requests[3][0])

    assert cloud.wait(first)["status"] == "SUCCEEDED"
    cloud.until(lambda: cloud.sweep()["queued"] == 0)
    assert cloud.wait(second)["status"] == "SUCCEEDED"
