import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.unit.enriched import FILES, alert, cluster, document, flow, intrusion

EVENT = json.loads(Path(__file__).parents[2].joinpath("events/pipeline/create_campaign.json").read_text())
BUCKET, RUN = "watchfloor-data", EVENT["run_id"]


@dataclass
class Context:
    remaining: int = 900_000
    function_name = "create_campaign"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:create_campaign"
    aws_request_id = "1"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining


@pytest.fixture
def aws(monkeypatch):
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "DATA_BUCKET": BUCKET,
        "CAMPAIGN_TABLE": "campaigns",
        "POWERTOOLS_SERVICE_NAME": "pipeline",
        "POWERTOOLS_METRICS_NAMESPACE": "Watchfloor",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        table = boto3.resource("dynamodb").create_table(
            TableName="campaigns",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "campaign_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "campaign_id", "KeyType": "HASH"}],
        )
        sys.modules.pop("functions.pipeline.create_campaign", None)
        handler = importlib.import_module("functions.pipeline.create_campaign").lambda_handler
        yield Aws(s3, table, handler)


@dataclass
class Aws:
    s3: Any
    table: Any
    handler: Any

    def run(self, enriched, run_id=RUN, remaining=900_000, **more):
        body = json.dumps(enriched | {"run_id": run_id}).encode()
        self.s3.put_object(Bucket=BUCKET, Key=f"scratch/{run_id}/enrich_alert_input.json", Body=body)
        return self.handler(EVENT | {"run_id": run_id} | more, Context(remaining))

    def read(self, key):
        return json.loads(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def row(self, campaign_id):
        return self.table.get_item(Key={"campaign_id": campaign_id})["Item"]

    def keys(self, prefix):
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def three_flows(run_id=RUN):
    rows = [cluster(f"c{n}", [alert(n, 100.0 + n, "198.51.100.9", FILES, f"Step {n}", "T1110")]) for n in range(3)]
    return document(rows, [flow(f"f{n}", [row], []) for n, row in enumerate(rows)], run_id)


def test_writes_document_row_and_exports(aws):
    answer = aws.run(intrusion(RUN))
    assert answer == {"run_id": RUN, "status": "done", "next": 1, "created": 1, "updated": 0, "merged": 0}
    campaign = aws.read("campaigns/f-1.json")
    row = aws.row("f-1")
    assert (row["status"], row["name"]) == ("open", campaign["name"])
    assert row["doc_uri"] == f"s3://{BUCKET}/campaigns/f-1.json"
    assert aws.read(f"output/{RUN}/attack_flow/f-1.json")["type"] == "bundle"
    layer = aws.read(f"output/{RUN}/navigator_layer.json")
    assert campaign["name"] in layer["techniques"][0]["comment"]


def test_repeated_run_changes_nothing(aws):
    aws.run(intrusion(RUN))
    before = aws.read("campaigns/f-1.json")
    assert aws.run(intrusion(RUN))["updated"] == 1
    assert aws.read("campaigns/f-1.json") == before


def test_next_run_updates_and_keeps_the_analysts_status(aws):
    aws.run(intrusion(RUN))
    aws.table.update_item(
        Key={"campaign_id": "f-1"},
        UpdateExpression="SET #s = :s",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": "in progress"},
    )
    assert aws.run(intrusion("run-2"), "run-2")["updated"] == 1
    assert aws.row("f-1")["status"] == "in progress"
    assert aws.read("campaigns/f-1.json")["runs"] == [RUN, "run-2"]


def test_short_of_time_says_where_to_go_on(aws):
    answer = aws.run(three_flows(), remaining=1_000)
    assert answer == {"run_id": RUN, "status": "more", "next": 1, "created": 1, "updated": 0, "merged": 0}
    assert aws.keys(f"output/{RUN}/navigator") == []
    while answer["status"] == "more":
        answer = aws.run(three_flows(), **answer | {"remaining": 1_000})
    assert (answer["next"], answer["created"]) == (3, 3)
    assert len(aws.keys("campaigns/")) == 3
    assert aws.read(f"output/{RUN}/navigator_layer.json")["techniques"][0]["score"] == 3


def test_absorbed_campaign_is_marked_and_its_events_move(aws):
    row = cluster("c-other", [alert("o1", 90.0, "198.51.100.99", FILES, "Odd login", "T1078")])
    aws.run(document([row], [flow("f-0", [row], [])]), "run-0")
    merged = intrusion(RUN) | {"merged_flows": [{"flow_id": "f-0", "into": "f-1"}, {"flow_id": "gone", "into": "f-1"}]}
    assert aws.run(merged)["merged"] == 1
    assert (aws.row("f-0")["status"], aws.row("f-0")["merged_into"]) == ("merged", "f-1")
    campaign = aws.read("campaigns/f-1.json")
    assert campaign["absorbed"] == ["f-0"]
    assert "o1" in {event["id"] for event in campaign["events"]}
    assert aws.run(merged)["merged"] == 0
    assert aws.read("campaigns/f-1.json") == campaign


def test_run_without_flows_is_done_with_an_empty_layer(aws):
    answer = aws.run(document([], []))
    assert (answer["status"], answer["created"]) == ("done", 0)
    assert aws.read(f"output/{RUN}/navigator_layer.json")["techniques"] == []
