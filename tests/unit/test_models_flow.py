"""Properties of the flow model."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import BadRequestError
from models.flow import train, update
from models.flow.order import comes_first, prerequisites, step
from watchfloor.attack import techniques

Cluster = dict[str, Any]
HOUR = 3600.0


def cluster(
    name: str, hosts: list[str], start: float, seconds: float = 60, count: int = 5, *techniques: str
) -> Cluster:
    return {
        "cluster_id": name, "techniques": list(techniques), "tactics": ["Execution"] if techniques else [],
        "src": hosts, "dst": hosts, "start_time": start, "end_time": start + seconds, "alert_count": count,
    }  # fmt: skip


def attack() -> list[Cluster]:
    return [
        cluster("step-01", ["web"], 0, 60, 20, "T1595", "T1190"),
        cluster("burst-02", ["web"], 30, 600, 5000, "T1110"),
        cluster("step-03", ["web", "db"], HOUR / 2, 60, 9, "T1059", "T1548"),
        cluster("step-04", ["db"], HOUR, 60, 4, "T1041"),
    ]


def test_clusters_of_one_host_soon_after_each_other_are_one_flow() -> None:
    flows, _ = update(attack(), None)
    assert len(flows) == 1
    assert set(flows[0]["cluster_ids"]) == {"step-01", "burst-02", "step-03", "step-04"}


def test_edges_lead_forward_and_reach_everything() -> None:
    (flow,), _ = update(attack(), None)
    position = {name: number for number, name in enumerate(flow["cluster_ids"])}
    assert all(position[a] < position[b] and 0 < sure <= 1 for a, b, sure in flow["edges"])
    assert {b for _, b, _ in flow["edges"]} == set(flow["cluster_ids"][1:])


def test_other_hosts_and_later_days_are_other_flows() -> None:
    others = [cluster("step-05", ["mail"], 100), cluster("step-06", ["web"], 30 * HOUR)]
    flows, _ = update([*attack(), *others], None)
    assert sorted(len(flow["cluster_ids"]) for flow in flows) == [1, 1, 4]


def test_routine_is_in_no_flow() -> None:
    flows, _ = update([cluster("routine-07", ["web"], 0, 80_000, 900, "T1595")], None)
    assert flows == []


def test_prefix_of_the_stream_does_not_hide_the_kind() -> None:
    assert update([cluster("office.routine-07", ["web"], 0)], None)[0] == []


def test_attack_scores_above_noise() -> None:
    noise = [cluster(f"step-1{n}", [f"pc{n}"], n * HOUR, 10, 3, "T1078") for n in range(9)]
    flows, _ = update([*attack(), *noise], None)
    assert "burst-02" in flows[0]["cluster_ids"]
    assert flows[0]["score"] > 2 * flows[1]["score"]


def test_what_comes_every_day_scores_less_and_less() -> None:
    daily = [cluster(f"step-1{n}", [f"pc{n}"], n * 24 * HOUR, 10, 3, "T1078") for n in range(5)]
    flows, _ = update(daily, None)
    score = {flow["cluster_ids"][0]: flow["score"] for flow in flows}
    assert score["step-10"] > score["step-11"] > score["step-12"]


def test_later_run_keeps_the_flow_id_and_names_all_its_clusters() -> None:
    first, state = update(attack()[:2], None)
    second, _ = update(attack()[2:], orjson.loads(orjson.dumps(state)))
    assert [flow["flow_id"] for flow in first] == [flow["flow_id"] for flow in second]
    assert len(second[0]["cluster_ids"]) == 4


def test_continued_cluster_changes_its_flow_only() -> None:
    _, state = update([*attack(), cluster("step-05", ["mail"], 100)], None)
    (flow,), _ = update([cluster("step-04", ["db"], HOUR, 500, 40, "T1041", "T1567")], state)
    assert "step-04" in flow["cluster_ids"] and len(flow["cluster_ids"]) == 4


def test_cluster_between_two_flows_joins_them() -> None:
    apart = [cluster("step-01", ["a"], 0), cluster("step-02", ["b"], 60)]
    first, state = update(apart, None)
    assert len(first) == 2
    (flow,), _ = update([cluster("step-03", ["a", "b"], 120)], state)
    assert set(flow["cluster_ids"]) == {"step-01", "step-02", "step-03"}
    assert {flow["flow_id"], *flow["merged"]} == {row["flow_id"] for row in first}


def test_each_run_of_one_whole_gives_the_same_flows() -> None:
    clusters = [*attack(), cluster("step-05", ["mail"], 100)]
    whole, _ = update(clusters, None)
    state = None
    found = {}
    for row in sorted(clusters, key=lambda row: row["start_time"]):
        flows, state = update([row], state)
        for flow in flows:
            found[flow["flow_id"]] = flow
            for name in flow.get("merged", ()):
                found.pop(name)
    assert {frozenset(flow["cluster_ids"]) for flow in whole} == {frozenset(f["cluster_ids"]) for f in found.values()}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**5), st.lists(st.sampled_from("abcdef"), max_size=3)),
        max_size=30,
    )
)
def test_every_cluster_is_in_exactly_one_flow(rows: list) -> None:
    clusters = [cluster(f"step-{n:02x}", hosts, start, length) for n, (start, length, hosts) in enumerate(rows)]
    flows, state = update(clusters, None)
    told = [name for flow in flows for name in flow["cluster_ids"]]
    assert sorted(told) == sorted(row["cluster_id"] for row in clusters)
    for flow in flows:
        assert {name for edge in flow["edges"] for name in edge[:2]} <= set(flow["cluster_ids"])
    orjson.dumps(state)


def test_closed_flows_leave_the_state() -> None:
    state = None
    for day in range(40):
        _, state = update([cluster(f"step-{day:02x}", ["web"], day * 24 * HOUR, 60, 5, "T1078")], state)
    assert state and len(state["flows"]) <= 3


@pytest.mark.parametrize("state", [{"version": 99}, {"version": 1}, {"flows": 1}])
def test_state_of_another_model_is_refused(state: dict) -> None:
    with pytest.raises(BadRequestError, match="state"):
        update([], state)


def test_full_flow_takes_no_more() -> None:
    flows, _ = update([cluster(f"step-{n:03x}", ["web"], n * 60.0) for n in range(450)], None)
    assert sorted(len(flow["cluster_ids"]) for flow in flows) == [50, 200, 200]


def test_clusters_at_once_fill_one_flow_after_the_other() -> None:
    flows, _ = update([cluster(f"step-{n:03x}", ["web"], 0.0) for n in range(450)], None)
    assert sorted(len(flow["cluster_ids"]) for flow in flows) == [50, 200, 200]


def test_order_knows_what_a_step_needs() -> None:
    phishing, code, dump, lateral, ransom = (step([t]) for t in ("T1566.001", "T1059.001", "T1003", "T1021", "T1486"))
    for earlier, later in [(phishing, code), (code, dump), (dump, lateral), (lateral, ransom), (phishing, ransom)]:
        assert comes_first(earlier, later) > 0.6
        assert comes_first(later, earlier) == pytest.approx(1 - comes_first(earlier, later))


def test_order_does_not_guess_without_evidence() -> None:
    assert comes_first(step([]), step([])) == 0.5
    assert comes_first(step(["T1003.001"]), step(["T1003.002"])) == 0.5
    assert comes_first(step(["T0000"]), step(["X"], ["No such tactic"])) == 0.5


def test_order_goes_by_tactics_where_no_technique_is_known() -> None:
    assert comes_first(step(["T0000"], ["Collection"]), step([], ["Exfiltration"])) > 0.6
    assert step(["T1005"], ["Impact"]).techniques == ("T1005",)
    assert comes_first(step(["T1005"], ["Impact"]), step(["T1041"])) == comes_first(step(["T1005"]), step(["T1041"]))


@pytest.mark.parametrize("ahead", [0, 30, -30])
def test_clusters_that_start_together_are_ordered_by_what_they_need(ahead: int) -> None:
    dump = cluster("step-0b", ["web"], 1000, 60, 5, "T1003")
    lateral = cluster("step-0a", ["web"], 1000 - ahead, 60, 5, "T1021")
    (flow,), _ = update([lateral, dump], None)
    assert flow["cluster_ids"] == ["step-0b", "step-0a"]
    assert flow["edges"][0][:2] == ["step-0b", "step-0a"]


def test_time_goes_before_what_clusters_need() -> None:
    dump, lateral = cluster("step-0b", ["web"], 1000, 60, 5, "T1003"), cluster("step-0a", ["web"], 870, 60, 5, "T1021")
    (flow,), _ = update([lateral, dump], None)
    assert flow["cluster_ids"] == ["step-0a", "step-0b"]


def test_edge_is_surer_where_the_first_gives_what_the_second_needs() -> None:
    def sure(first: str, second: str) -> float:
        pair = [cluster("step-0a", ["web"], 0, 60, 5, first), cluster("step-0b", ["web"], 600, 60, 5, second)]
        (flow,), _ = update(pair, None)
        return flow["edges"][0][2]

    assert sure("T1003", "T1021") > sure("T1003.001", "T1003.002") > sure("T1021", "T1003")


def test_every_technique_has_prerequisites_that_something_gives() -> None:
    table = prerequisites()["techniques"]
    rows = [*table.values(), *prerequisites()["tactics"].values()]
    assert {need for row in rows for need in row["needs"]} <= {gift for row in table.values() for gift in row["gives"]}
    assert {name for row in table.values() for name in row["leads_to"]} <= set(table)
    assert {tactic for row in table.values() for tactic in row["tactics"]} <= set(prerequisites()["tactics"])
    for known in techniques().values():
        if "." not in known.id:
            tactics = {tactic.lower().replace(" ", "-") for tactic in known.tactics}
            assert set(table[known.id]["tactics"]) == tactics


def test_learning_turns_what_flows_contradict_only_when_many_do() -> None:
    nodes = [{"n": 0, "technique": "T1021", "tactic": None}, {"n": 1, "technique": "T1003", "tactic": None}]
    rows, counts = train.examples([{"nodes": nodes, "edges": [[0, 1]]}] * 400, {})
    assert rows[0] @ train.fit(rows[:1], counts[:1]) < 0 < rows[0] @ train.fit(rows, counts)


def test_learning_counts_far_pairs_less() -> None:
    nodes = [{"n": n, "technique": t, "tactic": None} for n, t in enumerate(("T1566", "T1059", "T1486"))]
    _, counts = train.examples([{"nodes": nodes, "edges": [[0, 1], [1, 2]]}], {})
    assert sorted(counts) == [train.FAR, 1.0, 1.0]
