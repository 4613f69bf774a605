"""create_jira as the state machine calls it, against the twin."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from local.twins import JiraTwin
from tests.ticket_world import Context, aws, create_link_table, put_document, put_secret
from tests.unit.enriched import ATTACKER, WEB, alert, cluster, document
from watchfloor.errors import InvalidInputError, TransientError

EVENT = json.loads(Path(__file__).parents[2].joinpath("events/pipeline/create_jira.json").read_text())
NO_COUNTS = {"created": 0, "updated": 0, "commented": 0, "unchanged": 0, "refused": 0}


@pytest.fixture(scope="module")
def jira():
    with JiraTwin() as twin:
        yield twin


@pytest.fixture
def world(jira):
    jira.state = jira.empty_state()
    with aws():
        create_link_table()
        yield


def handler(secret_arn: str):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JIRA_SECRET_ARN", secret_arn)
        sys.modules.pop("functions.pipeline.create_jira", None)
        return importlib.import_module("functions.pipeline.create_jira").lambda_handler


def run_of(*cluster_ids: str, count: int = 4, run_id: str = EVENT["run_id"], **more) -> dict:
    clusters = [
        cluster(
            cluster_id,
            [alert(f"{run_id}-{n}", 1e9 + n, ATTACKER, WEB, "Port sweep", "T1595") for n in range(count)],
            flow_id=None,
        )
        for cluster_id in cluster_ids
    ]
    return document(clusters, [], run_id, **more)


def test_create_jira_not_configured_is_skipped_and_says_what_to_set(world):
    answer = handler("")(EVENT, Context())
    assert answer["status"] == "skipped"
    assert answer["reason"] == "Jira is not configured; the parameter JiraSecretArn names its secret"
    assert answer["run_id"] == EVENT["run_id"]


def test_create_jira_writes_an_issue_a_cluster(world, jira):
    put_document(run_of("c-1", "c-2"))
    answer = handler(put_secret(jira.secret))(EVENT, Context())
    assert answer == {
        "run_id": EVENT["run_id"],
        "status": "done",
        "next": 2,
        "reason": "",
        **NO_COUNTS,
        "created": 2,
    }
    assert [issue["labels"][1] for issue in jira.issues()] == ["watchfloor-cluster-c-1", "watchfloor-cluster-c-2"]


def test_create_jira_second_file_updates_the_issue_and_does_not_double_it(world, jira):
    call = handler(put_secret(jira.secret))
    put_document(run_of("c-1"))
    call(EVENT, Context())
    put_document(run_of("c-1", count=7, run_id="second"))
    assert call({"run_id": "second"}, Context())["updated"] == 1
    assert len(jira.issues()) == 1
    assert "second-6" in json.dumps(jira.issues()[0]["description"])


def test_create_jira_closed_issue_creates_new_one(world, jira):
    call = handler(put_secret(jira.secret))
    put_document(run_of("c-1"))
    call(EVENT, Context())
    jira.transition("SOC-1", "Done")
    put_document(run_of("c-1", count=7, run_id="second"))
    assert call({"run_id": "second"}, Context())["created"] == 1
    assert [issue["status"] for issue in jira.issues()] == ["4", "1"]


def test_create_jira_short_of_time_goes_on_where_it_stopped(world, jira):
    put_document(run_of("c-1", "c-2", "c-3"))
    call = handler(put_secret(jira.secret))
    answer = call(EVENT, Context(remaining=(900_000, 900_000, 59_999)))
    assert (answer["status"], answer["next"], answer["created"]) == ("more", 2, 2)
    answer = call(answer, Context())
    assert (answer["status"], answer["next"], answer["created"]) == ("done", 3, 3)
    assert len(jira.issues()) == 3


def test_create_jira_without_any_time_makes_no_progress_and_no_harm(world, jira):
    put_document(run_of("c-1"))
    assert handler(put_secret(jira.secret))(EVENT, Context(remaining=(1,)))["status"] == "more"
    assert jira.issues() == []


def test_create_jira_twice_reports_the_same(world, jira):
    put_document(run_of("c-1"))
    call = handler(put_secret(jira.secret))
    assert call(EVENT, Context()) == call(EVENT, Context(aws_request_id="another"))
    assert len(jira.issues()) == 1


def test_create_jira_failing_in_the_middle_keeps_what_is_done(world, jira):
    put_document(run_of("c-1", "c-2", "c-3"))
    call = handler(put_secret(jira.secret))
    jira.fail("500", "POST", "/issue$", skip=1)
    with pytest.raises(TransientError, match="Jira could not create an issue"):
        call(EVENT, Context())
    assert len(jira.issues()) == 1


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("not json", "the secret of JiraSecretArn is not JSON"),
        ("[1]", "is no JSON object"),
        ({"url": "http://x"}, "the secret of JiraSecretArn lacks project, user, token"),
    ],
)
def test_create_jira_unusable_secret_is_named(world, secret, message):
    put_document(run_of("c-1"))
    with pytest.raises(InvalidInputError, match=message):
        handler(put_secret(secret))(EVENT, Context())


def test_create_jira_missing_secret_is_named(world):
    put_document(run_of("c-1"))
    gone = "arn:aws:secretsmanager:us-east-1:000000000000:secret:gone-AbCdEf"
    with pytest.raises(InvalidInputError, match=r"the secret of JiraSecretArn cannot be read \(ResourceNotFound"):
        handler(gone)(EVENT, Context())


def test_create_jira_run_without_clusters_does_nothing(world, jira):
    put_document(run_of())
    assert handler(put_secret(jira.secret))(EVENT, Context())["status"] == "done"


def test_create_jira_campaign_link_comes_from_the_console_url(world, jira, monkeypatch):
    monkeypatch.setenv("CONSOLE_URL", "https://console.example")
    run = run_of("c-1")
    run["clusters"][0]["flow_id"] = "f-1"
    run["flows"] = [{"flow_id": "f-1", "cluster_ids": ["c-1"]}]
    put_document(run)
    handler(put_secret(jira.secret))(EVENT, Context())
    assert "https://console.example/campaigns/f-1" in json.dumps(jira.issues()[0]["description"])
