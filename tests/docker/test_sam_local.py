"""Every function of the pipeline by `sam local invoke` with its event from events/, its answer and its effects judged.

The exit status of `sam local invoke` is 0 whatever the handler does, so only what it printed and left behind counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import scenarios
from tests.docker.sam_local import EVENTS
from tests.scenarios import Floor
from watchfloor.clients.items import plain

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


COUNTS = ("batch_count", "unknown_name_count", "alert_count", "rejected_count", "base_version")


@pytest.fixture(scope="module")
def run(floor: Floor) -> dict[str, Any]:
    """A run that succeeded; its file and all it wrote are there to be worked on again."""
    return finished(floor)


def finished(floor: Floor) -> dict[str, Any]:
    """A new run's values by the names that events have for them."""
    summary = floor.succeeded(floor.start(scenarios.STREAM))
    row = plain(floor.row("Run", run_id=summary["run_id"]))
    return {key: row[key] for key in ("run_id", "bucket", "key", "version_id", "size", "stream", "ticket", *COUNTS)}


def waiting(floor: Floor, model: str) -> tuple[str, dict[str, Any]]:
    """A run that waits for the model's job, which has ended unheard, and what its function was called with."""
    floor.begin()
    with floor.faults(*scenarios.unheard(model)):
        return scenarios.held(floor, model, "Completed")


def removed(floor: Floor, key: str) -> bytes:
    """Take an object away, so that it has to be written again."""
    body = floor.s3.get_object(Bucket=floor.bucket, Key=key)["Body"].read()
    floor.s3.delete_object(Bucket=floor.bucket, Key=key)
    assert not floor.exists(key)
    return body


def read(floor: Floor, key: str) -> Any:
    return json.loads(floor.s3.get_object(Bucket=floor.bucket, Key=key)["Body"].read())


def names_in(lines: bytes) -> list[str]:
    return [json.loads(line)["name"] for line in lines.splitlines()]


def test_every_function_is_called_here(floor):
    stems = {event.stem for event in (EVENTS / "pipeline").glob("*.json")}
    ours = {name for name in floor.functions if floor.stack_of[name] == "Pipeline"}
    assert {"".join(word.capitalize() for word in stem.split("_")) for stem in stems} == ours
    source = Path(__file__).read_text()
    assert [stem for stem in sorted(stems) if f'"{stem}"' not in source] == []


def test_claim_run(sam, floor):
    execution = floor.machine.replace(":stateMachine:", ":execution:") + ":claims"
    values = {"bucket.name": floor.bucket, "key": "input/claimed/alerts.json", "execution_arn": execution}
    claimed = sam.invoke("claim_run", values)
    assert (claimed["decision"], claimed["stage"], claimed["stream"]) == ("run", "claimed", "claimed")
    row = floor.row("Run", run_id=claimed["run_id"])
    assert (row["status"], row["ticket"], row["execution_arn"]) == ("RUNNING", claimed["ticket"], execution)
    ticket = floor.row("Stream", stream="claimed", item=f"ticket#{claimed['ticket']:012d}")
    assert ticket["run_id"] == claimed["run_id"]


def test_enrich_with_technique(sam, floor):
    run = finished(floor)  # not the others': its names are known by now
    alerts = f"scratch/{run['run_id']}/alerts/000000.jsonl"
    before = removed(floor, alerts)
    enriched = sam.invoke("enrich_with_technique", run)
    assert enriched["stage"] == "enriched"
    assert (enriched["batch_count"], enriched["alert_count"], enriched["rejected_count"]) == (2, 15, 1)
    assert floor.s3.get_object(Bucket=floor.bucket, Key=alerts)["Body"].read() == before


@pytest.mark.parametrize("stem", ["create_technique", "create_cluster", "create_flow"])
def test_the_functions_that_start_a_model(sam, floor, stem):
    """Called again, as after a lost answer, they find their job and wake the run, which then goes on to its end."""
    model = stem.removeprefix("create_")
    arn, payload = waiting(floor, model)
    job = scenarios.job_of(floor, model, payload["run"]["run_id"])
    assert sam.invoke(stem, payload) == {"job_name": job["TransformJobName"]}
    floor.succeeded(arn)


def test_acquire_lease(sam, floor):
    """A run that waits behind another gets its turn when that one has gone."""
    streams = floor.deployment.table("StreamTableName")
    arn, payload = waiting(floor, "technique")
    stream = payload["run"]["stream"]
    holder = {"stream": stream, "item": "ticket#000000000000", "run_id": "other", "execution_arn": arn}
    streams.put_item(Item=holder)
    floor.invoke("SweepCallbacks", {})
    floor.until(lambda: scenarios.waits_for_lease(floor, stream), "nobody asked for the lease", arn)
    streams.delete_item(Key={"stream": stream, "item": holder["item"]})
    assert sam.invoke("acquire_lease", scenarios.payload(floor, arn)) == {"ticket": payload["run"]["ticket"]}
    floor.succeeded(arn)


def test_process_enriched_with_technique(sam, floor, run):
    key = f"scratch/{run['run_id']}/learned_techniques.jsonl"
    before = names_in(removed(floor, key))
    answer = sam.invoke("process_enriched_with_technique", run)
    assert answer["base_version"] == run["base_version"]
    after = names_in(floor.s3.get_object(Bucket=floor.bucket, Key=key)["Body"].read())
    assert after == before and after


def test_update_lookup_table(sam, floor, run):
    key = f"scratch/{run['run_id']}/learned_techniques.jsonl"
    learned = names_in(floor.s3.get_object(Bucket=floor.bucket, Key=key)["Body"].read())
    table = floor.deployment.table("TechniqueTableName")
    rows = [row for row in floor.rows("Technique") if row["name"] in learned]
    for row in rows:
        table.delete_item(Key={"name_hash": row["name_hash"]})
    assert sam.invoke("update_lookup_table", run)["run_id"] == run["run_id"]
    again = {row["name"] for row in floor.rows("Technique")}
    assert rows and {row["name"] for row in rows} <= again


def test_process_cluster(sam, floor, run):
    key = f"scratch/{run['run_id']}/cluster.json"
    before = json.loads(removed(floor, key))
    answer = sam.invoke("process_cluster", run | {"batch": run["batch_count"] - 1})
    assert (answer["batch"], answer["another_batch_here"]) == (run["batch_count"], False)
    assert read(floor, key) == before


def test_process_flow(sam, floor, run):
    keys = [f"output/{run['run_id']}/{name}.json" for name in ("cluster", "flow", "event")]
    before = [json.loads(removed(floor, key)) for key in keys]
    answer = sam.invoke("process_flow", run)
    assert answer["stage"] == "published" and answer["cluster_count"] > 0
    assert [read(floor, key) for key in keys] == before


def test_create_campaign(sam, floor, run):
    key = f"output/{run['run_id']}/navigator_layer.json"
    before = json.loads(removed(floor, key))
    answer = sam.invoke("create_campaign", run)
    assert answer["status"] == "done" and answer["updated"] > 0
    assert read(floor, key) == before


@pytest.mark.parametrize(
    ("stem", "integrations"), [("create_jira", ["jira"]), ("create_case", ["kibana", "opensearch"])]
)
def test_the_functions_that_write_tickets(sam, floor, run, stem, integrations):
    """A link that got lost leads to the same ticket again, found by its label."""
    links = floor.deployment.table("LinkTableName")
    rows = [row for row in floor.rows("Link") if row["integration"] in integrations and row["run_id"] == run["run_id"]]
    assert {row["integration"] for row in rows} == set(integrations)
    for row in rows:
        links.delete_item(Key={"cluster_id": row["cluster_id"], "integration": row["integration"]})
    answer = sam.invoke(stem, run)
    assert (answer["status"], answer["created"], answer["refused"]) == ("done", 0, 0)
    for row in rows:
        again = floor.row("Link", cluster_id=row["cluster_id"], integration=row["integration"])
        assert again["external_id"] == row["external_id"]


def test_finish_run(sam, floor, run):
    """The sample's case branch failed, so there is a summary and a mail."""
    floor.begin()
    removed(floor, f"output/{run['run_id']}/summary.json")
    summary = sam.invoke("finish_run", run)
    assert summary["run_id"] == run["run_id"] and summary["case"]["status"] == "failed"
    assert read(floor, f"output/{run['run_id']}/summary.json") == summary
    mails = floor.mails()
    assert ["case failed" in mail["Subject"] for mail in mails] == [True]


def test_resume_transform(sam, floor):
    arn, payload = waiting(floor, "technique")
    job = scenarios.job_of(floor, "technique", payload["run"]["run_id"])
    assert sam.invoke("resume_transform", {"TransformJobName": job["TransformJobName"]}) is None
    floor.succeeded(arn)


def test_sweep_callbacks(sam, floor):
    arn, _ = waiting(floor, "cluster")
    found = sam.invoke("sweep_callbacks", {})
    assert found["jobs"].get("Completed") == 1
    floor.succeeded(arn)


def test_report_failure(sam, floor):
    """An aborted execution, which the rule on its status is kept from telling of."""
    arn, payload = waiting(floor, "technique")
    events = floor.deployment.client("events")
    rule = next(row["Name"] for row in events.list_rules()["Rules"] if "aws.states" in row["EventPattern"])
    events.disable_rule(Name=rule)
    try:
        floor.sfn.stop_execution(executionArn=arn)
        sam.invoke("report_failure", {"executionArn": arn})
    finally:
        events.enable_rule(Name=rule)
    mails = floor.mails()
    assert ["aborted in CreateTechnique" in mail["Subject"] for mail in mails] == [True]
    assert floor.row("Run", run_id=payload["run"]["run_id"])["status"] == "FAILED"
