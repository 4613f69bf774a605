"""Properties of the clustering that hold for every stream."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cluster import Settings, explain, settings_from, update
from models.contract import BadRequestError

Alert = dict[str, Any]
START = 1_700_000_000.0


def alert(i: int, time: float, host: str, name: str, src: str | None = None, **attributes: Any) -> Alert:
    return {
        "i": i, "time": START + time, "src": src or host, "dst": host, "name": name, "tech": [], "attributes": attributes,
    }  # fmt: skip


def numbered(rows: Iterable[Alert]) -> list[Alert]:
    return [{**row, "i": i} for i, row in enumerate(sorted(rows, key=lambda row: row["time"]))]


def stream(seed: int, days: float = 2.0) -> list[Alert]:
    """Daily noise on five hosts, a scan with quiet steps inside, and a step later on."""
    dice = random.Random(seed)
    rows = []
    for host in "abcde":
        for name in ("update", "login", "dns"):
            pause = dice.choice([700, 3000, 9000])
            time = dice.random() * pause
            while time < days * 86400:
                rows += [alert(0, float(int(time)), host, name)] * dice.randint(1, 3)
                time += dice.expovariate(1 / pause)
    attack = (days - 0.3) * 86400
    for second in range(60):
        rows += [alert(0, attack + second, "a", "404", "x")] * dice.randint(5, 40)
    rows += [alert(0, attack + 20 + dice.random(), "a", name, "x") for name in ("webshell", "sudo", "new user")]
    rows += [alert(0, attack + 900 + dice.random(), "b", name, "a") for name in ("lateral", "sudo")]
    return numbered(rows)


def partition(batches: Iterable[list[Alert]], settings: Settings | None = None) -> dict[int, str]:
    """Alert -> cluster id after all merges, the state going through JSON between the batches."""
    state: Any = None
    where: dict[int, str] = {}
    into: dict[str, str] = {}
    for batch in batches:
        clusters, state = update(batch, {}, state, settings or Settings())
        state = orjson.loads(orjson.dumps(state))
        told = [i for row in clusters for i in row["alerts"]]
        assert sorted(told) == sorted(row["i"] for row in batch)
        for row in clusters:
            where.update(dict.fromkeys(row["alerts"], row["cluster_id"]))
            if row["status"] == "merged":
                assert row["into"]
                into[row["cluster_id"]] = row["into"]

    def survivor(name: str) -> str:
        return survivor(into[name]) if name in into else name

    return {i: survivor(name) for i, name in where.items()}


def groups(where: dict[int, str]) -> set[frozenset[int]]:
    found: dict[str, set[int]] = {}
    for i, name in where.items():
        found.setdefault(name, set()).add(i)
    return {frozenset(members) for members in found.values()}


small = st.lists(
    st.tuples(
        st.integers(0, 400).map(lambda n: n * 0.5), st.sampled_from("abc"), st.sampled_from("abc"),
        st.sampled_from(["scan", "login", "sudo"]), st.integers(1, 40),
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip


def spread(rows: list[tuple[float, str, str, str, int]]) -> list[Alert]:
    return numbered(alert(0, time, dst, name, src) for time, src, dst, name, count in rows for _ in range(count))


@settings(max_examples=150, deadline=None)
@given(small, st.randoms(use_true_random=False))
def test_order_of_equal_times_does_not_matter(rows: list, dice: random.Random) -> None:
    alerts = spread(rows)
    shuffled = list(alerts)
    dice.shuffle(shuffled)
    shuffled.sort(key=lambda row: row["time"])
    assert groups(partition([alerts])) == groups(partition([shuffled]))


@settings(max_examples=200, deadline=None)
@given(small, st.lists(st.integers(0, 400), max_size=6))
def test_borders_of_batches_do_not_matter(rows: list, cuts: list[int]) -> None:
    alerts = spread(rows)
    edges = [0, *sorted(min(cut, len(alerts)) for cut in cuts), len(alerts)]
    batches = [alerts[a:b] for a, b in itertools.pairwise(edges)]
    assert groups(partition(batches)) == groups(partition([alerts]))


@settings(max_examples=60, deadline=None)
@given(small, st.integers(-1_000_000, 1_000_000))
def test_shift_of_time_does_not_matter(rows: list, seconds: int) -> None:
    alerts = spread(rows)
    shifted = [{**row, "time": row["time"] + seconds} for row in alerts]
    assert groups(partition([alerts])) == groups(partition([shifted]))


@settings(max_examples=100, deadline=None)
@given(small)
def test_names_of_hosts_do_not_matter(rows: list) -> None:
    alerts = spread(rows)
    other = {"a": "zz", "b": "10.0.0.1", "c": "*c"}
    renamed = [{**row, "src": other[row["src"]], "dst": other[row["dst"]]} for row in alerts]
    assert groups(partition([alerts])) == groups(partition([renamed]))


@pytest.mark.parametrize("seed", range(5))
def test_long_stream_in_any_batches(seed: int) -> None:
    alerts = stream(seed)
    whole = groups(partition([alerts]))
    dice = random.Random(seed)
    for size in (1, 7, 100, 1000) if seed == 0 else (dice.randint(50, 500),):
        some = alerts if size > 1 else alerts[:1500]
        batches = [some[k : k + size] for k in range(0, len(some), size)]
        assert groups(partition(batches)) == (whole if size > 1 else groups(partition([some])))


def test_attack_is_apart_from_noise_and_scan_from_steps() -> None:
    alerts = stream(1)
    where = partition([alerts])
    of = {
        name: {where[row["i"]] for row in alerts if row["name"] == name}
        for name in ("404", "webshell", "sudo", "lateral")
    }
    noise = {where[row["i"]] for row in alerts if row["time"] - START > 86400 and row["name"] in ("update", "dns")}
    assert len(of["404"]) == 1
    assert of["webshell"] == of["sudo"] == of["lateral"]  # one attacker within half an hour
    assert not of["404"] & of["webshell"]
    assert not noise & (of["404"] | of["webshell"])


def test_two_floods_with_different_leaders_are_two_clusters() -> None:
    rows = [alert(0, second, "web", "404") for second in range(60) for _ in range(50)]
    rows += [alert(0, second, "web", "method") for second in range(20, 40) for _ in range(50)]
    where = partition([numbered(rows)])
    middle = {where[row["i"]] for row in numbered(rows) if 22 <= row["time"] - START < 39}
    early = {where[row["i"]] for row in numbered(rows) if row["time"] - START < 18}
    assert len(middle) == len(early) == 1
    assert middle != early


def test_later_file_continues_the_cluster_and_never_reuses_an_id() -> None:
    first, second = (
        stream(2),
        [alert(0, 2 * 86400 - 0.3 * 86400 + 1500, "b", "exfil"), alert(1, 10 * 86400, "q", "new")],
    )
    clusters, state = update(first, {}, None)
    known = {row["cluster_id"] for row in clusters}
    later, state = update([dict(row, i=n) for n, row in enumerate(second)], {}, state)
    joined = next(row for row in later if 0 in row["alerts"])
    assert joined["cluster_id"] in known or joined["status"] == "new"
    again, _ = update(first, {}, state)
    fresh = {row["cluster_id"] for row in again if row["status"] == "new"}
    assert not fresh & known


def test_pending_moment_is_merged_into_its_burst() -> None:
    rows = numbered(alert(0, second, "web", "404") for second in range(5) for _ in range(50))
    first, state = update(rows[:120], {}, None)
    second, _ = update(rows[120:], {}, state, final=True)
    merged = [row for row in second if row["status"] == "merged"]
    survivors = {row["cluster_id"] for row in first} - {row["cluster_id"] for row in merged}
    assert merged and all(row["into"] in survivors and not row["alerts"] for row in merged)
    assert {row["cluster_id"] for row in second if row["alerts"]} == survivors


def test_final_batch_leaves_nothing_waiting() -> None:
    rows = numbered([alert(0, 0, "a", "sudo"), alert(0, 10, "a", "login"), alert(0, 11, "a", "webshell")])
    assert len(update(rows, {}, None)[0]) == 3
    clusters, state = update(rows, {}, None, final=True)
    assert [row["alerts"] for row in clusters] == [[0, 1, 2]]
    later, _ = update([alert(0, 15, "a", "exfiltration")], {}, state, final=True)
    assert [(row["cluster_id"], row["status"]) for row in later] == [(clusters[0]["cluster_id"], "continued")]


def test_state_does_not_grow_with_the_number_of_alerts() -> None:
    def size(days: float) -> int:
        alerts = stream(3, days)
        return len(orjson.dumps(update(alerts, {}, None)[1]))

    assert size(12) < 1.5 * size(3)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [alert(0, 0, "a", "x")],
        [alert(i, 0, "a", "x") for i in range(100)],
        [alert(i, 0, f"h{i}", f"n{i}") for i in range(100)],
        [alert(i, i, "a", "") for i in range(100)],
        [alert(i, i * 1e-6, "", "x", "") for i in range(100)],
        [alert(i, -START * 2 + i * 1e8, "a", "ü\ud800") for i in range(10)],
        [alert(i, i, "*", "*", "\0") for i in range(10)],
    ],
    ids=["none", "one", "one moment", "one moment, all hosts", "no names", "no hosts", "far apart", "odd names"],
)
def test_degenerate_input(rows: list[Alert]) -> None:
    clusters, state = update(rows, {}, None)
    assert sorted(i for row in clusters for i in row["alerts"]) == [row["i"] for row in rows]
    again, _ = update(rows, {}, state)
    assert sorted(i for row in again for i in row["alerts"]) == [row["i"] for row in rows]


def test_file_from_the_past_is_clustered_all_the_same() -> None:
    new, old = stream(4), [dict(row, time=row["time"] - 90 * 86400) for row in stream(5)]
    _, state = update(new, {}, None)
    clusters, _ = update(old, {}, state)
    assert len(clusters) < len(old) / 10


def test_ids_keep_the_contract() -> None:
    clusters, _ = update(stream(6), {}, None)
    ids = [row["cluster_id"] for row in clusters]
    assert len(ids) == len(set(ids))
    assert all(len(name) <= 40 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in ids)
    assert all(row["reason"] and row["kind"] in ("burst", "routine", "step") for row in clusters)


def test_same_attribute_links_steps_of_different_hosts() -> None:
    rows = [alert(0, 0, "a", "download", user_agent="evil"), alert(1, 120, "b", "upload", user_agent="evil")]
    rows.append(alert(2, 9000, "c", "later"))
    linked = groups(partition([rows], Settings(attribute_weights={"user_agent": 0.5})))
    assert frozenset({0, 1}) in linked
    assert frozenset({0}) in groups(partition([rows], Settings(attribute_weights={})))


def test_same_node_feature_links_steps_of_different_hosts() -> None:
    rows = [alert(0, 0, "a", "download"), alert(1, 120, "b", "upload"), alert(2, 9000, "c", "later")]
    features = {"a": {"userid": "u1"}, "b": {"userid": "u1"}}
    clusters, _ = update(rows, features, None, Settings(node_weights={"userid": 1.0}))
    assert [0, 1] in [row["alerts"] for row in clusters]


def test_every_alert_has_a_reason_that_names_its_cluster() -> None:
    alerts = stream(7)
    clusters, _ = update(alerts, {}, None)
    reasons = explain(alerts, {}, None)
    for row in clusters:
        for i in row["alerts"]:
            assert reasons[i].startswith(f"{row['cluster_id']}: ") and len(reasons[i]) > len(row["cluster_id"]) + 5


def test_settings_come_from_the_environment() -> None:
    settings = settings_from({"WATCHFLOOR_LINK_SECONDS": "60", "WATCHFLOOR_NODE_WEIGHTS": '{"OS": 0.1}', "HOME": "/"})
    assert (settings.link_seconds, settings.node_weights) == (60, {"OS": 0.1})


@pytest.mark.parametrize("value", ["", "x", "-1", "0", "NaN", "true", "[]"])
def test_wrong_setting_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="WATCHFLOOR_LINK_SECONDS"):
        settings_from({"WATCHFLOOR_LINK_SECONDS": value})


@pytest.mark.parametrize("state", [{"version": 99}, {"version": 1}, {"clusters": 1}])
def test_state_of_another_model_is_refused(state: dict) -> None:
    with pytest.raises(BadRequestError, match="state"):
        update([], {}, state)
