"""From the clustering model's answers, batch by batch, to the clusters of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from watchfloor.attack import tactics_of
from watchfloor.batches import ClusterAnswer, techniques_of
from watchfloor.errors import ModelError

# What of a cluster's hosts and names is kept; a scan may touch thousands. The bytes (of each, as JSON) let the totals
# before and after a run fit into one item of the ledger, which may have 400 KB.
HOSTS_KEPT = 200
NAMES_KEPT = 20
BYTES_KEPT = 45_000


@dataclass
class Totals:
    """What a cluster amounts to: how many alerts, when (epoch seconds), and how often each value occurs."""

    count: int = 0
    start_time: float = float("inf")
    end_time: float = float("-inf")
    techniques: Counter[str] = field(default_factory=Counter)
    src: Counter[str] = field(default_factory=Counter)
    dst: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    first_seen_run: str = ""

    def add(self, alert: Mapping[str, Any], techniques: Iterable[str]) -> None:
        self.count += 1
        self.start_time = min(self.start_time, alert["time"])
        self.end_time = max(self.end_time, alert["time"])
        self.techniques.update(techniques)
        self.src[alert["src"]] += 1
        self.dst[alert["dst"]] += 1
        self.names[alert["name"]] += 1

    def merge(self, other: Totals) -> None:
        """Take in another part of the same cluster; who was seen first stays so."""
        if other.start_time < self.start_time:
            self.first_seen_run = other.first_seen_run or self.first_seen_run
        self.count += other.count
        self.start_time = min(self.start_time, other.start_time)
        self.end_time = max(self.end_time, other.end_time)
        self.techniques.update(other.techniques)
        self.src.update(other.src)
        self.dst.update(other.dst)
        self.names.update(other.names)

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "techniques": dict(self.techniques.most_common()),
            "src": _most_frequent(self.src, HOSTS_KEPT),
            "dst": _most_frequent(self.dst, HOSTS_KEPT),
            "names": _most_frequent(self.names, NAMES_KEPT),
            "first_seen_run": self.first_seen_run,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Totals:
        counters = {key: Counter(value[key]) for key in ("techniques", "src", "dst", "names")}
        return cls(
            value["count"], value["start_time"], value["end_time"], **counters, first_seen_run=value["first_seen_run"]
        )


def _most_frequent(counter: Counter[str], limit: int) -> dict[str, int]:
    """The most frequent values, as many as both limits allow."""
    kept: dict[str, int] = {}
    size = 0
    for value, count in counter.most_common(limit):
        size += len(orjson.dumps(value)) + 12
        if size > BYTES_KEPT:
            break
        kept[value] = count
    return kept


def batch_clusters(
    alerts: Sequence[Mapping[str, Any]], techniques: Mapping[str, list[str]], answer: ClusterAnswer, prefix: str
) -> dict[str, Any]:
    """What one batch adds: per cluster its totals and internal ids, and which clusters were merged into which."""
    row_of = {alert["i"]: alert for alert in alerts}
    clusters = {}
    for cluster in answer.clusters:
        totals = Totals()
        for i in cluster.alerts:
            totals.add(row_of[i], techniques_of(row_of[i], techniques))
        if cluster.alerts:
            clusters[prefix + cluster.cluster_id] = {"alerts": cluster.alerts, "totals": totals.to_json()}
    merged = {
        prefix + cluster.cluster_id: prefix + (cluster.into or "")
        for cluster in answer.clusters
        if cluster.status == "merged"
    }
    return {"clusters": clusters, "merged": merged}


@dataclass
class RunClusters:
    """Clusters of a whole run.

    Attributes
    ----------
    run
        This run's totals by cluster id.
    total
        Totals over all runs, of the same clusters.
    before
        Totals before this run, of those that existed (merged ones included).
    merged
        Absorbed cluster id -> the one that lives on.
    """

    run: dict[str, Totals]
    total: dict[str, Totals]
    before: dict[str, Totals]
    merged: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "run": {key: totals.to_json() for key, totals in self.run.items()},
            "total": {key: totals.to_json() for key, totals in self.total.items()},
            "before": {key: totals.to_json() for key, totals in self.before.items()},
            "merged": self.merged,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunClusters:
        parts = {
            part: {key: Totals.from_json(totals) for key, totals in value[part].items()}
            for part in ("run", "total", "before")
        }
        return cls(**parts, merged=value["merged"])

    def row(self, cluster_id: str, hosts: int = HOSTS_KEPT) -> dict[str, Any]:
        """The cluster as the flow model and users see it: techniques and hosts most frequent first, over all runs."""
        total = self.total[cluster_id]
        return {
            "cluster_id": cluster_id,
            "alert_count": self.run[cluster_id].count,
            "total_alert_count": total.count,
            "techniques": list(total.techniques),
            "tactics": tactics_of(total.techniques),
            "src": list(total.src)[:hosts],
            "dst": list(total.dst)[:hosts],
            "start_time": total.start_time,
            "end_time": total.end_time,
            "first_seen_run": total.first_seen_run,
            "updated": cluster_id in self.before,
        }


def survivor(cluster_id: str, merged: Mapping[str, str]) -> str:
    """The cluster that a merged one lives on in, through any number of merges; ModelError where they go in a circle."""
    for _ in range(len(merged) + 1):
        if cluster_id not in merged:
            return cluster_id
        cluster_id = merged[cluster_id]
    raise ModelError(f"the clustering model merged cluster {cluster_id} into itself, over others")


def touched(parts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Every cluster id that the run's batches name."""
    ids: set[str] = set()
    for part in parts:
        ids.update(part["clusters"], part["merged"], part["merged"].values())
    return ids


def combine(
    parts: Sequence[Mapping[str, Any]], totals_before: Mapping[str, Mapping[str, Any]], run_id: str
) -> tuple[RunClusters, dict[str, Any]]:
    """Put the batches together.

    Returns
    -------
    clusters
        The run's clusters after all merges.
    agg_alert
        `{"cluster_ids": [...], "assignment": [index into cluster_ids, by internal id]}`.
    """
    merged: dict[str, str] = {}
    for part in parts:
        merged.update(part["merged"])
    run: dict[str, Totals] = {}
    place: dict[int, str] = {}
    for part in parts:
        for cluster_id, added in part["clusters"].items():
            target = survivor(cluster_id, merged)
            run.setdefault(target, Totals(first_seen_run=run_id)).merge(Totals.from_json(added["totals"]))
            place.update(dict.fromkeys(added["alerts"], target))
    before = {cluster_id: Totals.from_json(totals) for cluster_id, totals in totals_before.items()}
    total = {cluster_id: Totals(first_seen_run=run_id) for cluster_id in run}
    for cluster_id, earlier in before.items():
        target = survivor(cluster_id, merged)
        total.setdefault(target, Totals(first_seen_run=run_id)).merge(earlier)
    for cluster_id, totals in run.items():
        total[cluster_id].merge(totals)
    cluster_ids = sorted(run, key=lambda key: (run[key].start_time, key))
    index = {cluster_id: number for number, cluster_id in enumerate(cluster_ids)}
    assignment = [index[place[i]] for i in range(len(place))]
    # A survivor that got no alert of this run has no row to show, only its new total.
    clusters = RunClusters({key: run[key] for key in cluster_ids}, total, before, merged)
    return clusters, {"cluster_ids": cluster_ids, "assignment": assignment}
