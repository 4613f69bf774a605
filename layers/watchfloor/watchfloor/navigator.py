"""A run's techniques as an ATT&CK Navigator layer, format 4.5.

https://github.com/mitre-attack/attack-navigator/blob/master/layers/spec/v4.5/layerformat.md
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from watchfloor import attack
from watchfloor.campaigns import Run, technique_counts

_VERSIONS = {"attack": "18", "navigator": "5.2.0", "layer": "4.5"}
_COLORS = ["#fff7ec", "#fdbb84", "#d7301f"]
_CAMPAIGNS_NAMED = 10


def layer_of(run: Run, names: dict[str, str]) -> dict[str, Any]:
    """The Navigator layer of a run's campaigns; a technique's score is the number of its alerts in this run.

    Parameters
    ----------
    run
        The run; only clusters that are part of a flow count, each once.
    names
        Campaign name by campaign id, as far as known.
    """
    counts: Counter[str] = Counter()
    seen_in: dict[str, list[str]] = defaultdict(list)
    counted: set[str] = set()
    for flow in run.flows:
        here = {
            cluster_id: run.clusters[cluster_id] for cluster_id in flow["cluster_ids"] if cluster_id in run.clusters
        }
        for technique in technique_counts(here.values()):
            seen_in[technique].append(names.get(flow["flow_id"]) or str(flow["flow_id"]))
        counts.update(technique_counts(cluster for cluster_id, cluster in here.items() if cluster_id not in counted))
        counted.update(here)
    known = {technique: count for technique, count in counts.items() if technique in attack.techniques()}
    parents = {technique.partition(".")[0] for technique in known if "." in technique} - known.keys()
    return {
        "name": f"Watchfloor run {run.run_id}",
        "versions": _VERSIONS,
        "domain": "enterprise-attack",
        "description": f"{len(run.flows)} campaigns of stream {run.stream}: alerts per technique.",
        "sorting": 3,
        "layout": {"layout": "side", "showID": True, "showName": True, "expandedSubtechniques": "annotated"},
        "hideDisabled": False,
        "techniques": [
            *(
                entry
                for technique, count in sorted(known.items())
                for entry in _entries(technique, count, seen_in[technique])
            ),
            *({"techniqueID": parent, "showSubtechniques": True} for parent in sorted(parents)),
        ],
        "gradient": {"colors": _COLORS, "minValue": 0, "maxValue": max(known.values(), default=1)},
        "legendItems": [
            {"label": "alerts, most", "color": _COLORS[-1]},
            {"label": "alerts, fewest", "color": _COLORS[0]},
        ],
        "metadata": [
            {"name": "run", "value": run.run_id},
            {"name": "stream", "value": run.stream},
            {"name": "source", "value": run.source_uri},
            {"name": "campaigns", "value": str(len(run.flows))},
            {"name": "techniques", "value": str(len(known))},
        ],
        "selectTechniquesAcrossTactics": True,
        "selectSubtechniquesWithParent": False,
        "selectVisibleTechniques": False,
    }


def _entries(technique_id: str, count: int, campaigns: list[str]) -> list[dict[str, Any]]:
    """One entry per tactic of the technique."""
    shown = campaigns[:_CAMPAIGNS_NAMED]
    more = len(campaigns) - len(shown)
    comment = f"{count} alerts in: " + "; ".join(shown) + (f" and {more} more campaigns" if more else "")
    return [
        {
            "techniqueID": technique_id,
            "tactic": tactic.lower().replace(" ", "-"),
            "score": count,
            "comment": comment,
            "enabled": True,
            "metadata": [{"name": "alerts", "value": str(count)}, {"name": "campaigns", "value": str(len(campaigns))}],
            "showSubtechniques": True,
        }
        for tactic in attack.techniques()[technique_id].tactics
    ]
