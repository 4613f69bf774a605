"""A cluster is a host's alerts without a long pause."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Parameters of the clustering."""

    gap_seconds: float = 60.0


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Settings from ``WATCHFLOOR_GAP_SECONDS``."""
    return Settings(gap_seconds=float(environment.get("WATCHFLOOR_GAP_SECONDS", Settings.gap_seconds)))


def update(
    alerts: list[Json], node_feature: Json, state: Json | None, settings: Settings = Settings()
) -> tuple[list[Json], Json]:
    """Put a batch of alerts in clusters.

    Parameters
    ----------
    alerts
        Rows with ``i``, ``time`` (epoch seconds), ``src``, ``dst``, ``name``.
    node_feature
        Free features per host or user name.
    state
        What the last call gave back, or None.

    Returns
    -------
    clusters, state
        Clusters that got an alert of this batch, and the open ones for the next call.
    """
    opened = int((state or {}).get("opened", 0))
    current: dict[str, list[Any]] = dict((state or {}).get("open", {}))
    answer: dict[str, Json] = {}
    latest = None
    for alert in sorted(alerts, key=lambda row: (row["time"], row["i"])):
        host, latest = alert["dst"], alert["time"]
        known = current.get(host)
        if known is None or latest - known[1] > settings.gap_seconds:
            seed = f"{opened}|{latest!r}|{alert['src']}|{host}|{alert['name']}"
            known = current[host] = [hashlib.sha256(seed.encode()).hexdigest()[:16], latest]
            opened += 1
            answer[known[0]] = {"cluster_id": known[0], "alerts": [], "status": "new"}
        known[1] = latest
        entry = answer.setdefault(known[0], {"cluster_id": known[0], "alerts": [], "status": "continued"})
        entry["alerts"].append(alert["i"])
    if latest is not None:
        current = {host: known for host, known in current.items() if latest - known[1] <= settings.gap_seconds}
    return list(answer.values()), {"opened": opened, "open": current}
