import json
import random
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import stix2
from referencing import Registry, Resource

from tests.unit.enriched import ATTACKER, DB, WEB, alert, cluster, document, flow, intrusion
from watchfloor.attack_flow import EXTENSION_ID, bundle_of
from watchfloor.campaigns import campaign_of, read_run

SCHEMA = Path(__file__).resolve().parents[3] / "shared" / "reference" / "specs" / "attack-flow-schema-2.0.0.json"
EXTENSION_TYPES = {"attack-flow", "attack-action", "attack-operator", "attack-asset"}
IDENTIFIER = r"^[a-z][a-z0-9-]+[a-z0-9]--[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$"


def bundle(enriched: dict) -> dict[str, Any]:
    run = read_run(enriched)
    return bundle_of(campaign_of(run, run.flows[0]))


def of_type(found: dict, stix_type: str) -> list[dict]:
    return [item for item in found["objects"] if item["type"] == stix_type]


def steps(count: int, *edges: tuple[Any, ...], **changes: Any) -> dict:
    """`count` clusters of one alert each, a minute apart, with these edges between them."""
    rows = [
        cluster(f"c{n}", [alert(n, 1_790_000_000.0 + 60 * n, ATTACKER, WEB, f"Step {n}", "T1110")], **changes)
        for n in range(count)
    ]
    return document(rows, [flow("f-1", rows, [[f"c{a}", f"c{b}", *rest] for a, b, *rest in edges])])


def names_along(found: dict) -> dict[str, set[str]]:
    """Clusters that follow each cluster, read back from the bundle, through operators."""
    by_id = {item["id"]: item for item in found["objects"]}

    def cluster_of(action: dict) -> str:
        return action["description"].removeprefix("Cluster ").partition(",")[0]

    def targets(item: dict) -> set[str]:
        direct = [by_id[ref] for ref in item.get("effect_refs", [])]
        return set().union(*(targets(t) if t["type"] == "attack-operator" else {cluster_of(t)} for t in direct))

    return {cluster_of(action): targets(action) for action in of_type(found, "attack-action")}


def assert_sound(found: dict) -> None:
    """The rules of the Attack Flow language that its schema cannot express."""
    ids = [item["id"] for item in found["objects"]]
    assert len(ids) == len(set(ids))
    assert len(of_type(found, "attack-flow")) == 1
    assert EXTENSION_ID in ids
    for item in found["objects"]:
        for key, value in item.items():
            if key.endswith(("_refs", "_ref")):
                assert value and set([value] if isinstance(value, str) else value) <= set(ids), (item["type"], key)
        if item["type"] in EXTENSION_TYPES:
            assert item["extensions"] == {EXTENSION_ID: {"extension_type": "new-sdo"}}
            assert re.match(IDENTIFIER, item["id"]) and item["spec_version"] == "2.1"
            assert item["created"] <= item["modified"]
        for key in ("created", "modified", "execution_start", "execution_end"):
            assert key not in item or re.match(TIMESTAMP, item[key])
    # All that happens can be reached from where the flow starts, and nothing leads back to itself.
    following = {item["id"]: item.get("effect_refs", []) for item in found["objects"]}
    seen: set[str] = set()

    def visit(node: str, path: frozenset[str]) -> None:
        assert node not in path
        if node not in seen:
            for target in following[node]:
                visit(target, path | {node})
            seen.add(node)

    for start in of_type(found, "attack-flow")[0]["start_refs"]:
        visit(start, frozenset())
    assert seen == {i["id"] for i in found["objects"] if i["type"] in ("attack-action", "attack-operator")}


def test_bundle_is_sound():
    assert_sound(bundle(intrusion()))


def test_bundle_is_the_same_for_the_same_campaign():
    assert bundle(intrusion()) == bundle(intrusion())


def test_bundle_is_read_back_by_stix2():
    parsed = stix2.parse(bundle(intrusion()), allow_custom=True)
    assert json.loads(parsed.serialize()) == bundle(intrusion())


def test_actions_carry_technique_tactic_time_and_confidence():
    action = next(a for a in of_type(bundle(intrusion()), "attack-action") if a.get("technique_id") == "T1048")
    assert action["name"] == "Exfiltration Over Alternative Protocol"
    assert action["tactic_id"] == "TA0010"
    assert action["execution_start"] == "2026-09-21T15:13:20Z"
    assert action["confidence"] == 60


def test_techniques_of_a_cluster_follow_each_other_in_time():
    found = bundle(intrusion())
    by_id = {item["id"]: item for item in found["objects"]}
    chain, action = [], by_id[of_type(found, "attack-flow")[0]["start_refs"][0]]
    while True:
        chain.append(action["technique_id"])
        if "effect_refs" not in action:
            break
        (following,) = action["effect_refs"]
        action = by_id[following]
    assert chain == ["T1595.001", "T1190", "T1505.003", "T1021.002", "T1048"]


def test_hosts_become_assets_with_their_address():
    found = bundle(intrusion())
    by_id = {item["id"]: item for item in found["objects"]}
    assets = {a["name"]: by_id[a["object_ref"]]["value"] for a in of_type(found, "attack-asset") if "object_ref" in a}
    assert {WEB: WEB, DB: DB}.items() <= assets.items()


def test_unknown_technique_keeps_its_id_as_its_name():
    row = cluster("c", [alert(1, 5.0, ATTACKER, WEB, "Odd thing", "T9999")])
    (action,) = of_type(bundle(document([row], [flow("f-1", [row], [])])), "attack-action")
    assert (action["name"], action["technique_id"]) == ("T9999", "T9999")
    assert "tactic_id" not in action


def test_cluster_without_technique_is_one_action_named_by_its_alerts():
    row = cluster("c", [alert(1, 5.0, ATTACKER, WEB, "Odd thing")])
    found = bundle(document([row], [flow("f-1", [row], [])]))
    (action,) = of_type(found, "attack-action")
    assert action["name"] == "Odd thing" and "technique_id" not in action
    assert_sound(found)


def test_several_ways_to_one_step_meet_in_an_operator():
    found = bundle(steps(3, (0, 2), (1, 2)))
    (operator,) = of_type(found, "attack-operator")
    assert operator["operator"] == "OR"
    assert names_along(found) == {"c0": {"c2"}, "c1": {"c2"}, "c2": set()}
    assert_sound(found)


def test_circles_are_opened_at_the_edge_that_leads_back_in_time():
    found = bundle(steps(3, (0, 1), (1, 2), (2, 0), (1, 1)))
    assert names_along(found) == {"c0": {"c1"}, "c1": {"c2"}, "c2": set()}
    assert "2 edges that lead back" in of_type(found, "attack-flow")[0]["description"]
    assert_sound(found)


def test_clusters_without_edges_all_start_the_flow():
    found = bundle(steps(3))
    assert len(of_type(found, "attack-flow")[0]["start_refs"]) == 3
    assert_sound(found)


def test_campaign_of_forgotten_clusters_still_has_an_action():
    row = cluster("c", [alert(1, 5.0, ATTACKER, WEB, "Odd thing", "T1110")])
    found = bundle(document([], [flow("f-1", [row], [])]))
    assert [action["technique_id"] for action in of_type(found, "attack-action")] == ["T1110"]
    assert_sound(found)


@pytest.mark.parametrize("seed", range(10))
def test_any_flow_gives_a_sound_bundle(seed):
    chance = random.Random(seed)
    count = chance.randint(1, 12)
    edges = [(chance.randrange(count), chance.randrange(count), chance.random()) for _ in range(chance.randint(0, 30))]
    assert_sound(bundle(steps(count, *edges)))


def test_odd_times_are_clamped():
    row = cluster("c", [alert(1, -5.0, ATTACKER, WEB, "Odd thing"), alert(2, 1e15, ATTACKER, WEB, "Odd thing")])
    assert_sound(bundle(document([row], [flow("f-1", [row], [])])))


@pytest.mark.skipif(not SCHEMA.exists(), reason=f"SKIPPED, not checked against the official schema: {SCHEMA} is absent")
@pytest.mark.parametrize("enriched", [intrusion(), steps(4, (0, 3), (1, 3, 0.5), (3, 0)), steps(1)])
def test_bundle_is_valid_against_the_attack_flow_schema(enriched):
    raw = "http://raw.githubusercontent.com/oasis-open/cti-stix2-json-schemas/stix2.1/schemas/common"
    identifier = {"type": "string", "pattern": IDENTIFIER}
    timestamp = {"type": "string", "pattern": TIMESTAMP}
    # The common properties of STIX 2.1, section 3.2.
    core = {
        "type": "object",
        "required": ["type", "spec_version", "id", "created", "modified"],
        "properties": {
            "type": {"type": "string", "pattern": "^[a-z0-9-]{3,250}$"},
            "spec_version": {"enum": ["2.0", "2.1"]},
            "id": identifier,
            "created_by_ref": identifier,
            "created": timestamp,
            "modified": timestamp,
            "revoked": {"type": "boolean"},
            "labels": {"type": "array", "items": {"type": "string"}},
            "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
            "lang": {"type": "string"},
            "external_references": {"type": "array"},
            "object_marking_refs": {"type": "array", "items": identifier},
            "extensions": {"type": "object"},
        },
    }
    parts: dict[str, dict[str, Any]] = {
        f"{raw}/identifier.json": identifier,
        f"{raw}/core.json": core,
        f"{raw.replace('http:', 'https:').replace('stix2.1', 'master')}/timestamp.json": timestamp,
    }
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    registry: Registry = Registry().with_resources(
        (uri, Resource.from_contents(draft | schema)) for uri, schema in parts.items()
    )
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()), registry=registry)
    checked = [item for item in bundle(enriched)["objects"] if item["type"] in EXTENSION_TYPES]
    assert checked
    for item in checked:
        validator.validate(item)
