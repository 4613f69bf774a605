"""The ledger of clusters over all runs."""

import time

import pytest

from tests.unit.tables import table
from watchfloor.clients.cluster_table import ClusterTable
from watchfloor.clusters import Totals


@pytest.fixture
def raw():
    with table("ClusterTable") as raw:
        yield raw


@pytest.fixture
def clusters(raw):
    return ClusterTable(raw, retention_seconds=100)


def totals(count):
    added = Totals(first_seen_run="r1")
    for number in range(count):
        added.add({"time": 10.0 + number, "src": "a", "dst": "b", "name": f"n{number}"}, ["T1046"])
    return added


def counts(found):
    return {key: value["count"] for key, value in found.items()}


def test_ledger_begins_empty(clusters):
    assert clusters.totals_before(["c1"], "r1") == {}
    assert clusters.totals_before([], "r1") == {}


def test_totals_come_back_as_they_went(clusters):
    clusters.record("r1", {"c1": totals(3)}, {})
    (found,) = clusters.totals_before(["c1"], "r2").values()
    assert Totals.from_json(found) == totals(3)


def test_next_run_builds_on_the_run_before(clusters):
    clusters.record("r1", {"c1": totals(3), "c2": totals(1)}, {})
    assert counts(clusters.totals_before(["c1", "c2", "c3"], "r2")) == {"c1": 3, "c2": 1}


def test_repeated_run_finds_what_was_before_it(clusters):
    clusters.record("r1", {"c1": totals(3)}, {})
    clusters.record("r2", {"c1": totals(5), "c2": totals(2)}, {"c1": totals(3)})
    assert counts(clusters.totals_before(["c1", "c2"], "r2")) == {"c1": 3}
    assert counts(clusters.totals_before(["c1", "c2"], "r3")) == {"c1": 5, "c2": 2}


def test_run_may_be_recorded_twice(clusters):
    clusters.record("r1", {"c1": totals(3)}, {})
    for _ in range(2):
        clusters.record("r2", {"c1": totals(5)}, {"c1": totals(3)})
    assert counts(clusters.totals_before(["c1"], "r2")) == {"c1": 3}


def test_many_clusters_are_all_written_and_found(clusters):
    """DynamoDB takes 25 at a time and gives 100."""
    clusters.record("r1", {f"c{number}": totals(1) for number in range(230)}, {})
    assert len(clusters.totals_before([f"c{number}" for number in range(250)], "r2")) == 230


def test_cluster_is_kept_from_its_last_alert_on(clusters, raw):
    before = int(time.time())
    clusters.record("r1", {"c1": totals(1)}, {})
    assert before + 100 <= raw.get_item(Key={"cluster_id": "c1"})["Item"]["expires_at"] <= before + 110
