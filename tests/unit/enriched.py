"""Documents as process_flow hands them to campaigns, Jira and cases, for tests."""

from __future__ import annotations

from typing import Any

from watchfloor.attack import tactics_of

ATTACKER, WEB, DB, FILES = "198.51.100.23", "10.0.1.10", "10.0.1.20", "fs-01"


def alert(alert_id: Any, time: float, src: str, dst: str, name: str, *techniques: str, **more: Any) -> dict[str, Any]:
    raw = {"raw": more.pop("raw")} if "raw" in more else {}
    return {
        "id": alert_id,
        "time": time,
        "src": src,
        "dst": dst,
        "name": name,
        "techniques": list(techniques),
        "tactics": tactics_of(techniques),
        "attributes": more,
        **raw,
    }


def cluster(cluster_id: str, alerts: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    techniques = list(dict.fromkeys(technique for row in alerts for technique in row["techniques"]))
    names: dict[str, int] = {}
    for row in alerts:
        names[row["name"]] = names.get(row["name"], 0) + 1
    return {
        "cluster_id": cluster_id,
        "alert_ids": [str(row["id"]) for row in alerts],
        "alert_count": len(alerts),
        "total_alert_count": len(alerts),
        "techniques": techniques,
        "tactics": tactics_of(techniques),
        "src": list(dict.fromkeys(row["src"] for row in alerts)),
        "dst": list(dict.fromkeys(row["dst"] for row in alerts)),
        "start_time": min(row["time"] for row in alerts),
        "end_time": max(row["time"] for row in alerts),
        "first_seen_run": "run-1",
        "updated": False,
        "names": names,
        "flow_id": "f-1",
        "alerts": alerts,
    } | changes


def flow(flow_id: str, clusters: list[dict[str, Any]], edges: list[list[Any]], **changes: Any) -> dict[str, Any]:
    techniques = list(dict.fromkeys(technique for row in clusters for technique in row["techniques"]))
    return {
        "flow_id": flow_id,
        "cluster_ids": [row["cluster_id"] for row in clusters],
        "edges": edges,
        "techniques": techniques,
        "tactics": tactics_of(techniques),
        "start_time": min(row["start_time"] for row in clusters),
        "end_time": max(row["end_time"] for row in clusters),
        "score": 7.5,
    } | changes


def document(clusters: list[dict[str, Any]], flows: list[dict[str, Any]], run_id: str = "run-1", **more: Any) -> dict:
    return {
        "run_id": run_id,
        "stream": "default",
        "source_uri": "s3://data/input/alerts.json",
        "clusters": clusters,
        "flows": flows,
        "merged_clusters": [],
        "merged_flows": [],
    } | more


def intrusion(run_id: str = "run-1", start: float = 1_790_000_000.0) -> dict[str, Any]:
    """An attacker scans a web server, breaks in, goes on to the database and carries data away."""
    scan = cluster(
        "c-scan",
        [
            alert(f"{run_id}-s{n}", start + n, ATTACKER, WEB, "ET SCAN Port sweep of web server", "T1595.001")
            for n in range(4)
        ],
    )
    entry = cluster(
        "c-entry",
        [
            alert(
                f"{run_id}-e1",
                start + 600,
                ATTACKER,
                WEB,
                "Web exploit attempt against login form",
                "T1190",
                url="http://203.0.113.9/drop/stage1.sh",
                user_agent="curl/8.5.0",
            ),
            alert(f"{run_id}-e2", start + 660, WEB, WEB, "Web shell written", "T1505.003", sha256="a1" * 32),
        ],
    )
    spread = cluster(
        "c-spread",
        [
            alert(f"{run_id}-l1", start + 1_800, WEB, DB, "SMB admin share access", "T1021.002"),
            alert(
                f"{run_id}-x1",
                start + 3_600,
                DB,
                "203.0.113.9",
                "Large upload to rare host",
                "T1048",
                raw={"eve": {"flow": 1}},
            ),
        ],
    )
    clusters = [scan, entry, spread]
    edges = [["c-scan", "c-entry", 0.8], ["c-entry", "c-spread", 0.6]]
    return document(clusters, [flow("f-1", clusters, edges)], run_id)
