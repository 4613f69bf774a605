"""create_case as the state machine calls it, against the twins of OpenSearch and Kibana."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from local.twins import KibanaTwin, OpenSearchTwin
from tests.ticket_world import Context, aws, create_link_table, put_document, put_secret
from tests.unit.enriched import ATTACKER, WEB, alert, cluster, document
from watchfloor.clients.opensearch_cases import INDEX
from watchfloor.errors import InvalidInputError, TransientError

EVENT = json.loads(Path(__file__).parents[2].joinpath("events/pipeline/create_case.json").read_text())


@pytest.fixture(scope="module")
def twins():
    with KibanaTwin() as kibana, OpenSearchTwin() as opensearch:
        yield kibana, opensearch


@pytest.fixture
def world(twins):
    for twin in twins:
        twin.state = twin.empty_state()
        twin.faults.clear()
    with aws():
        create_link_table()
        yield


@pytest.fixture
def kibana(twins, world):
    return twins[0]


@pytest.fixture
def opensearch(twins, world):
    return twins[1]


def handler(kibana=None, opensearch=None, signed=False, **environment: str):
    settings = {"KIBANA_SECRET_ARN": "", "OPENSEARCH_URL": "", "OPENSEARCH_SECRET_ARN": ""}
    if kibana:
        settings["KIBANA_SECRET_ARN"] = put_secret(kibana.secret)
    if opensearch:
        settings["OPENSEARCH_URL"] = opensearch.url
        settings["OPENSEARCH_SECRET_ARN"] = "" if signed else put_secret(opensearch.secret)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (settings | environment).items():
            patch.setenv(name, value)
        sys.modules.pop("functions.pipeline.create_case", None)
        return importlib.import_module("functions.pipeline.create_case").lambda_handler


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


def test_create_case_not_configured_is_skipped_and_says_what_to_set(world):
    answer = handler()(EVENT, Context())
    assert answer["status"] == "skipped"
    assert answer["reason"] == "no cases are configured; the parameters OpenSearchUrl and KibanaSecretArn do so"


def test_create_case_writes_to_both(kibana, opensearch):
    put_document(run_of("c-1", "c-2"))
    answer = handler(kibana, opensearch)(EVENT, Context())
    assert (answer["status"], answer["next"], answer["created"]) == ("done", 2, 4)
    assert len(kibana.cases()) == len(opensearch.documents(INDEX)) == 2


@pytest.mark.parametrize("signed", [True, False])
def test_create_case_writes_to_opensearch_alone(kibana, opensearch, signed):
    put_document(run_of("c-1"))
    assert handler(None, opensearch, signed)(EVENT, Context())["created"] == 1
    assert kibana.cases() == []


def test_create_case_writes_to_kibana_alone(kibana, opensearch):
    put_document(run_of("c-1"))
    assert handler(kibana)(EVENT, Context())["created"] == 1
    assert opensearch.documents(INDEX) == {}


@pytest.mark.parametrize("broken", ["kibana", "opensearch"])
def test_create_case_one_that_fails_does_not_keep_the_other_from_its_work(kibana, opensearch, broken):
    put_document(run_of("c-1", "c-2", "c-3"))
    (kibana if broken == "kibana" else opensearch).fail("500", count=1_000)
    with pytest.raises(TransientError, match="Kibana" if broken == "kibana" else "OpenSearch"):
        handler(kibana, opensearch)(EVENT, Context())
    written = opensearch.documents(INDEX) if broken == "kibana" else kibana.cases()
    assert len(written) == 3


def test_create_case_after_a_failure_writes_what_is_missing_and_counts_all(kibana, opensearch):
    put_document(run_of("c-1", "c-2"))
    call = handler(kibana, opensearch)
    kibana.fail("429", path="_find")
    with pytest.raises(TransientError):
        call(EVENT, Context())
    assert call(EVENT, Context())["created"] == 4
    assert len(kibana.cases()) == len(opensearch.documents(INDEX)) == 2


def test_create_case_names_both_that_fail(kibana, opensearch):
    put_document(run_of("c-1"))
    kibana.fail("500", count=1_000)
    opensearch.fail("500", count=1_000)
    with pytest.raises(TransientError, match="opensearch: TransientError.*kibana: TransientError"):
        handler(kibana, opensearch)(EVENT, Context())


def test_create_case_wrong_settings_of_one_are_reported_and_the_other_is_written(kibana, opensearch):
    put_document(run_of("c-1"))
    call = handler(kibana, opensearch, KIBANA_SECRET_ARN=put_secret({"url": "http://x"}))
    with pytest.raises(InvalidInputError, match="the secret of KibanaSecretArn needs url, and api_key"):
        call(EVENT, Context())
    assert len(opensearch.documents(INDEX)) == 1


def test_create_case_short_of_time_goes_on_where_it_stopped(kibana, opensearch):
    put_document(run_of("c-1", "c-2"))
    call = handler(kibana, opensearch)
    answer = call(EVENT, Context(remaining=(900_000, 59_999)))
    assert (answer["status"], answer["next"], answer["created"]) == ("more", 1, 2)
    answer = call(answer, Context())
    assert (answer["status"], answer["next"], answer["created"]) == ("done", 2, 4)


def test_create_case_second_file_updates_and_closed_cases_get_successors(kibana, opensearch):
    call = handler(kibana, opensearch)
    put_document(run_of("c-1"))
    call(EVENT, Context())
    put_document(run_of("c-1", count=6, run_id="second"))
    assert call({"run_id": "second"}, Context())["updated"] == 2
    kibana.set_status(kibana.cases()[0]["id"], "closed")
    put_document(run_of("c-1", count=8, run_id="third"))
    answer = call({"run_id": "third"}, Context())
    assert (answer["created"], answer["updated"]) == (1, 1)
    assert [case["status"] for case in kibana.cases()] == ["closed", "open"]


def test_create_case_merged_cluster_is_told_in_both(kibana, opensearch):
    call = handler(kibana, opensearch)
    put_document(run_of("c-1", "c-2"))
    call(EVENT, Context())
    put_document(
        run_of("c-1", count=8, run_id="second", merged_clusters=[{"cluster_id": "c-2", "into": "c-1"}]),
    )
    assert call({"run_id": "second"}, Context())["commented"] == 2
    assert len(kibana.cases()[1]["comments"]) == 1
    assert len(opensearch.documents(INDEX)["watchfloor-cluster-c-2-1"]["comments"]) == 1
