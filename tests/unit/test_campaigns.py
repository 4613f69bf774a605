import copy
import json

import pytest

from tests.unit.enriched import ATTACKER, DB, FILES, WEB, alert, cluster, document, flow, intrusion
from watchfloor import attack, campaigns
from watchfloor.campaigns import campaign_of, read_run, row_of, shown
from watchfloor.indicators import defang, indicators, side_of


def campaign(enriched: dict, previous: dict | None = None, absorbed: tuple = ()) -> dict:
    run = read_run(enriched)
    return campaign_of(run, run.flows[0], previous, absorbed)


def names(hosts: list[dict]) -> dict[str, str]:
    return {host["name"]: host["role"] for host in hosts}


def stages(document: dict) -> dict[str, dict]:
    return {stage["stage"]: stage for stage in document["stages"]}


def test_name_is_worst_tactic_main_victim_and_first_day():
    assert campaign(intrusion())["name"] == "Exfiltration on 10.0.1.20 and 1 more, 2026-09-21"


def test_campaign_is_the_same_for_the_same_input():
    assert campaign(intrusion()) == campaign(intrusion())


def test_campaign_is_plain_json():
    assert json.loads(json.dumps(campaign(intrusion()))) == campaign(intrusion())


def test_stages_are_six_in_order_and_hold_their_techniques_with_counts_and_times():
    found = campaign(intrusion())["stages"]
    assert tuple(stage["stage"] for stage in found) == attack.STAGES
    by_name = {stage["stage"]: stage for stage in found}
    assert by_name["Recon"]["alert_count"] == 4
    assert by_name["Recon"]["techniques"] == [
        {
            "id": "T1595.001",
            "name": "Scanning IP Blocks",
            "alert_count": 4,
            "first_seen": 1_790_000_000.0,
            "last_seen": 1_790_000_003.0,
        }
    ]
    assert [technique["id"] for technique in by_name["Campaign goals"]["techniques"]] == ["T1048"]
    assert by_name["Unknown"] == {
        "stage": "Unknown", "alert_count": 0, "first_seen": None, "last_seen": None, "techniques": []
    }  # fmt: skip


def test_alert_without_technique_is_in_stage_unknown():
    row = cluster("c", [alert(1, 5.0, "a", "b", "Odd thing")])
    found = stages(campaign(document([row], [flow("f-1", [row], [])])))
    assert found["Unknown"]["alert_count"] == 1


def test_external_hosts_are_adversaries_and_a_host_used_onward_is_a_pivot():
    found = campaign(intrusion())
    assert names(found["adversaries"]) == {ATTACKER: "source", "203.0.113.9": "contacted"}
    assert names(found["victims"]) == {WEB: "pivot", DB: "target"}


def test_host_that_only_acts_inside_is_an_adversary():
    row = cluster("c", [alert(1, 5.0, "10.0.254.30", DB, "SMB scan"), alert(2, 6.0, "10.0.254.30", FILES, "SMB scan")])
    found = campaign(document([row], [flow("f-1", [row], [])]))
    assert names(found["adversaries"]) == {"10.0.254.30": "source"}
    assert names(found["victims"]) == {DB: "target", FILES: "target"}


def test_answers_of_the_victim_do_not_turn_the_roles_round():
    there = [alert(n, float(n), "10.0.254.30", DB, "Exploit attempt") for n in range(5)]
    back = [alert(n, float(n), DB, "10.0.254.30", "Reply seen") for n in range(5, 7)]
    row = cluster("c", there + back)
    found = campaign(document([row], [flow("f-1", [row], [])]))
    assert names(found["adversaries"]) == {"10.0.254.30": "source"}
    assert names(found["victims"]) == {DB: "target"}
    assert found["victims"][0]["alert_count"] == 7


def test_host_that_reports_itself_is_a_victim():
    row = cluster("c", [alert(1, 5.0, "inet-dns", "inet-dns", "Odd process")])
    assert names(campaign(document([row], [flow("f-1", [row], [])]))["victims"]) == {"inet-dns": "target"}


def test_node_feature_decides_the_side():
    row = cluster("c", [alert(1, 5.0, "kiosk", "10.0.0.9", "Odd login")])
    features = {"kiosk": {"Internal/External": "External"}, "10.0.0.9": {"OS": "Linux"}}
    found = campaign(document([row], [flow("f-1", [row], [])], node_feature=features))
    assert names(found["adversaries"]) == {"kiosk": "source"}
    assert found["victims"][0]["features"] == {"OS": "Linux"}


def test_broadcast_is_nobody():
    row = cluster(
        "c", [alert(1, 5.0, WEB, "255.255.255.255", "Broadcast storm"), alert(2, 6.0, WEB, "239.1.1.1", "SSDP")]
    )
    found = campaign(document([row], [flow("f-1", [row], [])]))
    assert found["victims"] == found["adversaries"] == []


def test_iocs_come_from_hosts_attributes_and_names():
    iocs = campaign(intrusion())["iocs"]
    assert {ioc["value"] for ioc in iocs["ip"]} == {ATTACKER, "203.0.113.9"}
    assert [ioc["value"] for ioc in iocs["url"]] == ["http://203.0.113.9/drop/stage1.sh"]
    assert [ioc["value"] for ioc in iocs["hash"]] == ["a1" * 32]
    assert [ioc["value"] for ioc in iocs["user_agent"]] == ["curl/8.5.0"]


def test_own_public_server_is_no_ioc():
    row = cluster("c", [alert(1, 5.0, ATTACKER, "192.0.2.80", "Exploit attempt")])
    found = campaign(document([row], [flow("f-1", [row], [])]))
    assert [ioc["value"] for ioc in found["iocs"]["ip"]] == [ATTACKER]


def test_url_of_a_victim_is_no_ioc():
    row = cluster("c", [alert(1, 5.0, ATTACKER, "web-01", "Exploit attempt", url="https://web-01/admin?id=1")])
    assert campaign(document([row], [flow("f-1", [row], [])]))["iocs"]["url"] == []


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("DNS query for bad-site.xyz", {}, {("domain", "bad-site.xyz")}),
        ("Process cmd.exe started by Trojan.Win32.Agent in setup.ps1", {}, set()),
        ("ET DNS Query for .cc TLD", {}, set()),
        ("Odd login", {"query": "c2.weird-tld.zip"}, {("domain", "c2.weird-tld.zip")}),
        ("Odd login", {"hostname": "ws-11.corp.local"}, set()),
        ("Odd login", {"note": {"deep": ["seen at 203.0.113.77, twice"]}}, {("ip", "203.0.113.77")}),
        ("Odd login", {"peer": "2001:db8:0:1::15"}, {("ip", "2001:db8:0:1::15")}),
        ("Odd login", {"mac": "aa:bb:cc:dd:ee:ff", "at": "12:30:45", "version": "1.2.3"}, set()),
        ("Odd login", {"trace": "0123456789abcdef" * 2}, set()),
        ("Odd login", {"md5": "0123456789ABCDEF" * 2}, {("hash", "0123456789abcdef" * 2)}),
        ("Odd login", {"cert": "CN=evil"}, {("certificate", "CN=evil")}),
        ("Odd login", {"url": "/login.php"}, {("url", "/login.php")}),
        ("Odd login", {"mail": "joe@partner.com"}, set()),
        ("Odd login", {"port": 443, "priority": None, "url": ""}, set()),
    ],
)
def test_indicators(name, attributes, expected):
    assert indicators(alert(1, 1.0, "a", "b", name, **attributes)) == expected


def test_indicators_of_hostile_text_take_no_time():
    for text in ("a." * 5_000_000, "http://" * 1_000_000, "1." * 5_000_000, ":" * 10_000_000, "f" * 10_000_000):
        indicators(alert(1, 1.0, "a", "b", text, note=text))


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ("http://evil.example/a.b", "hxxp://evil[.]example/a.b"),
        ("https://1.2.3.4:8443/x", "hxxps://1[.]2[.]3[.]4:8443/x"),
        ("198.51.100.7", "198[.]51[.]100[.]7"),
        ("2001:db8::1", "2001[:]db8[:][:]1"),
        ("evil.example", "evil[.]example"),
    ],
)
def test_defang(value, safe):
    assert defang(value) == safe


def test_side_of():
    sides = [
        side_of(host) for host in ("10.1.2.3", "100.64.0.1", "fd00::1", "8.8.8.8", "203.0.113.1", "ws-1", "224.0.0.1")
    ]
    assert sides == ["internal", "internal", "internal", "external", "external", "unknown", "not a host"]


def test_events_hold_mapped_and_raw_data():
    last = campaign(intrusion())["events"][-1]
    assert last == {
        "id": "run-1-x1",
        "run_id": "run-1",
        "cluster_id": "c-spread",
        "time": 1_790_003_600.0,
        "src": DB,
        "dst": "203.0.113.9",
        "name": "Large upload to rare host",
        "techniques": ["T1048"],
        "tactics": ["Exfiltration"],
        "stage": "Campaign goals",
        "attributes": {},
        "raw": {"eve": {"flow": 1}},
    }


def test_events_of_a_flood_leave_room_for_the_rest():
    flood = cluster("c-flood", [alert(n, float(n), ATTACKER, WEB, "Password guessing", "T1110") for n in range(1_000)])
    quiet = cluster("c-quiet", [alert(f"q{n}", 5_000.0 + n, WEB, DB, f"Step {n}", "T1021") for n in range(30)])
    enriched = document([flood, quiet], [flow("f-1", [flood, quiet], [])])
    found = campaign(enriched)
    assert len(found["events"]) == campaigns.MAX_EVENTS
    assert sum(event["cluster_id"] == "c-quiet" for event in found["events"]) == 30
    assert campaign(enriched, found)["events"] == found["events"]


def test_counts_of_a_cut_cluster_stand_for_all_its_alerts():
    listed = [alert(n, float(n), ATTACKER, WEB, "Password guessing", "T1110") for n in range(900)]
    listed += [alert(f"s{n}", 900.0, ATTACKER, WEB, "Success after guessing", "T1078") for n in range(100)]
    names = {"Password guessing": 9_900, "Success after guessing": 100}
    row = cluster("c", listed, alert_count=10_000, total_alert_count=10_000, names=names)
    found = campaign(document([row], [flow("f-1", [row], [])]))
    counts = {t["id"]: t["alert_count"] for stage in found["stages"] for t in stage["techniques"]}
    assert counts == {"T1110": 9_900, "T1078": 100}
    assert found["victims"][0]["alert_count"] == 10_000


def test_repeated_run_counts_once():
    first = campaign(intrusion())
    assert campaign(intrusion(), first) == first


def test_repeated_run_that_comes_out_otherwise_replaces_the_first_try():
    first = campaign(intrusion())
    again = intrusion()
    again["clusters"].pop(0)
    again["flows"][0]["cluster_ids"].remove("c-scan")
    second = campaign(again, first)
    assert stages(second)["Recon"]["alert_count"] == 0
    assert {event["cluster_id"] for event in second["events"]} == {"c-entry", "c-spread"}


def test_next_run_adds_up():
    first = campaign(intrusion())
    following = intrusion("run-2", start=1_790_100_000.0)
    for row in following["clusters"]:
        row["total_alert_count"] *= 2
    second = campaign(following, first)
    assert stages(second)["Recon"]["alert_count"] == 8
    assert second["alert_count"] == 16
    assert len(second["events"]) == 16
    assert second["runs"] == ["run-1", "run-2"]
    assert second["timeframe"] == {
        "start_time": 1_790_000_000.0, "end_time": 1_790_103_600.0, "duration_seconds": 103_600.0
    }  # fmt: skip
    assert campaign(following, second) == second


def test_cluster_of_an_earlier_run_stays_in_the_campaign():
    first = campaign(intrusion())
    later = cluster("c-later", [alert("late", 1_790_200_000.0, DB, "203.0.113.9", "Upload again", "T1048")])
    flows = [flow("f-1", [*intrusion()["clusters"], later], [])]
    second = campaign(document([later], flows, "run-2"), first)
    assert [row["cluster_id"] for row in second["clusters"]] == ["c-scan", "c-entry", "c-spread", "c-later"]
    assert second["alert_count"] == 9


def test_absorbed_campaign_moves_here_once():
    other_row = cluster("c-other", [alert("o1", 1_789_990_000.0, "198.51.100.99", FILES, "Odd login", "T1078")])
    other = campaign(document([other_row], [flow("f-0", [other_row], [])], "run-0"))
    enriched = intrusion("run-1")
    merged = campaign(enriched, absorbed=(other,))
    assert merged["absorbed"] == ["f-0"]
    assert FILES in names(merged["victims"])
    assert "o1" in {event["id"] for event in merged["events"]}
    assert campaign(enriched, copy.deepcopy(merged), absorbed=(other,)) == merged


def test_merges_are_followed_to_the_last_survivor():
    enriched = intrusion() | {"merged_flows": [{"flow_id": "a", "into": "b"}, {"flow_id": "b", "into": "f-1"}]}
    assert read_run(enriched).absorbed == {"f-1": ["a", "b"]}


def test_merges_in_a_circle_end():
    enriched = intrusion() | {"merged_flows": [{"flow_id": "a", "into": "b"}, {"flow_id": "b", "into": "a"}]}
    assert read_run(enriched).absorbed.keys() <= {"a", "b"}


def test_huge_raw_record_is_cut():
    row = cluster("c", [alert(1, 5.0, "a", "b", "Odd thing", raw={"payload": "ä" * 100_000})])
    raw = campaign(document([row], [flow("f-1", [row], [])]))["events"][0]["raw"]
    assert set(raw) == {"cut"} and len(raw["cut"]) < 16_001


def test_row_is_small_and_state_comes_from_it():
    found = campaign(intrusion())
    row = row_of(found)
    assert row["victims"] == [host["name"] for host in found["victims"]]
    assert row["stages"]["Recon"] == 4
    assert "status" not in row
    seen = shown(found, row | {"status": "closed", "verdict": "benign"})
    assert (seen["status"], seen["feedback"]["verdict"]) == ("closed", "benign")
    assert "tally" not in seen


def test_scan_of_many_hosts_keeps_a_bounded_document():
    rows = [
        cluster(
            f"c{k}",
            [alert(f"{k}-{n}", float(n), ATTACKER, f"10.{k}.{n // 250}.{n % 250}", "Sweep") for n in range(1_000)],
        )
        for k in range(5)
    ]
    found = campaign(document(rows, [flow("f-1", rows, [])]))
    assert len(found["victims"]) <= 500
    assert len(json.dumps(found)) < 2_000_000
