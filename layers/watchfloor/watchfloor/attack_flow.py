"""Campaigns as Attack Flow: a STIX 2.1 bundle with the CTID Attack Flow 2.0 extension.

https://center-for-threat-informed-defense.github.io/attack-flow/language/
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import uuid
from collections import defaultdict
from functools import cache
from typing import Any

import stix2
from stix2 import properties

from watchfloor import attack

EXTENSION_ID = "extension-definition--fb9c968a-745b-4ade-9b25-c324172197f4"
# Ours, to derive every id from: the same campaign gives the same bundle.
_NAMESPACE = uuid.UUID("6d1cf1f0-8a53-5a5e-9c0e-7f6f5b1d2c11")
_CTID_ID = "identity--fb9c968a-745b-4ade-9b25-c324172197f4"
_CTID_TIME = "2022-08-02T19:34:35.143Z"
_LAST_TIME = 253_402_300_799.0
# What one diagram can bear.
_MAX_ACTIONS_PER_CLUSTER, _MAX_ASSETS_PER_ACTION = 12, 20

_TACTIC_IDS = {
    "Initial Access": "TA0001",
    "Execution": "TA0002",
    "Persistence": "TA0003",
    "Privilege Escalation": "TA0004",
    "Defense Evasion": "TA0005",
    "Credential Access": "TA0006",
    "Discovery": "TA0007",
    "Lateral Movement": "TA0008",
    "Collection": "TA0009",
    "Exfiltration": "TA0010",
    "Command and Control": "TA0011",
    "Impact": "TA0040",
    "Resource Development": "TA0042",
    "Reconnaissance": "TA0043",
}

Json = dict[str, Any]


def _refs(*types: str) -> properties.ListProperty:
    return properties.ListProperty(properties.ReferenceProperty(valid_types=list(types), spec_version="2.1"))


def _sdo(stix_type: str, **fields: properties.Property) -> Any:
    """A STIX object type of the extension; stix2 adds the properties that all types share."""
    return stix2.v21.CustomObject(stix_type, list(fields.items()))(type(stix_type, (), {}))


_NAME, _TEXT = properties.StringProperty(required=True), properties.StringProperty()
_TIMESTAMP = properties.TimestampProperty()
_EFFECTS = _refs("attack-action", "attack-operator", "attack-condition")

_AttackFlow = _sdo(
    "attack-flow", name=_NAME, description=_TEXT, scope=_NAME, start_refs=_refs("attack-action", "attack-condition")
)
_AttackAction = _sdo(
    "attack-action",
    name=_NAME,
    tactic_id=_TEXT,
    technique_id=_TEXT,
    description=_TEXT,
    execution_start=_TIMESTAMP,
    execution_end=_TIMESTAMP,
    asset_refs=_refs("attack-asset"),
    effect_refs=_EFFECTS,
)
_AttackOperator = _sdo("attack-operator", operator=_NAME, effect_refs=_EFFECTS)
_AttackAsset = _sdo(
    "attack-asset",
    name=_NAME,
    description=_TEXT,
    object_ref=properties.ReferenceProperty(valid_types=["SCO", "SDO"], spec_version="2.1"),
)


def bundle_of(campaign: Json) -> Json:
    """The Attack Flow bundle of a campaign document.

    Every cluster becomes a chain of actions, one per technique in the order in which they were first seen; an edge
    between clusters leads from the last action of the one to the first of the other, through an OR operator where
    several lead there. Edges that would close a circle are left out, and counted in the flow's description.

    Returns
    -------
    dict
        STIX 2.1 bundle, JSON-ready, with the same ids for the same campaign.
    """
    builder = _Builder(campaign)
    objects = builder.objects()
    bundle = stix2.v21.Bundle(id=_id("bundle", campaign["campaign_id"]), objects=objects, allow_custom=True)
    return json.loads(bundle.serialize())


class _Builder:
    def __init__(self, campaign: Json) -> None:
        self._campaign = campaign
        clusters = campaign["clusters"] or [_whole(campaign)]
        self._clusters: dict[str, Json] = {cluster["cluster_id"]: cluster for cluster in clusters}
        self._edges, self._edges_left_out = _without_circles(campaign["edges"], self._clusters)
        self._common = {
            "created": _time(campaign["timeframe"]["start_time"]),
            "modified": _time(max(campaign["timeframe"]["start_time"], campaign["timeframe"]["end_time"])),
            "created_by_ref": _id("identity", "watchfloor"),
            "extensions": {EXTENSION_ID: {"extension_type": "new-sdo"}},
        }
        self._assets: dict[str, Any] = {}
        self._observables: list[Any] = []
        self._times: dict[tuple[str, str | None], list[float]] = defaultdict(list)
        for event in campaign["events"]:
            for technique in event["techniques"] or [None]:
                self._times[event["cluster_id"], technique].append(event["time"])

    def objects(self) -> list[Any]:
        chains = {cluster_id: self._action_ids(cluster) for cluster_id, cluster in self._clusters.items()}
        into: dict[str, list[str]] = defaultdict(list)
        for source, target, _ in self._edges:
            into[target].append(source)
        entry = {
            cluster_id: self._id("attack-operator", cluster_id) if len(into[cluster_id]) > 1 else chain[0][1]
            for cluster_id, chain in chains.items()
        }
        operators = [
            _AttackOperator(id=entry[cluster_id], operator="OR", effect_refs=[chains[cluster_id][0][1]], **self._common)
            for cluster_id, sources in into.items()
            if len(sources) > 1
        ]
        actions = [action for cluster_id, chain in chains.items() for action in self._actions(cluster_id, chain, entry)]
        starts = [chains[cluster_id][0][1] for cluster_id in self._clusters if not into[cluster_id]]
        flow = _AttackFlow(
            id=self._id("attack-flow"),
            name=self._campaign["name"],
            description=self._description(),
            scope="incident",
            start_refs=starts,
            **self._common,
        )
        return [*_authors(), flow, *actions, *operators, *self._assets.values(), *self._observables]

    def _action_ids(self, cluster: Json) -> list[tuple[str | None, str]]:
        """Technique and action id, first seen first; a cluster without a technique is one action."""
        cluster_id = cluster["cluster_id"]
        known = cluster["techniques"][:_MAX_ACTIONS_PER_CLUSTER]
        known = sorted(known, key=lambda technique: (self._span(cluster, technique), technique))
        return [(technique, self._id("attack-action", cluster_id, technique)) for technique in known] or [
            (None, self._id("attack-action", cluster_id))
        ]

    def _span(self, cluster: Json, technique: str | None) -> tuple[float, float]:
        """First and last seen, as far as the campaign's events show it."""
        times = self._times.get((cluster["cluster_id"], technique), [cluster["start_time"], cluster["end_time"]])
        return min(times), max(times)

    def _actions(self, cluster_id: str, chain: list[tuple[str | None, str]], entry: dict[str, str]) -> list[Any]:
        cluster = self._clusters[cluster_id]
        following = [entry[target] for source, target, _ in self._edges if source == cluster_id]
        confidences = [c for source, target, c in self._edges if cluster_id in (source, target) and c is not None]
        assets = [self._asset(host) for host in cluster["dst"][:_MAX_ASSETS_PER_ACTION]]
        actions = []
        for number, (technique, action_id) in enumerate(chain):
            effects = [chain[number + 1][1]] if number + 1 < len(chain) else following
            optional: Json = {}
            if technique:
                optional["technique_id"] = technique
            tactic = attack.most_severe(attack.tactics_of([technique]) if technique else cluster["tactics"])
            if tactic:
                optional["tactic_id"] = _TACTIC_IDS[tactic]
            if confidences:
                optional["confidence"] = round(100 * min(max(0.0, *confidences), 1.0))
            if effects:
                optional["effect_refs"] = effects
            if assets:
                optional["asset_refs"] = assets
            start, end = self._span(cluster, technique)
            actions.append(
                _AttackAction(
                    id=action_id,
                    name=_action_name(technique, tactic, cluster),
                    description=_action_description(cluster),
                    execution_start=_time(start),
                    execution_end=_time(end),
                    **optional,
                    **self._common,
                )
            )
        return actions

    def _asset(self, host: str) -> str:
        asset = self._assets.get(host)
        if asset is None:
            observable = _observable(host)
            optional = {"object_ref": observable.id} if observable else {}
            if observable:
                self._observables.append(observable)
            asset = _AttackAsset(
                id=self._id("attack-asset", host), name=host, description="Host", **optional, **self._common
            )
            self._assets[host] = asset
        return asset.id

    def _description(self) -> str:
        campaign = self._campaign
        parts = [
            f"{campaign['alert_count']} alerts in {campaign['cluster_count']} clusters.",
            f"Victims: {_some([victim['name'] for victim in campaign['victims']])}.",
            f"Adversaries: {_some([adversary['name'] for adversary in campaign['adversaries']])}.",
        ]
        if self._edges_left_out:
            parts.append(f"{self._edges_left_out} edges that lead back to an earlier step are left out.")
        return " ".join(parts)

    def _id(self, kind: str, *parts: str) -> str:
        return _id(kind, self._campaign["campaign_id"], *parts)


def _without_circles(edges: list[list[Any]], clusters: dict[str, Json]) -> tuple[list[tuple[str, str, Any]], int]:
    """Edges that keep the flow free of circles, those that go forward in time first; and how many are left out."""
    distinct = {(edge[0], edge[1]): edge[2] if len(edge) > 2 else None for edge in edges}
    known = [(a, b, confidence) for (a, b), confidence in distinct.items() if a in clusters and b in clusters]
    known.sort(key=lambda edge: (clusters[edge[0]]["start_time"] > clusters[edge[1]]["start_time"], edge[0], edge[1]))
    following: dict[str, set[str]] = defaultdict(set)
    kept = []
    for source, target, confidence in known:
        if not _reaches(following, target, source):
            following[source].add(target)
            kept.append((source, target, confidence))
    return kept, len(known) - len(kept)


def _reaches(following: dict[str, set[str]], start: str, goal: str) -> bool:
    seen, queue = {start}, [start]
    while queue:
        node = queue.pop()
        if node == goal:
            return True
        queue += following[node] - seen
        seen |= following[node]
    return False


def _whole(campaign: Json) -> Json:
    """A campaign whose clusters are not known (any more), as one cluster."""
    return {
        "cluster_id": campaign["campaign_id"],
        "techniques": [technique["id"] for technique in campaign["techniques"]],
        "tactics": campaign["tactics"],
        "dst": [victim["name"] for victim in campaign["victims"]],
        "names": {},
        "alert_count": campaign["alert_count"],
        **{key: campaign["timeframe"][key] for key in ("start_time", "end_time")},
    }


@cache
def _authors() -> list[Any]:
    """Who defined the extension, the definition, and who wrote the flow."""
    ctid = stix2.v21.Identity(
        id=_CTID_ID,
        name="MITRE Center for Threat-Informed Defense",
        identity_class="organization",
        created=_CTID_TIME,
        modified=_CTID_TIME,
        created_by_ref=_CTID_ID,
    )
    definition = stix2.v21.ExtensionDefinition(
        id=EXTENSION_ID,
        name="Attack Flow",
        description="Extends STIX 2.1 with features to create Attack Flows.",
        created=_CTID_TIME,
        modified=_CTID_TIME,
        created_by_ref=_CTID_ID,
        schema="https://center-for-threat-informed-defense.github.io/attack-flow/stix/attack-flow-schema-2.0.0.json",
        version="2.0.0",
        extension_types=["new-sdo"],
        external_references=[
            {
                "source_name": "Documentation",
                "description": "Documentation for Attack Flow",
                "url": "https://center-for-threat-informed-defense.github.io/attack-flow",
            }
        ],
    )
    author = stix2.v21.Identity(
        id=_id("identity", "watchfloor"),
        name="Watchfloor",
        identity_class="system",
        created=_CTID_TIME,
        modified=_CTID_TIME,
    )
    return [ctid, definition, author]


def _observable(host: str) -> Any | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (stix2.v21.IPv4Address if address.version == 4 else stix2.v21.IPv6Address)(value=str(address))


def _action_name(technique_id: str | None, tactic: str | None, cluster: Json) -> str:
    if technique_id:
        technique = attack.techniques().get(technique_id)
        return technique.name if technique else technique_id
    return tactic or next(iter(cluster["names"]), "Unclassified activity")[:200]


def _action_description(cluster: Json) -> str:
    names = "; ".join(f"{name[:120]} ({count})" for name, count in list(cluster["names"].items())[:5])
    return (
        f"Cluster {cluster['cluster_id']}, {cluster['alert_count']} alerts: {names}" if names else cluster["cluster_id"]
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:10]) or "none known"
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _id(kind: str, *parts: str) -> str:
    return f"{kind}--{uuid.uuid5(_NAMESPACE, chr(0).join((kind, *parts)))}"


def _time(epoch: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(min(max(epoch, 0.0), _LAST_TIME), dt.UTC)
