"""Batches into clusters, clusters into a run."""

import orjson
import pytest

from watchfloor.batches import (
    cluster_request,
    id_map,
    read_cluster_answer,
    read_technique_answers,
    stream_prefix,
    techniques_above,
)
from watchfloor.clusters import RunClusters, batch_clusters, combine, survivor, touched
from watchfloor.errors import ModelError


def alert(i: int, **fields: object) -> dict:
    return {
        "i": i,
        "id": f"a{i}",
        "time": float(i),
        "src": "s",
        "dst": "d",
        "name": "n",
        "tech": [],
        "attributes": {},
        **fields,
    }


def answer(*clusters: tuple, state: dict | None = None) -> dict:
    rows = [
        {"cluster_id": key, "alerts": alerts, "status": status, **({"into": into[0]} if into else {})}
        for key, alerts, status, *into in clusters
    ]
    return {"clusters": rows, "state": state or {}}


def part(alerts: list[dict], *clusters: tuple, prefix: str = "") -> dict:
    return batch_clusters(alerts, {}, read_cluster_answer(answer(*clusters), alerts), prefix)


def test_cluster_request_fills_techniques_and_passes_only_its_own_nodes():
    alerts = [alert(0), alert(1, name="m", tech=["T1595"], src="x")]
    request = cluster_request(
        alerts, {"n": ["T1110"], "m": ["T1110"]}, {"x": {"os": 1}, "y": {"os": 2}}, {"k": 1}, final=True
    )
    assert [row["tech"] for row in request["alerts"]] == [["T1110"], ["T1595"]]
    assert request["node_feature"] == {"x": {"os": 1}}
    assert request["state"] == {"k": 1}
    assert request["final"] is True
    assert "id" not in request["alerts"][0]


def test_cluster_request_refuses_a_state_that_outgrew_its_bound():
    with pytest.raises(ModelError, match="state"):
        cluster_request([alert(0)], {}, {}, {"k": "x" * 20_000_001}, final=False)


def test_id_map_keeps_ids_as_given():
    assert id_map([alert(5, id=7), alert(6, id="b")]) == {"first": 5, "last": 6, "given_ids": [7, "b"]}


@pytest.mark.parametrize(
    "wrong",
    [
        answer(("a", [0], "new")),  # alert 1 forgotten
        answer(("a", [0, 1], "new"), ("b", [1], "new")),  # alert 1 twice
        answer(("a", [0, 1, 2], "new")),  # alert 2 is not of this batch
        answer(("a", [0, 1], "merged")),  # into which?
        answer(("a", [0, 1], "merged", "a")),
        answer(("a", [0, 1], "merged", "")),
        answer(("a", [0], "new"), ("a", [1], "continued")),
        answer(("a", [0, 1], "odd")),
        answer(("../a", [0, 1], "new")),
        {"clusters": []},
        [],
    ],
)
def test_read_cluster_answer_refuses_what_breaks_the_contract(wrong):
    with pytest.raises(ModelError):
        read_cluster_answer(wrong, [alert(0), alert(1)])


def test_technique_answers_must_match_names_in_order():
    lines = [{"name": "a", "techniques": [{"id": "T1110", "score": 0.9}]}, {"name": "b", "techniques": []}]
    assert dict(read_technique_answers(["a", "b"], lines)) == {"a": [{"id": "T1110", "score": 0.9}], "b": []}
    for names, answers in ((["a"], lines), (["a", "b", "c"], lines), (["b", "a"], lines), (["a"], [{"name": "a"}])):
        with pytest.raises(ModelError):
            list(read_technique_answers(names, answers))


def test_technique_answer_that_is_no_json_is_the_models_fault():
    with pytest.raises(ModelError, match="not JSON"):
        list(read_technique_answers(["a"], map(orjson.loads, ["{"])))


def test_techniques_above_keeps_sure_and_known_ones():
    scored = [{"id": "T1110", "score": 0.9}, {"id": "T9999", "score": 0.9}, {"id": "T1595", "score": 0.2}]
    assert techniques_above(scored, 0.35) == ["T1110"]


def test_stream_prefix_keeps_streams_apart():
    assert stream_prefix("default") == ""
    assert stream_prefix("a") != stream_prefix("b")


def test_combine_places_every_alert_once_and_follows_merges():
    first = part([alert(0), alert(1), alert(2)], ("a", [0, 1], "new"), ("b", [2], "new"))
    second = part([alert(3), alert(4)], ("a", [3], "merged", "b"), ("c", [4], "new"))
    clusters, agg_alert = combine([first, second], {}, "run")
    assert clusters.merged == {"a": "b"}
    assert [agg_alert["cluster_ids"][n] for n in agg_alert["assignment"]] == ["b", "b", "b", "b", "c"]
    assert clusters.run["b"].count == 4
    assert clusters.row("b")["first_seen_run"] == "run"
    assert clusters.row("b")["updated"] is False


def test_combine_adds_earlier_runs_once():
    old, _ = combine([part([alert(0), alert(1)], ("a", [0], "new"), ("z", [1], "new"))], {}, "one")
    before = {key: totals.to_json() for key, totals in old.total.items()}
    parts = [part([alert(0, time=50.0), alert(1, time=60.0)], ("a", [0, 1], "continued"), ("z", [], "merged", "a"))]
    assert touched(parts) == {"a", "z"}
    clusters, _ = combine(parts, before, "two")
    row = clusters.row("a")
    assert (row["alert_count"], row["total_alert_count"]) == (2, 4)
    assert (row["first_seen_run"], row["updated"]) == ("one", True)
    assert (row["start_time"], row["end_time"]) == (0.0, 60.0)
    assert RunClusters.from_json(clusters.to_json()).row("a") == row


def test_survivor_follows_chains():
    assert survivor("a", {"a": "b", "b": "c"}) == "c"


def test_merges_in_a_circle_are_the_models_fault():
    first = part([alert(0)], ("a", [0], "merged", "b"))
    second = part([alert(1)], ("b", [1], "merged", "a"))
    with pytest.raises(ModelError, match="merged"):
        combine([first, second], {}, "run")


def test_totals_of_the_longest_names_and_hosts_fit_into_an_item():
    alerts = [
        alert(i, src="\u20ac" * 1_023 + chr(65 + i), dst="\x01" * 1_024, name=f"{i:02}" * 5_000) for i in range(26)
    ]
    clusters, _ = combine([part(alerts, ("a", list(range(26)), "new"))], {}, "run")
    kept = clusters.total["a"].to_json()
    assert kept["src"] and kept["dst"] and kept["names"]
    assert 2 * len(orjson.dumps(orjson.dumps(kept).decode())) < 400_000


def test_batch_clusters_prefixes_ids():
    added = part([alert(0), alert(1)], ("a", [0], "merged", "b"), ("b", [1], "new"), prefix="p-")
    assert set(added["clusters"]) == {"p-a", "p-b"}
    assert added["merged"] == {"p-a": "p-b"}
