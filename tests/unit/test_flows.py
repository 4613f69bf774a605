"""The flow model's answer, and the documents made of it."""

import orjson
import pytest

from tests.unit.test_clusters import alert, part
from watchfloor.clusters import combine
from watchfloor.errors import InvalidInputError, ModelError
from watchfloor.flows import (
    ALERTS_SHOWN,
    RunEvents,
    cluster_rows,
    enriched_clusters,
    enriched_input,
    flow_of_cluster,
    flow_request,
    flow_rows,
    merged_flows,
    read_flow_answer,
)


@pytest.fixture
def run():
    alerts = [alert(0, tech=["T1595"]), alert(1, tech=["T1110"], id=9), alert(2, raw={"_id": "x"})]
    return alerts, *combine([part(alerts, ("a", [0, 1], "new"), ("b", [2], "new"))], {}, "run")


def flow(**fields: object) -> dict:
    row = {"flow_id": "f", "cluster_ids": ["a", "b"], "edges": [["a", "b", 0.5]], "score": 1.0, **fields}
    return {"flows": [row], "state": {}}


def test_flow_request_holds_every_cluster_with_totals(run):
    _, clusters, _ = run
    request = flow_request(clusters, None)
    assert [row["cluster_id"] for row in request["clusters"]] == ["a", "b"]
    assert request["clusters"][0]["alert_count"] == 2
    assert request["clusters"][0]["tactics"] == ["Credential Access", "Reconnaissance"]


def test_flow_request_names_fewer_hosts_rather_than_being_too_large(monkeypatch):
    alerts = [alert(i, src=f"host-{i:03}") for i in range(100)]
    clusters, _ = combine([part(alerts, ("a", list(range(100)), "new"))], {}, "run")
    monkeypatch.setattr("watchfloor.flows.REQUEST_BYTES", 800)
    assert len(flow_request(clusters, None)["clusters"][0]["src"]) == 20
    monkeypatch.setattr("watchfloor.flows.REQUEST_BYTES", 100)
    with pytest.raises(InvalidInputError, match="split the file"):
        flow_request(clusters, None)


@pytest.mark.parametrize(
    "wrong",
    [
        flow(edges=[["a", "z"]]),
        flow(edges=[["a"]]),
        flow(edges=[["a", ["b"]]]),
        flow(cluster_ids=[]),
        flow(cluster_ids=["a", "b", ""]),
        flow(flow_id="a/b"),
        flow(merged=[""]),
        flow(score=float("inf")),
        {"flows": 2 * flow()["flows"], "state": {}},
        {"flows": [{}]},
    ],
)
def test_read_flow_answer_refuses_what_breaks_the_contract(wrong):
    with pytest.raises(ModelError):
        read_flow_answer(wrong)


def test_flow_rows_put_survivors_in_place_of_merged_clusters(run):
    _, clusters, _ = run
    answer = read_flow_answer(flow(cluster_ids=["old", "a", "b"], edges=[["old", "a"], ["old", "b"]]))
    (row,) = flow_rows(answer, clusters.total, {"old": "a"}, "p-")
    assert row["flow_id"] == "p-f"
    assert row["cluster_ids"] == ["a", "b"]
    assert row["edges"] == [["a", "b"]]
    assert row["techniques"] == ["T1595", "T1110"]


def test_flow_rows_rank_the_worst_first(run):
    _, clusters, _ = run
    answer = read_flow_answer(
        {"flows": [flow(score=1)["flows"][0], flow(flow_id="g", score=2)["flows"][0]], "state": {}}
    )
    rows = flow_rows(answer, clusters.total, {}, "")
    assert [row["flow_id"] for row in rows] == ["g", "f"]
    assert flow_of_cluster(rows)["a"] == "g"


def test_flow_rows_refuse_flows_of_nothing_known():
    with pytest.raises(ModelError):
        flow_rows(read_flow_answer(flow()), {}, {}, "")


def test_events_keep_ids_as_given_and_clusters_name_them_as_strings(run):
    alerts, clusters, agg_alert = run
    events = RunEvents(agg_alert, {"n": ["T1046"]}, {"b"})
    rows = list(events.rows(alerts, {"a": "f"}))
    assert [row["id"] for row in rows] == ["a0", 9, "a2"]
    assert [(row["cluster_id"], row["flow_id"]) for row in rows] == [("a", "f"), ("a", "f"), ("b", None)]
    assert rows[2]["techniques"] == ["T1046"]
    assert [row["alert_ids"] for row in cluster_rows(clusters, events.alert_ids)] == [["a0", "9"], ["a2"]]
    written = orjson.loads(orjson.dumps(list(enriched_clusters(clusters, events, {}))))
    shown = {row["cluster_id"]: row["alerts"] for row in written}
    assert shown["a"] == []
    assert shown["b"][0]["raw"] == {"_id": "x"}


def test_events_show_a_bounded_number_of_alerts():
    alerts = [alert(i) for i in range(ALERTS_SHOWN + 5)]
    clusters, agg_alert = combine([part(alerts, ("a", list(range(len(alerts))), "new"))], {}, "run")
    events = RunEvents(agg_alert, {}, {"a"})
    list(events.rows(alerts, {}))
    (row,) = enriched_clusters(clusters, events, {})
    assert (len(row["alerts"]), len(row["alert_ids"]), row["alert_count"]) == (ALERTS_SHOWN, ALERTS_SHOWN, len(alerts))


def test_events_show_a_few_alerts_of_every_cluster_where_all_are_too_many():
    alerts = [alert(i, attributes={"text": "x" * 1_000}) for i in range(40)]
    clusters, agg_alert = combine(
        [part(alerts, ("a", list(range(30)), "new"), ("b", list(range(30, 40)), "new"))], {}, "r"
    )
    events = RunEvents(agg_alert, {}, {"a", "b"}, bytes_shown=12_000)
    list(events.rows(alerts, {}))
    assert [len(row["alerts"]) for row in enriched_clusters(clusters, events, {})] == [10, 3]


def test_enriched_input_tells_of_merges(run):
    _, clusters, _ = run
    clusters.merged["x"] = "a"
    answer = read_flow_answer(flow(merged=["old"]))
    about = enriched_input(
        {"run_id": "r", "stream": "s", "bucket": "b", "key": "k"},
        clusters,
        [],
        merged_flows(answer, ""),
        {"d": {"OS": "Linux"}, "elsewhere": {"OS": "BSD"}},
    )
    assert about["node_feature"] == {"d": {"OS": "Linux"}}
    assert about["merged_clusters"] == [{"cluster_id": "x", "into": "a"}]
    assert about["merged_flows"] == [{"flow_id": "old", "into": "f"}]
    assert about["source_uri"] == "s3://b/k"
