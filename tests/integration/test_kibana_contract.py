"""Kibana cases: our client and the twin keep the Cases API's rules, and a cluster never has two open cases."""

import threading
import time
import uuid

import pytest
import requests

from local.twins import KibanaTwin
from tests.ticket_world import Clock, Crash, Fuse, OneAtATime, aws, create_link_table
from tests.unit.enriched import ATTACKER, WEB, alert, cluster, document
from watchfloor.clients.kibana_cases import KibanaCases
from watchfloor.clients.link_table import LinkTable
from watchfloor.errors import ConflictError, InvalidInputError, TransientError
from watchfloor.ticketing import Progress, raise_tickets
from watchfloor.tickets import Draft, Thresholds

RETRIES = (15, 30, 60, 120, 240)


@pytest.fixture
def kibana():
    with KibanaTwin() as twin:
        yield twin


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def account():
    with aws():
        yield


@pytest.fixture
def table(account):
    return OneAtATime(create_link_table(f"links-{uuid.uuid4()}"))


def scan(count=4, run="r1", cluster_id="c-1", in_elastic=False, **changes):
    alerts = [
        alert(
            f"{run}-{n}",
            1_790_000_000.0 + n,
            ATTACKER,
            WEB,
            f"Rule {n % 2}",
            "T1595",
            **({"raw": {"_id": f"{run}-es-{n}", "_index": ".alerts-security"}} if in_elastic else {}),
        )
        for n in range(count)
    ]
    return cluster(cluster_id, alerts, flow_id=None, **changes)


def write(twin, table, run, owner="worker-1", clock=time.time, timeout=(2.0, 5.0), fuse=None, secret=None):
    guard = fuse.guard if fuse else lambda target: target

    def connect():
        links = LinkTable(table, "kibana", owner, clock=clock)
        return guard(KibanaCases(secret or twin.secret, timeout=timeout)), guard(links)

    progress = Progress()
    assert raise_tickets(run, {"kibana": connect}, progress, thresholds=Thresholds(), clock=clock)
    return progress


def write_with_retries(twin, table, run, clock, timeout=(2.0, 5.0), fuse=None, pause=0.0):
    for number, wait in enumerate((*RETRIES, 0)):
        try:
            return write(twin, table, run, f"worker-{number}", clock, timeout, fuse)
        except (TransientError, Crash):
            clock.pass_(wait)
            time.sleep(pause)
    raise AssertionError("all retries are used up")


def attached(case):
    return [id_ for comment in case["comments"] if comment["type"] == "alert" for id_ in comment["alertId"]]


# --- what a case is


def test_new_cluster_gets_a_case_with_its_alerts_attached(kibana, table):
    assert write(kibana, table, document([scan(in_elastic=True)], [])).created == 1
    (case,) = kibana.cases()
    assert case["title"] == f"Cluster c-1: Reconnaissance, 4 alerts on {WEB}"
    assert case["tags"] == ["watchfloor", "watchfloor-cluster-c-1"]
    assert "r1-3" in case["description"]
    assert case["owner"] == "securitySolution" and case["settings"] == {"syncAlerts": False}
    assert sorted(attached(case)) == [f"r1-es-{n}" for n in range(4)]


def test_only_alerts_of_elasticsearch_are_attached(kibana, table):
    half = scan(in_elastic=True)
    for row, raw in zip(half["alerts"], [{}, {"_id": "x"}, {"_id": 5, "_index": "i"}], strict=False):
        row["raw"] = raw
    write(kibana, table, document([half], []))
    assert attached(kibana.cases()[0]) == ["r1-es-3"]
    write(kibana, table, document([scan(cluster_id="c-2")], []))
    assert kibana.cases()[1]["comments"] == []


def test_alerts_go_in_chunks_of_100_with_their_rule_up_to_1000(kibana, table):
    many = scan(1_000, in_elastic=True)
    write(kibana, table, document([many], []))
    (case,) = kibana.cases()
    assert len(set(attached(case))) == len(attached(case)) == 1_000
    assert all(len(comment["alertId"]) == 100 for comment in case["comments"])
    assert {comment["rule"]["name"] for comment in case["comments"]} == {"Rule 0", "Rule 1"}
    write(kibana, table, document([scan(5, "r2", in_elastic=True, total_alert_count=1_005)], [], "run-2"))
    assert len(attached(kibana.cases()[0])) == 1_000


@pytest.mark.parametrize("status", ["open", "in-progress"])
def test_open_case_is_overwritten_and_gets_its_new_alerts(kibana, table, status):
    write(kibana, table, document([scan(in_elastic=True)], []))
    kibana.set_status(kibana.cases()[0]["id"], status)
    run = document([scan(2, "r2", in_elastic=True, total_alert_count=6)], [], "run-2")
    assert write(kibana, table, run).updated == 1
    (case,) = kibana.cases()
    assert "r2-1" in case["description"] and "r1-3" not in case["description"]
    assert "4 alerts" in case["title"] and case["status"] == status
    assert len(attached(case)) == 6


def test_closed_case_is_left_alone_and_a_new_one_made(kibana, table):
    write(kibana, table, document([scan()], []))
    kibana.set_status(kibana.cases()[0]["id"], "closed")
    assert write(kibana, table, document([scan(6, "r2")], [], "run-2")).created == 1
    old, new = kibana.cases()
    assert "r2-5" not in old["description"] and "r2-5" in new["description"] and new["status"] == "open"


def test_same_run_again_writes_nothing(kibana, table):
    first = write(kibana, table, document([scan()], []))
    before = len(kibana.log)
    assert write(kibana, table, document([scan()], [])) == first
    assert len(kibana.log) == before


def test_update_that_changes_nothing_is_none(kibana):
    client = KibanaCases(kibana.secret)
    ticket = client.create(Draft(scan()))
    client.update(ticket, Draft(scan()))  # Kibana answers 406
    assert kibana.cases()[0]["updated_at"] is None


def test_merged_cluster_is_told_once_even_among_many_comments(kibana, table):
    write(kibana, table, document([scan(), scan(cluster_id="c-2")], []))
    absorbed = kibana.cases()[1]
    for n in range(150):
        requests.post(
            f"{kibana.url}/api/cases/{absorbed['id']}/comments",
            json={"type": "user", "comment": f"note {n}", "owner": "securitySolution"},
            headers={"kbn-xsrf": "x", "Authorization": f"ApiKey {kibana.secret['api_key']}"},
            timeout=5,
        )
    run = document([scan(8)], [], "run-2", merged_clusters=[{"cluster_id": "c-2", "into": "c-1"}])
    assert write(kibana, table, run).commented == 1
    table.update_item(Key={"cluster_id": "c-2", "integration": "kibana"}, UpdateExpression="REMOVE merged_into")
    table.update_item(
        Key={"cluster_id": "c-2", "integration": "kibana"},
        UpdateExpression="SET external_id = :id",
        ExpressionAttributeValues={":id": absorbed["id"]},
    )
    write(kibana, table, run)
    told = [row for row in kibana.cases()[1]["comments"] if "was merged into cluster c-1" in row["comment"]]
    assert len(told) == 1


def test_space_and_owner_of_the_secret_are_used(kibana, table):
    secret = {**kibana.secret, "space": "soc", "owner": "observability"}
    write(kibana, table, document([scan()], []), secret=secret)
    (case,) = kibana.cases()
    assert (case["space"], case["owner"]) == ("soc", "observability")
    link = LinkTable(table, "kibana", "x").get("c-1")
    assert link and link.url == f"{kibana.url}/s/soc/app/observability/cases/{case['id']}"


def test_user_and_password_do_as_well(kibana):
    secret = {"url": kibana.url, "user": "elastic", "password": "twin-kibana-password"}
    assert KibanaCases(secret).find("nope") is None


# --- never twice


def test_worker_cut_off_anywhere_leaves_one_open_case(kibana, table, clock):
    kibana.clock, kibana.index_lag_seconds = clock, 5
    for steps in range(40):
        name, cut_off = f"c-{steps}", ""
        for run_id, count in (("r1", 4), ("r2", 6), ("r3", 8)):
            clock.pass_(1_000)
            fuse = Fuse(steps)
            run = document([scan(count, run_id, name, in_elastic=True)], [], run_id)
            write_with_retries(kibana, table, run, clock, fuse=fuse)
            cut_off = cut_off or fuse.blown_at
            mine = [case for case in kibana.cases() if f"watchfloor-cluster-{name}" in case["tags"]]
            assert [case["status"] for case in mine].count("open") == 1, (run_id, fuse.blown_at)
            assert len(mine) == (2 if run_id == "r3" else 1), (run_id, fuse.blown_at)
            alerts = attached(mine[-1])
            assert len(alerts) == len(set(alerts)) == {"r1": 4, "r2": 10, "r3": 8}[run_id], (run_id, fuse.blown_at)
            if run_id == "r2":
                kibana.set_status(mine[0]["id"], "closed")
        if not cut_off:
            break
    assert steps > 12


@pytest.mark.parametrize("kind", ["commit-then-drop", "down", "slow", "500", "garbage", "429"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/cases$"), ("POST", "/comments$"), ("GET", "/_find")])
def test_unknown_outcome_ends_in_one_case(kibana, table, clock, kind, method, path):
    kibana.clock, kibana.index_lag_seconds = clock, 5
    kibana.fail(kind, method, path, seconds=0.6)
    run = document([scan(in_elastic=True)], [])
    pause = 0.4 if kind == "slow" else 0
    assert write_with_retries(kibana, table, run, clock, (2.0, 0.3), pause=pause).created == 1
    (case,) = kibana.cases()
    assert sorted(attached(case)) == [f"r1-es-{n}" for n in range(4)]


def test_many_workers_at_once_make_one_case_a_cluster(kibana, table):
    run = document([scan(cluster_id=f"c-{n}") for n in range(4)], [])
    finished = []

    def work(number):
        for attempt in range(200):
            try:
                finished.append(write(kibana, table, run, f"worker-{number}-{attempt}"))
                return
            except TransientError:
                time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [progress.created for progress in finished] == [4] * 5
    assert len(kibana.cases()) == 4


def test_case_closed_while_it_is_written_gets_a_successor(kibana, table, monkeypatch):
    write(kibana, table, document([scan()], []))
    genuine = KibanaCases.update
    calls: list[str] = []

    def update(self, ticket, draft):
        if not calls:
            kibana.set_status(ticket.id, "closed")
        calls.append(ticket.id)
        return genuine(self, ticket, draft)

    monkeypatch.setattr(KibanaCases, "update", update)
    assert write(kibana, table, document([scan(6)], [], "run-2")).created == 1
    assert [case["status"] for case in kibana.cases()] == ["closed", "open"]


def test_change_meanwhile_is_noticed(kibana):
    client = KibanaCases(kibana.secret)
    ticket = client.create(Draft(scan()))
    kibana.set_status(ticket.id, "in-progress")
    with pytest.raises(ConflictError):
        client.update(ticket, Draft(scan(5)))


# --- what its owner is told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"api_key": "wrong"}, "refused the credentials in the Kibana secret"),
        ({"api_key": ""}, "needs url, and api_key or user and password"),
        ({"owner": "nobody"}, "owner must be one of"),
        ({"space": "nowhere"}, "refused to create a case.*404"),
    ],
)
def test_settings_that_do_not_work_are_named(kibana, change, message):
    with pytest.raises(InvalidInputError, match=message):
        KibanaCases({**kibana.secret, **change}).create(Draft(scan()))


def test_rate_limit_tells_how_long_to_wait(kibana):
    kibana.fail("429")
    with pytest.raises(TransientError, match="429.*asks for 1 s of patience"):
        KibanaCases(kibana.secret).find("x")


# --- the twin keeps Kibana's rules


def call(twin, method, path="", body=None, headers=None, **more):
    headers = {"kbn-xsrf": "x", "Authorization": f"ApiKey {twin.secret['api_key']}"} | (headers or {})
    headers = {name: value for name, value in headers.items() if value}
    return requests.request(method, f"{twin.url}/api/cases{path}", json=body, headers=headers, timeout=5, **more)


def body(**changes):
    case = {
        "title": "t",
        "description": "d",
        "tags": [],
        "owner": "cases",
        "connector": {"id": "none", "name": "none", "type": ".none", "fields": None},
        "settings": {"syncAlerts": True},
    }
    return {name: value for name, value in (case | changes).items() if value is not None}


def test_twin_wants_the_header_against_forged_requests(kibana):
    answer = call(kibana, "POST", body=body(), headers={"kbn-xsrf": None})
    assert (answer.status_code, answer.json()["message"]) == (400, "Request must contain a kbn-xsrf header.")
    assert call(kibana, "POST", body=body(), headers={"Authorization": "ApiKey no"}).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"title": None},
        {"title": " "},
        {"title": "x" * 161},
        {"description": "x" * 30_001},
        {"description": 5},
        {"tags": None},
        {"tags": [""]},
        {"tags": ["x" * 257]},
        {"owner": "nobody"},
        {"connector": {"id": "none"}},
        {"settings": {}},
        {"status": "open"},
        {"extra": 1},
        {"severity": "terrible"},
    ],
)
def test_twin_refuses_a_wrong_case(kibana, changes):
    assert call(kibana, "POST", body=body(**changes)).status_code == 400
    assert kibana.cases() == []


def test_twin_takes_a_case_at_its_limits(kibana):
    assert (
        call(kibana, "POST", body=body(title="x" * 160, description="x" * 30_000, tags=["y" * 256])).status_code == 200
    )


def test_twin_updates_the_version_that_was_read_only(kibana):
    case = call(kibana, "POST", body=body()).json()
    change = {"id": case["id"], "version": case["version"], "description": "e"}
    (updated,) = call(kibana, "PATCH", body={"cases": [change]}).json()
    assert updated["description"] == "e" and updated["version"] != case["version"]
    assert call(kibana, "PATCH", body={"cases": [change]}).status_code == 409
    same = {**change, "version": updated["version"]}
    assert call(kibana, "PATCH", body={"cases": [same]}).status_code == 406
    assert call(kibana, "PATCH", body={"cases": [{**same, "owner": "observability"}]}).status_code == 400
    assert call(kibana, "PATCH", body={"cases": [{**same, "bogus": 1}]}).status_code == 400
    assert call(kibana, "PATCH", body={"cases": [{**same, "id": "nope"}]}).status_code == 404


def test_twin_attaches_alerts_by_kibanas_rules(kibana):
    case = call(kibana, "POST", body=body()).json()
    path = f"/{case['id']}/comments"
    rule = {"id": None, "name": None}
    alerts = {"type": "alert", "alertId": ["a", "b"], "index": ["i", "i"], "rule": rule, "owner": "cases"}
    assert call(kibana, "POST", path, alerts).json()["totalAlerts"] == 2
    assert call(kibana, "POST", path, {**alerts, "alertId": ["b", "c"]}).json()["totalAlerts"] == 3
    assert call(kibana, "POST", path, {**alerts, "index": ["i"]}).status_code == 400
    assert call(kibana, "POST", path, {**alerts, "owner": "observability"}).status_code == 400
    too_many = {**alerts, "alertId": [str(n) for n in range(998)], "index": ["i"] * 998}
    assert "maximum allowed number (1000)" in call(kibana, "POST", path, too_many).json()["message"]
    kibana.set_status(case["id"], "closed")
    assert call(kibana, "POST", path, {**alerts, "alertId": ["d", "e"]}).status_code == 400
    comment = {"type": "user", "comment": "c", "owner": "cases"}
    assert call(kibana, "POST", path, comment).json()["totalComment"] == 1
    assert call(kibana, "POST", path, {**comment, "comment": "x" * 30_001}).status_code == 400


def test_twin_finds_by_tag_owner_and_page(kibana):
    for tag in ("a", "a", "ab"):
        call(kibana, "POST", body=body(tags=[tag]))
    found = call(kibana, "GET", "/_find", params={"tags": "a", "owner": "cases", "perPage": 1, "page": 2}).json()
    assert (found["total"], len(found["cases"]), found["count_open_cases"]) == (2, 1, 3)
    assert call(kibana, "GET", "/_find", params={"owner": "observability"}).json()["total"] == 0
    assert call(kibana, "GET", "/_find", params={"perPage": 101}).status_code == 400
    assert call(kibana, "GET", "/_find", params={"bogus": 1}).status_code == 400
