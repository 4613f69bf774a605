"""A flow is the clusters that share a host, in time order."""

from __future__ import annotations

import hashlib
from typing import Any

Json = dict[str, Any]
OPEN_SECONDS = 86_400.0
MAX_CLUSTERS = 1_000


def update(clusters: list[Json], state: Json | None) -> tuple[list[Json], Json]:
    """Put new and updated clusters in flows.

    Parameters
    ----------
    clusters
        This run's new and updated clusters, with cumulative values.
    state
        What the last call gave back, or None.

    Returns
    -------
    flows, state
        Flows that are new or changed, and the open ones for the next call.
    """
    opened = int((state or {}).get("opened", 0))
    flows: dict[str, Json] = {f["flow_id"]: f for f in (state or {}).get("flows", [])}
    home = {cluster: f["flow_id"] for f in flows.values() for cluster in f["cluster_ids"]}
    by_host = {host: f["flow_id"] for f in flows.values() for host in f["hosts"]}
    changed: dict[str, None] = {}
    for cluster in sorted(clusters, key=lambda c: (c["start_time"], c["cluster_id"])):
        hosts = sorted({*(cluster.get("src") or ()), *(cluster.get("dst") or ())})
        name = cluster["cluster_id"]
        flow_id = home.get(name) or next((by_host[h] for h in hosts if h in by_host), None)
        flow = flows.get(flow_id or "")
        if flow is None or (name not in home and cluster["start_time"] - flow["end_time"] > OPEN_SECONDS):
            flow_id = hashlib.sha256(f"{opened}|{name}".encode()).hexdigest()[:16]
            opened += 1
            flow = flows[flow_id] = {
                "flow_id": flow_id, "cluster_ids": [], "edges": [], "score": 0.0, "hosts": [],
                "end_time": cluster["end_time"],
            }  # fmt: skip
        if name not in home:
            if flow["cluster_ids"]:
                flow["edges"].append([flow["cluster_ids"][-1], name, 0.5])
            flow["cluster_ids"] = [*flow["cluster_ids"], name][-MAX_CLUSTERS:]
            flow["edges"] = flow["edges"][-MAX_CLUSTERS:]
            home[name] = flow["flow_id"]
            flow["score"] += len(cluster.get("tactics") or ())
        flow["end_time"] = max(flow["end_time"], cluster["end_time"])
        flow["hosts"] = sorted({*flow["hosts"], *hosts})
        by_host.update(dict.fromkeys(hosts, flow["flow_id"]))
        changed[flow["flow_id"]] = None
    answer = [{key: flows[f][key] for key in ("flow_id", "cluster_ids", "edges", "score")} for f in changed]
    now = max((f["end_time"] for f in flows.values()), default=0.0)
    return answer, {"opened": opened, "flows": [f for f in flows.values() if now - f["end_time"] <= OPEN_SECONDS]}
