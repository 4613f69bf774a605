from tests.unit.enriched import ATTACKER, WEB, alert, cluster, document, flow, intrusion
from watchfloor.attack import techniques
from watchfloor.campaigns import read_run
from watchfloor.navigator import layer_of

TACTICS = {tactic.lower().replace(" ", "-") for technique in techniques().values() for tactic in technique.tactics}


def layer(enriched: dict, **names: str) -> dict:
    return layer_of(read_run(enriched), names)


def scores(found: dict) -> dict[str, int]:
    return {entry["techniqueID"]: entry["score"] for entry in found["techniques"] if "score" in entry}


def test_layer_has_the_format_of_navigator_4_5():
    found = layer(intrusion())
    assert found["versions"] == {"attack": "18", "navigator": "5.2.0", "layer": "4.5"}
    assert found["domain"] == "enterprise-attack"
    assert found["gradient"]["maxValue"] > found["gradient"]["minValue"]
    for entry in found["techniques"]:
        assert entry["techniqueID"] in techniques()
        assert entry.get("tactic", "impact") in TACTICS
        assert all(set(item) == {"name", "value"} for item in entry.get("metadata", []))


def test_scores_are_alert_counts():
    assert scores(layer(intrusion())) == {"T1595.001": 4, "T1190": 1, "T1505.003": 1, "T1021.002": 1, "T1048": 1}


def test_parents_of_sub_techniques_are_opened():
    found = layer(intrusion())
    opened = {entry["techniqueID"] for entry in found["techniques"] if "score" not in entry}
    assert opened == {"T1595", "T1505", "T1021"}


def test_technique_appears_under_each_of_its_tactics():
    row = cluster("c", [alert(1, 5.0, ATTACKER, WEB, "Odd login", "T1078")])
    found = layer(document([row], [flow("f-1", [row], [])]))
    assert {entry["tactic"] for entry in found["techniques"]} == {
        "initial-access", "persistence", "privilege-escalation", "defense-evasion"
    }  # fmt: skip


def test_comment_names_the_campaigns():
    entry = layer(intrusion(), **{"f-1": "Exfiltration on db-02"})["techniques"][0]
    assert entry["comment"].endswith("alerts in: Exfiltration on db-02")


def test_cluster_in_two_flows_counts_once():
    row = cluster("c", [alert(1, 5.0, ATTACKER, WEB, "Odd login", "T1110")])
    assert scores(layer(document([row], [flow("f-1", [row], []), flow("f-2", [row], [])]))) == {"T1110": 1}


def test_unknown_technique_and_empty_run_are_left_out():
    row = cluster("c", [alert(1, 5.0, ATTACKER, WEB, "Odd login", "T9999")])
    assert layer(document([row], [flow("f-1", [row], [])]))["techniques"] == []
    assert layer(document([], []))["gradient"]["maxValue"] == 1
