"""OpenSearch cases: the same tests against the twin and against a real OpenSearch."""

import os
import threading
import time
import uuid

import pytest
import requests
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConflictError as VersionConflict
from opensearchpy.exceptions import NotFoundError, RequestError

from local.twins import OpenSearchTwin
from tests import opensearch
from tests.ticket_world import Crash, Fuse, OneAtATime, aws, create_link_table
from tests.unit.enriched import ATTACKER, WEB, alert, cluster, document, flow, intrusion
from watchfloor.clients.link_table import CLAIM_SECONDS, LinkTable
from watchfloor.clients.opensearch_cases import INDEX, OpenSearchCases
from watchfloor.errors import ConflictError, InvalidInputError, TransientError
from watchfloor.ticketing import Progress, raise_tickets
from watchfloor.tickets import Draft, Thresholds, merge_comment, merge_sentence

CREDENTIALS = ("watchfloor", "twin-opensearch-password")


@pytest.fixture(scope="module")
def real_url():
    try:
        with opensearch.running() as url:
            yield url
    except opensearch.Unavailable as why:
        if os.environ.get("WATCHFLOOR_REQUIRE_OPENSEARCH") == "1":
            pytest.fail(f"a real OpenSearch is required, but: {why}")
        pytest.skip(f"no real OpenSearch here: {why}")


@pytest.fixture(params=["twin", pytest.param("real", marks=pytest.mark.opensearch)])
def url(request):
    """A service that holds no case yet."""
    if request.param == "twin":
        with OpenSearchTwin() as twin:
            yield twin.url
    else:
        address = request.getfixturevalue("real_url")
        OpenSearch([address], http_auth=CREDENTIALS).indices.delete(index="*", expand_wildcards="open")
        yield address


@pytest.fixture
def twin():
    with OpenSearchTwin() as twin:
        yield twin


@pytest.fixture(scope="module")
def account():
    with aws():
        yield


@pytest.fixture
def table(account):
    return OneAtATime(create_link_table(f"links-{uuid.uuid4()}"))


@pytest.fixture
def raw(url):
    return OpenSearch([url], http_auth=CREDENTIALS, timeout=10)


@pytest.fixture
def cases(url):
    return OpenSearchCases(url, CREDENTIALS)


def scan(count=4, run="r1", cluster_id="c-1", **changes):
    alerts = [alert(f"{run}-{n}", 1_790_000_000.0 + n, ATTACKER, WEB, "Port sweep", "T1595") for n in range(count)]
    return cluster(cluster_id, alerts, flow_id=None, **changes)


def write(url, table, run, owner="worker-1", fuse=None, timeout=10.0, clock=time.time):
    guard = fuse.guard if fuse else lambda target: target

    def connect():
        links = LinkTable(table, "opensearch", owner, clock=clock)
        return guard(OpenSearchCases(url, CREDENTIALS, timeout=timeout)), guard(links)

    progress = Progress()
    assert raise_tickets(run, {"opensearch": connect}, progress, thresholds=Thresholds(), clock=clock)
    return progress


def held(raw):
    """All cases by id."""
    raw.indices.refresh(index=INDEX)
    found = raw.search(index=INDEX, body={"size": 100, "query": {"match_all": {}}})
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


def close(raw, case_id):
    raw.update(index=INDEX, id=case_id, body={"doc": {"status": "closed"}}, refresh=True)


# --- what a case is


def test_new_cluster_gets_a_case_with_its_alerts(url, raw, table):
    run = intrusion()
    run["clusters"] = [run["clusters"][1] | {"total_alert_count": 3}]
    assert write(url, table, run).created == 1
    ((case_id, case),) = held(raw).items()
    assert case_id == case["case_id"] == "watchfloor-cluster-c-entry-1"
    assert case["status"] == "open"
    assert case["title"].startswith("Cluster c-entry: Persistence, 3 alerts on")
    assert case["campaign_id"] == "f-1"
    assert [row["id"] for row in case["alerts"]] == case["alert_ids"] == ["run-1-e1", "run-1-e2"]
    assert "T1190" in case["description"]


@pytest.mark.parametrize("status", ["open", "in progress", "In-Progress"])
def test_open_case_is_overwritten_and_keeps_what_others_wrote(url, raw, table, status):
    write(url, table, document([scan()], []))
    (case_id,) = held(raw)
    comment = {"text": "mine", "created_at": "2026-11-20T12:00:00Z"}
    raw.update(index=INDEX, id=case_id, body={"doc": {"status": status, "comments": [comment]}}, refresh=True)
    assert write(url, table, document([scan(6, "r2")], [], "run-2")).updated == 1
    case = held(raw)[case_id]
    assert "r2-5" in case["description"] and case["alert_count"] == 6
    assert case["comments"] == [comment] and case["status"] == status
    assert "4 alerts" in case["title"]


def test_closed_case_is_left_alone_and_a_new_one_made(url, raw, table):
    write(url, table, document([scan()], []))
    close(raw, "watchfloor-cluster-c-1-1")
    assert write(url, table, document([scan(6, "r2")], [], "run-2")).created == 1
    old, new = (held(raw)[f"watchfloor-cluster-c-1-{n}"] for n in (1, 2))
    assert old["status"] == "closed" and "r2-5" not in old["description"]
    assert new["status"] == "open" and "r2-5" in new["description"]


def test_same_run_again_writes_nothing(url, raw, table):
    first = write(url, table, document([scan()], []))
    before = raw.get(index=INDEX, id="watchfloor-cluster-c-1-1")
    assert write(url, table, document([scan()], [])) == first
    assert raw.get(index=INDEX, id="watchfloor-cluster-c-1-1") == before


def test_lost_link_finds_the_open_case(url, raw, table):
    write(url, table, document([scan()], []))
    table.delete_item(Key={"cluster_id": "c-1", "integration": "opensearch"})
    assert write(url, table, document([scan(5)], [], "run-2")).updated == 1
    assert len(held(raw)) == 1


def test_merged_cluster_is_told_once(url, raw, table):
    write(url, table, document([scan(), scan(cluster_id="c-2")], []))
    run = document([scan(8)], [], "run-2", merged_clusters=[{"cluster_id": "c-2", "into": "c-1"}])
    assert write(url, table, run).commented == 1
    assert write(url, table, run).commented == 1
    (comment,) = held(raw)["watchfloor-cluster-c-2-1"]["comments"]
    assert "Cluster c-2 was merged into cluster c-1." in comment["text"]


def test_comment_is_made_once_and_not_on_what_is_gone(cases, raw):
    cases.create(Draft(scan()))
    for _ in range(2):
        cases.comment_once("watchfloor-cluster-c-1-1", merge_sentence("c-1", "c-0"), merge_comment("c-1", "c-0", None))
    cases.comment_once("watchfloor-cluster-c-9-1", merge_sentence("c-9", "c-0"), merge_comment("c-9", "c-0", None))
    assert [len(case["comments"]) for case in held(raw).values()] == [1]


def test_case_of_a_cluster_with_odd_times_and_huge_texts(url, raw, table):
    odd = scan(1_000, attributes={})
    odd |= {"start_time": -1e18, "end_time": 1e18, "total_alert_count": 5_000_000}
    odd["alerts"][0] |= {"name": "x" * 10_000_000, "id": "y" * 100_000}
    odd["alert_ids"][0] = "y" * 100_000
    assert write(url, table, document([odd], [flow("f", [odd], [])])).created == 1
    (case,) = held(raw).values()
    assert case["alert_count"] == 5_000_000 and case["start_time"] is None and len(case["alerts"]) == 1_000


# --- never twice


def test_worker_cut_off_anywhere_leaves_one_open_case(url, raw, table):
    for steps in range(30):
        name, cut_off = f"c-{steps}", ""
        for run_id, count in (("run-1", 4), ("run-2", 6), ("run-3", 8)):
            run = document([scan(count, run_id, name)], [], run_id)
            fuse = Fuse(steps)
            try:
                write(url, table, run, "first", fuse)
            except Crash:
                cut_off = fuse.blown_at
            # The next try comes when the claim has expired.
            write(url, table, run, "second", clock=lambda: time.time() + CLAIM_SECONDS + 60)
            mine = {id_: case for id_, case in held(raw).items() if case["cluster_id"] == name}
            assert [case["status"] for case in mine.values()].count("open") == 1, (run_id, fuse.blown_at)
            assert len(mine) == (2 if run_id == "run-3" else 1), (run_id, fuse.blown_at)
            if run_id == "run-2":
                close(raw, f"watchfloor-cluster-{name}-1")
        if not cut_off:
            break
        raw.delete(index=INDEX, id=f"watchfloor-cluster-{name}-2", refresh=True)
    assert steps > 10


def test_many_workers_at_once_make_one_case_a_cluster(url, raw, table):
    run = document([scan(cluster_id=f"c-{n}") for n in range(4)], [])
    finished = []

    def work(number):
        for attempt in range(200):
            try:
                finished.append(write(url, table, run, f"worker-{number}-{attempt}"))
                return
            except TransientError:
                time.sleep(0.05)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [progress.created for progress in finished] == [4] * 5
    assert sorted(held(raw)) == [f"watchfloor-cluster-c-{n}-1" for n in range(4)]


def test_even_without_a_claim_two_workers_cannot_create_the_same_case(cases, raw, url, monkeypatch):
    cases.create(Draft(scan()))
    other = OpenSearchCases(url, CREDENTIALS)
    monkeypatch.setattr(other, "search", lambda label: iter(()))  # it looked before the first one wrote
    with pytest.raises(ConflictError):
        other.create(Draft(scan()))
    assert len(held(raw)) == 1


def test_change_meanwhile_is_noticed(cases, raw):
    ticket = cases.create(Draft(scan()))
    close(raw, ticket.id)
    with pytest.raises(ConflictError):
        cases.update(ticket, Draft(scan(5)))
    assert held(raw)[ticket.id]["status"] == "closed"


def test_case_closed_while_it_is_written_gets_a_successor(url, raw, table, monkeypatch):
    write(url, table, document([scan()], []))
    genuine = OpenSearchCases.update
    calls: list[str] = []

    def update(self, ticket, draft):
        if not calls:
            close(raw, ticket.id)
        calls.append(ticket.id)
        return genuine(self, ticket, draft)

    monkeypatch.setattr(OpenSearchCases, "update", update)
    assert write(url, table, document([scan(6)], [], "run-2")).created == 1
    assert sorted(case["status"] for case in held(raw).values()) == ["closed", "open"]


def test_index_is_made_once_by_however_many(url, raw):
    threads = [threading.Thread(target=OpenSearchCases, args=(url, CREDENTIALS)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mapping = raw.indices.get_mapping(index=INDEX)[INDEX]["mappings"]
    assert mapping["dynamic"] == "strict"
    assert mapping["properties"]["alerts"]["enabled"] is False


# --- the rules we rely on, twin and real


@pytest.fixture
def strict(raw):
    properties = {
        "s": {"type": "keyword"},
        "n": {"type": "integer"},
        "at": {"type": "date"},
        "o": {"type": "object", "enabled": False},
        "c": {"properties": {"t": {"type": "text"}}},
    }
    raw.indices.create(index="things", body={"mappings": {"dynamic": "strict", "properties": properties}})
    return raw


@pytest.mark.parametrize("body", [{"bogus": 1}, {"n": "x"}, {"at": "nope"}, {"s": {"a": 1}}, {"c": {"u": 1}}, {"c": 5}])
def test_strict_mapping_refuses(strict, body):
    with pytest.raises(RequestError):
        strict.index(index="things", id="a", body=body)


@pytest.mark.parametrize(
    "body", [{}, {"s": ["a", "b"]}, {"n": None}, {"o": {"x": [{"y": 1}]}}, {"c": [{"t": "a"}, {"t": "b"}]}]
)
def test_strict_mapping_takes(strict, body):
    strict.index(index="things", id="a", body=body)
    assert strict.get(index="things", id="a")["_source"] == body


def test_document_is_created_once(strict):
    strict.create(index="things", id="a", body={"s": "x"})
    with pytest.raises(VersionConflict):
        strict.create(index="things", id="a", body={"s": "y"})


def test_update_wants_the_number_that_was_read(strict):
    strict.index(index="things", id="a", body={"s": "x", "n": 1})
    seen = strict.get(index="things", id="a")
    numbers = {"if_seq_no": seen["_seq_no"], "if_primary_term": seen["_primary_term"]}
    strict.update(index="things", id="a", body={"doc": {"n": 2}}, **numbers)
    with pytest.raises(VersionConflict):
        strict.update(index="things", id="a", body={"doc": {"n": 3}}, **numbers)
    document_ = strict.get(index="things", id="a")
    assert document_["_source"] == {"s": "x", "n": 2} and document_["_version"] == 2


def test_what_is_not_there(strict):
    for call in (
        lambda: strict.get(index="things", id="zz"),
        lambda: strict.get(index="nowhere", id="a"),
        lambda: strict.update(index="things", id="zz", body={"doc": {"n": 1}}),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert not strict.indices.exists(index="nowhere")


def test_search_sees_what_was_refreshed(strict):
    strict.index(index="things", id="a", body={"s": "x", "n": 1}, refresh=True)
    strict.index(index="things", id="b", body={"s": "y", "n": 2}, refresh="wait_for")

    def ids(query, **more):
        found = strict.search(index="things", body={"query": query, **more})
        return [hit["_id"] for hit in found["hits"]["hits"]]

    assert ids({"match_all": {}}, sort=[{"n": "desc"}]) == ["b", "a"]
    assert ids({"term": {"s": "x"}}) == ["a"]
    assert ids({"bool": {"filter": [{"terms": {"s": ["x", "y"]}}], "must_not": [{"range": {"n": {"gte": 2}}}]}}) == [
        "a"
    ]
    assert ids({"ids": {"values": ["b"]}}) == ["b"]
    assert ids({"match_all": {}}, size=1, sort=[{"n": "asc"}]) == ["a"]
    with pytest.raises(RequestError):
        ids({"bogus": {}})


def test_index_exists_once(strict):
    with pytest.raises(RequestError) as caught:
        strict.indices.create(index="things")
    assert caught.value.error == "resource_already_exists_exception"


# --- faults, which only the twin can be asked for


@pytest.mark.parametrize("kind", ["commit-then-drop", "down", "slow", "500", "garbage", "429"])
@pytest.mark.parametrize(("method", "path"), [("PUT", "/_create/"), ("PUT", "/watchfloor-cases$"), ("GET", "/_doc/")])
def test_unknown_outcome_ends_in_one_case(twin, table, kind, method, path):
    twin.fail(kind, method, path, count=2, seconds=0.4)
    for _ in range(6):
        try:
            progress = write(twin.url, table, document([scan()], []), timeout=0.2)
            break
        except TransientError:
            time.sleep(0.3 if kind == "slow" else 0)
    assert progress.created == 1
    assert list(twin.documents(INDEX)) == ["watchfloor-cluster-c-1-1"]


def test_wrong_credentials_are_named(twin):
    with pytest.raises(InvalidInputError, match="forbids to connect.*OpenSearchSecretArn"):
        OpenSearchCases(twin.url, ("watchfloor", "wrong"))


def test_signature_is_sent_with_aws_credentials(twin, account):
    import boto3

    OpenSearchCases(twin.url, boto3.Session().get_credentials(), "us-east-1").create(Draft(scan()))
    assert len(twin.documents(INDEX)) == 1


def test_twin_shows_cases_to_people_without_running_what_they_say(twin):
    evil = cluster("c-1", [alert("1", 0.0, ATTACKER, WEB, "<script>alert(1)</script>", "T1595")], flow_id=None)
    OpenSearchCases(twin.url, CREDENTIALS).create(Draft(evil))
    page = requests.get(f"{twin.url}/_twin_page", timeout=5).text
    assert "&lt;script&gt;" in page and "<script>" not in page


def test_url_that_is_none_is_named():
    with pytest.raises((InvalidInputError, TransientError)):
        OpenSearchCases("http://127.0.0.1:9", CREDENTIALS)
