"""From the flow model's answer to the documents that users and the last states read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from watchfloor.attack import tactics_of
from watchfloor.batches import ModelId, techniques_of
from watchfloor.clusters import HOSTS_KEPT, RunClusters, Totals, survivor
from watchfloor.errors import InvalidInputError, ModelError

# Alerts of one cluster that Jira, cases and campaigns get to see. The functions behind them read all clusters' at once,
# so that after so many bytes in all (as JSON) a cluster shows its first few only.
ALERTS_SHOWN = 1_000
BYTES_SHOWN = 150_000_000
FEW_SHOWN = 3
# A transform takes 100 MB at most.
REQUEST_BYTES = 99_000_000
# Our cluster ids, which a stream's prefix makes longer than the clustering model's.
KnownId = Annotated[str, Field(min_length=1, max_length=100)]


class ModelFlow(BaseModel):
    """One flow in the flow model's answer; `merged` names flows that it absorbed."""

    flow_id: ModelId
    cluster_ids: list[KnownId] = Field(min_length=1)
    edges: list[list[Any]]
    score: float = Field(allow_inf_nan=False)
    merged: list[ModelId] = []


class FlowAnswer(BaseModel):
    flows: list[ModelFlow]
    state: dict[str, Any]


def flow_request(clusters: RunClusters, state: dict[str, Any] | None) -> dict[str, Any]:
    """The flow model's input: this run's clusters, with what they amount to over all runs.

    Raises
    ------
    InvalidInputError
        They are more than one request takes, even with a few hosts each.
    """
    keys = ("cluster_id", "techniques", "tactics", "src", "dst", "start_time", "end_time")
    for hosts in (HOSTS_KEPT, 20, 3):
        rows = (clusters.row(cluster_id, hosts) for cluster_id in clusters.run)
        request = {
            "clusters": [{key: row[key] for key in keys} | {"alert_count": row["total_alert_count"]} for row in rows],
            "state": state,
        }
        if len(orjson.dumps(request)) <= REQUEST_BYTES:
            return request
    raise InvalidInputError(
        f"the {len(clusters.run):,} clusters of this run are more than the flow model takes at once: "
        "split the file into several files of one folder"
    )


def read_flow_answer(answer: Any) -> FlowAnswer:
    """The answer, if it keeps the contract: edges lead between clusters of their flow."""
    try:
        checked = FlowAnswer.model_validate(answer)
    except ValidationError as error:
        raise ModelError(f"the flow model answered outside its contract: {error.errors()[0]['msg']}") from error
    if len({flow.flow_id for flow in checked.flows}) != len(checked.flows):
        raise ModelError("the flow model named a flow twice")
    for flow in checked.flows:
        members = set(flow.cluster_ids)
        ends = [edge[:2] for edge in flow.edges if len(edge) in (2, 3)]
        if len(ends) < len(flow.edges) or not all(
            isinstance(end, str) and end in members for pair in ends for end in pair
        ):
            raise ModelError(f"the flow model drew an edge to a cluster outside of flow {flow.flow_id}")
    return checked


def flow_rows(
    answer: FlowAnswer, totals: Mapping[str, Totals], merged: Mapping[str, str], prefix: str
) -> list[dict[str, Any]]:
    """Rows of flow.json, highest score first.

    Parameters
    ----------
    answer
        The flow model's; it may name clusters of earlier runs.
    totals
        Totals over all runs, by cluster id.
    merged
        Absorbed cluster id -> the one that lives on, which stands in its place.
    prefix
        Goes before every flow id.
    """
    rows = []
    for flow in answer.flows:
        cluster_ids = list(dict.fromkeys(survivor(cluster_id, merged) for cluster_id in flow.cluster_ids))
        edges = [[survivor(edge[0], merged), survivor(edge[1], merged), *edge[2:]] for edge in flow.edges]
        members = [totals[cluster_id] for cluster_id in cluster_ids if cluster_id in totals]
        if not members:
            raise ModelError(f"flow {flow.flow_id} holds no cluster that is known")
        techniques = list(dict.fromkeys(technique for total in members for technique in total.techniques))
        rows.append(
            {
                "flow_id": prefix + flow.flow_id,
                "cluster_ids": cluster_ids,
                "edges": [edge for edge in edges if edge[0] != edge[1]],
                "techniques": techniques,
                "tactics": tactics_of(techniques),
                "start_time": min(total.start_time for total in members),
                "end_time": max(total.end_time for total in members),
                "score": flow.score,
            }
        )
    return sorted(rows, key=lambda row: (-row["score"], row["flow_id"]))


def clusters_named(answer: FlowAnswer) -> set[str]:
    """Every cluster that the flows hold, of this run or of earlier ones."""
    return {cluster_id for flow in answer.flows for cluster_id in flow.cluster_ids}


def merged_flows(answer: FlowAnswer, prefix: str) -> list[dict[str, str]]:
    """Absorbed flows, and the flow each one lives on in."""
    return [{"flow_id": prefix + old, "into": prefix + flow.flow_id} for flow in answer.flows for old in flow.merged]


def flow_of_cluster(flows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Cluster id -> its flow; in two flows, the one with the higher score."""
    flow_of: dict[str, str] = {}
    for flow in flows:
        for cluster_id in flow["cluster_ids"]:
            flow_of.setdefault(cluster_id, flow["flow_id"])
    return flow_of


class RunEvents:
    """Goes once through all alerts of a run; keeps what cluster.json and the last states need of them.

    Parameters
    ----------
    agg_alert
        Which cluster each alert is in, by internal id.
    techniques
        Techniques by alert name.
    shown
        Clusters whose first alerts are kept for Jira, cases and campaigns, as JSON that is ready to be written.
    bytes_shown
        How much of that is kept in all, beyond a few alerts of each cluster.
    """

    def __init__(
        self,
        agg_alert: Mapping[str, Any],
        techniques: Mapping[str, list[str]],
        shown: set[str],
        bytes_shown: int = BYTES_SHOWN,
    ) -> None:
        self._cluster_ids: Sequence[str] = agg_alert["cluster_ids"]
        self._assignment: Sequence[int] = agg_alert["assignment"]
        self._techniques = techniques
        self.alert_ids: dict[str, list[str]] = {cluster_id: [] for cluster_id in self._cluster_ids}
        self.alerts_shown: dict[str, list[orjson.Fragment]] = {cluster_id: [] for cluster_id in shown}
        self._bytes_left = bytes_shown

    def rows(self, alerts: Iterable[Mapping[str, Any]], flow_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Rows of event.json, in time order."""
        for alert in alerts:
            cluster_id = self._cluster_ids[self._assignment[alert["i"]]]
            techniques = techniques_of(alert, self._techniques)
            row = {
                "id": alert["id"],
                "time": alert["time"],
                "src": alert["src"],
                "dst": alert["dst"],
                "name": alert["name"],
                "techniques": techniques,
                "tactics": tactics_of(techniques),
            }
            self.alert_ids[cluster_id].append(str(alert["id"]))
            shown = self.alerts_shown.get(cluster_id)
            if shown is not None and len(shown) < ALERTS_SHOWN:
                raw = {"raw": alert["raw"]} if "raw" in alert else {}
                text = orjson.dumps({**row, "attributes": alert["attributes"], **raw})
                if len(text) <= self._bytes_left or len(shown) < FEW_SHOWN:
                    shown.append(orjson.Fragment(text))
                    self._bytes_left -= len(text)
            yield {**row, "cluster_id": cluster_id, "flow_id": flow_of.get(cluster_id)}


def cluster_rows(clusters: RunClusters, alert_ids: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Rows of cluster.json, oldest first."""
    return [{**clusters.row(cluster_id), "alert_ids": alert_ids[cluster_id]} for cluster_id in clusters.run]


def enriched_clusters(clusters: RunClusters, events: RunEvents, flow_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What Jira, cases and campaigns read of each cluster."""
    for row in cluster_rows(clusters, events.alert_ids):
        cluster_id = row["cluster_id"]
        yield {
            **row,
            "alert_ids": row["alert_ids"][:ALERTS_SHOWN],
            "names": dict(clusters.total[cluster_id].names),
            "flow_id": flow_of.get(cluster_id),
            "alerts": events.alerts_shown.get(cluster_id, []),
        }


def enriched_input(
    run: Mapping[str, Any],
    clusters: RunClusters,
    flows: Sequence[Mapping[str, Any]],
    merged: Sequence[Mapping[str, str]],
    node_feature: Mapping[str, Any],
) -> dict[str, Any]:
    """What Jira, cases and campaigns read besides the clusters."""
    hosts = {host for total in clusters.total.values() for host in (*total.src, *total.dst)}
    return {
        "run_id": run["run_id"],
        "stream": run["stream"],
        "source_uri": f"s3://{run['bucket']}/{run['key']}",
        "flows": flows,
        "merged_flows": merged,
        "node_feature": {host: node_feature[host] for host in sorted(hosts & node_feature.keys())},
        "merged_clusters": [
            {"cluster_id": cluster_id, "into": survivor(cluster_id, clusters.merged)} for cluster_id in clusters.merged
        ],
    }
