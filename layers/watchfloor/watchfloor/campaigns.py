"""Campaigns: a flow as an analyst sees it, with who did what to whom, in which stage, and what to look for.

A campaign document grows from run to run. Its counts are those of all runs: `tally` keeps the last run's counts apart
from those before it, so that a run that is repeated is counted once.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from watchfloor import attack
from watchfloor.indicators import EXTERNAL, KINDS, NOT_A_HOST, host_of, indicators, side_of

# Status of a campaign: an analyst may set any other.
OPEN, MERGED = "open", "merged"
MAX_EVENTS = 1_000
# Bounds of what a document keeps; the most frequent stay.
_MAX_PAIRS, _MAX_IOCS, _MAX_HOSTS = 2_000, 500, 500
_MAX_RAW_BYTES = 16_000

Json = dict[str, Any]
# [alert count, first seen, last seen]
Span = list[Any]


@dataclass(frozen=True)
class Run:
    """One run's clusters and flows, as the pipeline hands them to the integrations."""

    run_id: str
    stream: str
    source_uri: str
    region: str | None
    flows: list[Json]
    clusters: dict[str, Json]
    # Survivor -> the flows it absorbed in this run.
    absorbed: dict[str, list[str]]
    node_feature: dict[str, Json]


def read_run(document: Json) -> Run:
    """The run of an `enrich_alert_input.json` document."""
    into = {merge["flow_id"]: merge["into"] for merge in document.get("merged_flows", [])}
    absorbed: dict[str, list[str]] = defaultdict(list)
    for flow_id in into:
        survivor, seen = flow_id, {flow_id}
        while survivor in into and into[survivor] not in seen:
            survivor = into[survivor]
            seen.add(survivor)
        if survivor != flow_id:
            absorbed[survivor].append(flow_id)
    return Run(
        run_id=document["run_id"],
        stream=document.get("stream", "default"),
        source_uri=document.get("source_uri", ""),
        region=document.get("region"),
        flows=document["flows"],
        clusters={cluster["cluster_id"]: cluster for cluster in document["clusters"]},
        absorbed=dict(absorbed),
        node_feature=document.get("node_feature") or {},
    )


def campaign_of(run: Run, flow: Json, previous: Json | None = None, absorbed: Iterable[Json] = ()) -> Json:
    """The campaign document of a flow.

    Parameters
    ----------
    run
        The run that produced the flow.
    flow
        A flow of `flow.json`.
    previous
        The campaign's document of an earlier run (or of an earlier try of this one), if there is one.
    absorbed
        Documents of campaigns that this flow absorbed; their counts, events and indicators move here once.

    Returns
    -------
    dict
        JSON-ready document; the same input gives the same document.
    """
    here = [run.clusters[cluster_id] for cluster_id in flow["cluster_ids"] if cluster_id in run.clusters]
    before = _tally_before(run.run_id, previous)
    known_absorbed = list(previous["absorbed"]) if previous else []
    # What an earlier try of this run put here may lie in another flow by now.
    events = [event for event in previous["events"] if event["run_id"] != run.run_id] if previous else []
    for other in absorbed:
        if other["campaign_id"] not in known_absorbed:
            known_absorbed.append(other["campaign_id"])
            before = _add(before, _total(other["tally"]))
            events += other["events"]
    current = _tally(here)
    total = _add(before, current)

    kept = {summary["cluster_id"]: summary for summary in (previous["clusters"] if previous else [])}
    kept |= {cluster["cluster_id"]: _summary(cluster, kept.get(cluster["cluster_id"])) for cluster in here}
    clusters = [kept[cluster_id] for cluster_id in flow["cluster_ids"] if cluster_id in kept]
    events = _select_events([*events, *_events(run.run_id, here)])
    victims, adversaries = _roles(total["pairs"], run.node_feature)
    techniques = _merge_lists(flow["techniques"], *(cluster["techniques"] for cluster in clusters))
    tactics = attack.tactics_of(techniques)
    tactics += [tactic for tactic in flow["tactics"] if tactic not in tactics]
    frames = [flow, previous["timeframe"]] if previous else [flow]
    start, end = min(frame["start_time"] for frame in frames), max(frame["end_time"] for frame in frames)
    runs = list(previous["runs"]) if previous else []

    return {
        "campaign_id": flow["flow_id"],
        "name": _name(tactics, victims, adversaries, events, start),
        "score": flow["score"],
        "stream": run.stream,
        "source_uri": run.source_uri,
        "region": run.region,
        "runs": (runs if run.run_id in runs else [*runs, run.run_id])[-100:],
        "timeframe": {"start_time": start, "end_time": end, "duration_seconds": end - start},
        "alert_count": sum(cluster["alert_count"] for cluster in clusters),
        "cluster_count": len(clusters),
        "techniques": [{"id": technique_id, "name": _technique_name(technique_id)} for technique_id in techniques],
        "tactics": tactics,
        "stages": _stages(total),
        "victims": victims,
        "adversaries": adversaries,
        "iocs": _iocs(total["iocs"], victims),
        "clusters": clusters,
        "edges": flow["edges"],
        "events": events,
        "absorbed": known_absorbed,
        "tally": {"run_id": run.run_id, "before": before, "run": current},
    }


def shown(document: Json, row: Json) -> Json:
    """A campaign as readers get it: the document, with the state and the feedback that its table row holds."""
    return {
        **{key: value for key, value in document.items() if key != "tally"},
        "status": row["status"],
        "merged_into": row.get("merged_into"),
        "feedback": {field: row.get(field) for field in ("verdict", "comment", "analyst", "feedback_at")},
    }


def row_of(document: Json) -> Json:
    """What lists show of a campaign: small enough for one table row."""
    return {
        "campaign_id": document["campaign_id"],
        "name": document["name"],
        "score": document["score"],
        "stream": document["stream"],
        "run_id": document["tally"]["run_id"],
        "start_time": document["timeframe"]["start_time"],
        "end_time": document["timeframe"]["end_time"],
        "alert_count": document["alert_count"],
        "cluster_count": document["cluster_count"],
        "victim_count": len(document["victims"]),
        "victims": [victim["name"] for victim in document["victims"][:10]],
        "adversaries": [adversary["name"] for adversary in document["adversaries"][:10]],
        "tactics": document["tactics"],
        "techniques": [technique["id"] for technique in document["techniques"][:50]],
        "stages": {stage["stage"]: stage["alert_count"] for stage in document["stages"] if stage["alert_count"]},
    }


def technique_counts(clusters: Iterable[Json]) -> Counter[str]:
    """Alerts of this run per technique id."""
    counts: dict[str, float] = defaultdict(float)
    for cluster in clusters:
        weight = _weights(cluster)
        for alert in cluster["alerts"]:
            for technique in alert["techniques"]:
                counts[technique] += weight[alert["name"]]
    return Counter({technique: round(count) for technique, count in counts.items()})


# --- counting -----------------------------------------------------------------------------------------------------


def _tally(clusters: list[Json]) -> Json:
    """Counts of one run."""
    techniques: dict[str, Span] = {}
    stages: dict[str, Span] = {}
    pairs: dict[tuple[str, str], Span] = {}
    iocs: dict[tuple[str, str], Span] = {}
    for cluster in clusters:
        weight = _weights(cluster)
        for alert in cluster["alerts"]:
            share, time = weight[alert["name"]], alert["time"]
            for technique in alert["techniques"]:
                _count(techniques, technique, share, time)
            for stage in {attack.stage_of(tactic) for tactic in _tactics(alert)} or {"Unknown"}:
                _count(stages, stage, share, time)
            _count(pairs, (alert["src"], alert["dst"]), share, time)
            for ioc in indicators(alert):
                _count(iocs, ioc, share, time)
    return {
        "techniques": _rounded(techniques),
        "stages": _rounded(stages),
        "pairs": _most_frequent(_rounded(pairs), _MAX_PAIRS),
        "iocs": _most_frequent(_rounded(iocs), _MAX_IOCS),
    }


def _weights(cluster: Json) -> dict[str, float]:
    """How many alerts each listed one stands for, by alert name: a cluster lists its first 1,000 only."""
    listed = Counter(alert["name"] for alert in cluster["alerts"])
    if cluster["alert_count"] <= listed.total():
        return dict.fromkeys(listed, 1.0)
    counted = cluster.get("names", {})
    stands_for = {name: max(number, counted.get(name, 0)) for name, number in listed.items()}
    scale = cluster["alert_count"] / sum(stands_for.values())
    return {name: scale * stands_for[name] / number for name, number in listed.items()}


def _tally_before(run_id: str, previous: Json | None) -> Json:
    if previous is None:
        return {"techniques": {}, "stages": {}, "pairs": [], "iocs": []}
    tally = previous["tally"]
    return tally["before"] if tally["run_id"] == run_id else _total(tally)


def _total(tally: Json) -> Json:
    return _add(tally["before"], tally["run"])


def _add(one: Json, other: Json) -> Json:
    return {
        "techniques": _add_spans(one["techniques"], other["techniques"]),
        "stages": _add_spans(one["stages"], other["stages"]),
        "pairs": _most_frequent(_add_spans(_keyed(one["pairs"]), _keyed(other["pairs"])), _MAX_PAIRS),
        "iocs": _most_frequent(_add_spans(_keyed(one["iocs"]), _keyed(other["iocs"])), _MAX_IOCS),
    }


def _count(spans: dict, key: Any, share: float, time: float) -> None:
    span = spans.get(key)
    if span is None:
        spans[key] = [share, time, time]
    else:
        span[0] += share
        span[1] = min(span[1], time)
        span[2] = max(span[2], time)


def _rounded(spans: dict) -> dict:
    return {key: [round(count), first, last] for key, (count, first, last) in spans.items()}


def _add_spans(one: Mapping, other: Mapping) -> dict:
    result = {key: list(span) for key, span in one.items()}
    for key, (count, first, last) in other.items():
        if key in result:
            span = result[key]
            result[key] = [span[0] + count, min(span[1], first), max(span[2], last)]
        else:
            result[key] = [count, first, last]
    return result


def _most_frequent(spans: Mapping[tuple[str, str], Span], limit: int) -> list[list[Any]]:
    rows = sorted(spans.items(), key=lambda item: (-item[1][0], item[0]))[:limit]
    return [[*key, *span] for key, span in rows]


def _keyed(rows: Iterable[list[Any]]) -> dict[tuple[str, str], Span]:
    return {(row[0], row[1]): row[2:] for row in rows}


# --- parts of the document ----------------------------------------------------------------------------------------


def _stages(total: Json) -> list[Json]:
    """The six stages in order, each with its techniques, most frequent first."""
    members: dict[str, list[Json]] = {stage: [] for stage in attack.STAGES}
    for technique_id, (count, first, last) in total["techniques"].items():
        entry = {
            "id": technique_id,
            "name": _technique_name(technique_id),
            "alert_count": count,
            "first_seen": first,
            "last_seen": last,
        }
        for stage in {attack.stage_of(tactic) for tactic in attack.tactics_of([technique_id])} or {"Unknown"}:
            members[stage].append(entry)
    stages = []
    for stage, techniques in members.items():
        count, first, last = total["stages"].get(stage, (0, None, None))
        techniques.sort(key=lambda technique: (-technique["alert_count"], technique["id"]))
        stages.append(
            {"stage": stage, "alert_count": count, "first_seen": first, "last_seen": last, "techniques": techniques}
        )
    return stages


def _roles(pairs: list[list[Any]], node_feature: dict[str, Json]) -> tuple[list[Json], list[Json]]:
    """Victims and adversaries, from who acted on whom; docs/campaigns.md explains the rule."""
    sides: dict[str, str] = {}
    exchanged: dict[tuple[str, str], dict[str, Span]] = defaultdict(dict)
    for source, target, *span in pairs:
        for name in (source, target):
            sides.setdefault(name, side_of(name, node_feature.get(name)))
        exchanged[min(source, target), max(source, target)][source] = span
    acted: dict[str, Span] = {}
    suffered: dict[str, Span] = {}
    began: Counter[str] = Counter()
    for (one, other), spans in exchanged.items():
        if NOT_A_HOST in (sides[one], sides[other]):
            continue
        if one == other:
            suffered[one] = _joined(suffered.get(one), *spans.values())
            continue
        aggressor = _aggressor(one, other, spans, sides)
        victim = other if aggressor == one else one
        acted[aggressor] = _joined(acted.get(aggressor), *spans.values())
        suffered[victim] = _joined(suffered.get(victim), *spans.values())
        began[aggressor] += spans.get(aggressor, [0])[0]

    victims, adversaries = [], []
    for name in acted.keys() | suffered.keys():
        is_pivot = name in acted and name in suffered
        count, first, last = _joined(acted.get(name), *([suffered[name]] if name in suffered else []))
        entry = {
            "name": name,
            "side": sides[name],
            "alert_count": count,
            "first_seen": first,
            "last_seen": last,
            "features": node_feature.get(name, {}),
        }
        if name in acted and (not is_pivot or sides[name] == EXTERNAL):
            adversaries.append({**entry, "role": "source" if began[name] else "contacted"})
        else:
            victims.append({**entry, "role": "pivot" if is_pivot else "target"})
    for hosts in (victims, adversaries):
        hosts.sort(key=lambda host: (-host["alert_count"], host["name"]))
    return victims[:_MAX_HOSTS], adversaries[:_MAX_HOSTS]


def _aggressor(one: str, other: str, spans: dict[str, Span], sides: dict[str, str]) -> str:
    if (sides[one] == EXTERNAL) != (sides[other] == EXTERNAL):
        return one if sides[one] == EXTERNAL else other
    if one not in spans or other not in spans:
        return one if one in spans else other
    # Answers are alerted on too: who sent more acted; who came first, where both sent as many.
    return max((one, other), key=lambda name: (spans[name][0], -spans[name][1], name))


def _joined(*spans: Span | None) -> Span:
    known = [span for span in spans if span]
    return [sum(span[0] for span in known), min(span[1] for span in known), max(span[2] for span in known)]


def _iocs(rows: list[list[Any]], victims: list[Json]) -> dict[str, list[Json]]:
    """Indicators by kind; what the victims themselves are known by is none."""
    own = {victim["name"] for victim in victims}
    result: dict[str, list[Json]] = {kind: [] for kind in KINDS}
    for kind, value, count, first, last in rows:
        if host_of(value) not in own:
            result[kind].append({"value": value, "alert_count": count, "first_seen": first, "last_seen": last})
    return result


def _summary(cluster: Json, previous: Json | None) -> Json:
    fields = ("cluster_id", "start_time", "end_time", "first_seen_run")
    return {
        **{field: cluster[field] for field in fields},
        "alert_count": cluster["total_alert_count"],
        "techniques": _merge_lists(previous["techniques"] if previous else [], cluster["techniques"]),
        "tactics": _merge_lists(previous["tactics"] if previous else [], cluster["tactics"]),
        "src": _merge_lists(previous["src"] if previous else [], _listed(cluster["src"]))[:100],
        "dst": _merge_lists(previous["dst"] if previous else [], _listed(cluster["dst"]))[:100],
        "names": cluster.get("names") or (previous["names"] if previous else {}),
    }


def _events(run_id: str, clusters: list[Json]) -> Iterator[Json]:
    for cluster in clusters:
        for alert in cluster["alerts"]:
            tactics = _tactics(alert)
            event = {
                "id": alert["id"],
                "run_id": run_id,
                "cluster_id": cluster["cluster_id"],
                "time": alert["time"],
                "src": alert["src"],
                "dst": alert["dst"],
                "name": alert["name"],
                "techniques": alert["techniques"],
                "tactics": tactics,
                "stage": attack.stage_of(attack.most_severe(tactics)),
                "attributes": alert["attributes"],
            }
            if "raw" in alert:
                raw = orjson.dumps(alert["raw"])
                cut = {"cut": raw[:_MAX_RAW_BYTES].decode("utf-8", "ignore")}
                event["raw"] = alert["raw"] if len(raw) <= _MAX_RAW_BYTES else cut
            yield event


def _select_events(candidates: list[Json]) -> list[Json]:
    """At most `MAX_EVENTS`, in time order: clusters take turns, and every alert name comes before its repetitions.

    Selecting again from the selection and the same candidates gives the same events.
    """
    events = list({(event["run_id"], event["id"]): event for event in candidates}.values())
    events.sort(key=lambda event: (event["time"], event["run_id"], str(event["id"])))
    if len(events) <= MAX_EVENTS:
        return events
    repetition: Counter[tuple[str, str]] = Counter()
    order: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for position, event in enumerate(events):
        name = event["cluster_id"], event["name"]
        order[event["cluster_id"]].append((repetition[name], position))
        repetition[name] += 1
    turns = sorted(
        (turn, cluster_id, position)
        for cluster_id, rows in order.items()
        for turn, (_, position) in enumerate(sorted(rows))
    )
    return [events[position] for position in sorted(position for *_, position in turns[:MAX_EVENTS])]


def _name(tactics: list[str], victims: list[Json], adversaries: list[Json], events: list[Json], start: float) -> str:
    """Worst tactic, the host that suffered it most, and the first day: "Exfiltration on db-02, 2026-11-02"."""
    worst = attack.most_severe(tactics)
    known = {victim["name"]: victim["alert_count"] for victim in victims}
    hits = Counter(
        host
        for event in events
        if worst in event["tactics"] or worst is None
        for host in {event["src"], event["dst"]}
        if host in known
    )
    hosts = sorted(hits, key=lambda host: (-hits[host], -known[host], host)) or list(known)
    subject = hosts[0] if hosts else next((adversary["name"] for adversary in adversaries), "unknown hosts")
    others = len(known) - 1
    more = f" and {others} more" if others > 0 else ""
    return f"{worst or 'Unclassified activity'} on {subject[:80]}{more}, {_day(start)}"


def _day(time: float) -> str:
    try:
        return dt.datetime.fromtimestamp(time, dt.UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "undated"


def _tactics(alert: Json) -> list[str]:
    return alert.get("tactics") or attack.tactics_of(alert["techniques"])


def _technique_name(technique_id: str) -> str:
    technique = attack.techniques().get(technique_id)
    return technique.name if technique else technique_id


def _merge_lists(*lists: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(item for items in lists for item in items))


def _listed(hosts: str | list[str]) -> list[str]:
    return [hosts] if isinstance(hosts, str) else hosts
