import boto3
import pytest
from moto import mock_aws

from watchfloor.clients.campaign_table import CampaignTable

ROW = {"campaign_id": "f-1", "name": "Impact on ws-1", "score": 7.25, "tactics": ["Impact"], "stages": {"Recon": 3}}


@pytest.fixture
def raw():
    with mock_aws():
        yield boto3.resource("dynamodb", region_name="us-east-1").create_table(
            TableName="campaigns",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "campaign_id", "AttributeType": "S"},
                {"AttributeName": "status", "AttributeType": "S"},
                {"AttributeName": "score", "AttributeType": "N"},
            ],
            KeySchema=[{"AttributeName": "campaign_id", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by_status",
                    "KeySchema": [
                        {"AttributeName": "status", "KeyType": "HASH"},
                        {"AttributeName": "score", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )


@pytest.fixture
def table(raw):
    return CampaignTable(raw)


def test_new_campaign_is_open(table):
    assert table.upsert(ROW, "s3://data/campaigns/f-1.json") is True
    row = table.get("f-1")
    assert row["status"] == "open"
    assert row["doc_uri"] == "s3://data/campaigns/f-1.json"
    assert ROW.items() <= row.items()


def test_upsert_again_updates_and_tells(table):
    table.upsert(ROW, "u")
    created_at = table.get("f-1")["created_at"]
    assert table.upsert(ROW | {"score": 9}, "u") is False
    assert (table.get("f-1")["score"], table.get("f-1")["created_at"]) == (9, created_at)


def test_what_the_analyst_set_stays(table, raw):
    table.upsert(ROW, "u")
    feedback = {"status": "closed", "verdict": "benign", "comment": "backup job", "analyst": "kim", "feedback_at": 5}
    raw.update_item(
        Key={"campaign_id": "f-1"},
        UpdateExpression="SET " + ", ".join(f"#{key} = :{key}" for key in feedback),
        ExpressionAttributeNames={f"#{key}": key for key in feedback},
        ExpressionAttributeValues={f":{key}": value for key, value in feedback.items()},
    )
    table.upsert(ROW | {"score": 9.5}, "u")
    assert (feedback | {"score": 9.5}).items() <= table.get("f-1").items()


def test_lists_are_worst_score_first(table):
    for campaign_id, score in (("a", 1.5), ("b", 9.25), ("c", 3)):
        table.upsert(ROW | {"campaign_id": campaign_id, "score": score}, "u")
    table.mark_merged("c", into="b")
    assert [row["campaign_id"] for row in table.with_status("open")] == ["b", "a"]
    assert [row["campaign_id"] for row in table.everything()] == ["b", "c", "a"]
    assert list(table.with_status("closed")) == []


def test_merged_campaign_points_to_the_one_that_lives_on(table):
    table.upsert(ROW, "u")
    assert table.mark_merged("f-1", into="f-9") is True
    assert table.mark_merged("f-1", into="f-9") is False
    row = table.get("f-1")
    assert (row["status"], row["merged_into"], row["status_before_merge"]) == ("merged", "f-9", "open")


def test_unknown_campaign_cannot_be_merged(table):
    assert table.mark_merged("f-0", into="f-9") is False
    assert table.get("f-0") is None


def test_names_of_known_campaigns(table):
    table.upsert(ROW, "u")
    assert table.names(["f-1", "f-2", "f-1"]) == {"f-1": "Impact on ws-1"}
    assert table.names([]) == {}
