"""Many batches, and large files: minutes, not seconds. `make test` leaves them out; `make test-scale` runs them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import orjson
import pytest

from bench.simulate import simulate
from local import deploy, sandbox
from tests.e2e.pipeline import Pipeline
from tests.e2e.test_alert_pipeline import alert, running_jobs

NO_TICKETS = {"JiraSecretArn": "", "KibanaSecretArn": "", "OpenSearchUrl": "", "OpenSearchSecretArn": ""}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    log = tmp_path_factory.mktemp("cloud") / "cloud.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFN_WAIT_SCALE", "0.02")
        # Thousands of tickets in sandbox services would say nothing about scale.
        with sandbox.fresh(NO_TICKETS, logging.getLogger(__name__).info, log=log) as deployment:
            yield Pipeline(deployment)


def test_killed_run_of_200000_alerts_ends_with_the_same_clusters(scaled):
    body = orjson.dumps(simulate(alerts=200_000, seed=5, attackers=3, days=3)[0])
    whole = scaled.run("whole/alerts.json", body, seconds=600)
    assert whole.summary["batches"] == 4

    scaled.break_transforms({"match": "000002-", "kind": "slow", "times": 1, "seconds": 60})
    scaled.upload("killed/alerts.json", body)
    scaled.wait(lambda: any("-000002-" in job for job in running_jobs(scaled)), "batch 2", 300)
    (execution,) = scaled.executions_of("killed/alerts.json")
    scaled.sfn.stop_execution(executionArn=execution["executionArn"])
    scaled.ended("killed/alerts.json")
    scaled.sfn.start_execution(stateMachineArn=scaled.arn, name="again", input=execution["input"])
    again = scaled.ended("killed/alerts.json", count=2, seconds=600)
    assert again["status"] == "SUCCEEDED"
    grouping = {
        frozenset(row["alert_ids"])
        for row in scaled.read(f"output/{json.loads(again['output'])['run_id']}/cluster.json")
    }
    assert grouping == whole.grouping()


def test_thousand_batches_stay_below_the_history_limit(scaled):
    deployment = scaled.deployment
    parameters = {**NO_TICKETS, "ChunkSize": "1"}
    deploy.deploy(deployment.cloud, deploy.build(sandbox.ROOT), sandbox.STACK, parameters)
    document = {"input": [alert(n, time=1_793_600_000.0 + 60 * n, dst=f"srv-{n % 7}") for n in range(1_000)]}
    run = scaled.run("batches/alerts.json", document, seconds=1200)
    assert run.summary["batches"] == 1_000
    (parent,) = scaled.executions_of("batches/alerts.json")
    children = [
        row["executionArn"]
        for row in scaled.sfn.list_executions(stateMachineArn=deployment.outputs["ClusterBatchesArn"])["executions"]
        if row["name"].startswith(parent["name"])
    ]
    assert len(children) == 2
    for execution in (parent["executionArn"], *children):
        pages = scaled.sfn.get_paginator("get_execution_history").paginate(executionArn=execution)
        assert sum(len(page["events"]) for page in pages) < 10_000
