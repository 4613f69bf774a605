"""However many batches there are, no execution's history comes near its limit of 25,000 events."""

from __future__ import annotations

from typing import Any

import pytest

from tests.machines.harness import Cloud
from tests.machines.samples import assert_complete, intrusion
from tests.machines.stack import template

ALERTS = intrusion("a", 10)


def clustering(cloud: Cloud) -> list[list[str]]:
    """States of the child executions, oldest first."""
    return [cloud.states(arn) for arn in cloud.executions(machine_name="cluster-batches")]


@pytest.fixture(scope="module")
def in_one_execution() -> list[Any]:
    """Events and flows where all batches are clustered in one execution."""
    with Cloud(ChunkSize="2") as cloud:
        run = cloud.run("input/alerts.json", ALERTS)
        assert [states.count("CreateCluster") for states in clustering(cloud)] == [5]
        return [cloud.output(run, name) for name in ("event.json", "flow.json")]


@pytest.mark.parametrize("cloud", [{"ChunkSize": "2", "BatchesPerExecution": "2"}], indirect=True)
def test_five_batches_by_twos_take_three_executions(in_one_execution: list[Any], cloud: Cloud) -> None:
    run = cloud.run("input/alerts.json", ALERTS)

    assert [states.count("CreateCluster") for states in clustering(cloud)] == [2, 2, 1]
    assert cloud.states(run.arn).count("ClusterBatches") == 3
    assert_complete(cloud, run, [alert["id"] for alert in ALERTS])
    assert [cloud.output(run, name) for name in ("event.json", "flow.json")] == in_one_execution


@pytest.mark.parametrize("cloud", [{"ChunkSize": "1"}], indirect=True)
def test_events_per_batch_leave_room_for_the_most_batches_allowed(cloud: Cloud) -> None:
    def events(arn: str) -> int:
        return len(cloud.sfn.get_execution_history(executionArn=arn)["events"])

    for name, count in (("three", 3), ("eight", 8)):
        cloud.run(f"input/{name}/alerts.json", ALERTS[:count])
    three, eight = (events(arn) for arn in cloud.executions(machine_name="cluster-batches"))
    each = (eight - three) / 5
    parameter = template("template.yaml")["Parameters"]["BatchesPerExecution"]
    # The rest is for retries.
    assert three + each * parameter["Default"] < 25_000 / 2
    assert three + each * parameter["MaxValue"] < 25_000 * 0.8
