"""Clusters -> attack flows: which step led to which, and which flow an analyst should open first.

Two clusters belong to one flow when they share a host soon after each other; the more a host stands for both and the
shorter the pause, the surer. Routine stays out of flows. Where clusters start together, the order that techniques have
in known attacks decides which led to which.

A flow scores high when its techniques are severe and new in this stream, when a burst and quiet steps come together, and
when it moves over several clusters. What occurs every day scores low.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from models.contract import BadRequestError
from models.flow.order import Step, comes_first, step

Json = dict[str, Any]
STATE_VERSION = 1

LINK_SECONDS = 2 * 3600.0  # the confidence falls to 1/e in so long
LINK_CONFIDENCE = 0.3  # less does not make one flow of two clusters
REACH_SECONDS = -LINK_SECONDS * math.log(LINK_CONFIDENCE)  # a longer pause leaves too little
OPEN_SECONDS = 2 * 86400.0  # a flow that got nothing for so long is closed
ORDER_SECONDS = 120.0  # clusters that start closer together are ordered by their techniques
MAX_MEMBERS = 200  # where everything touches everything, a flow is full and another begins
MAX_FLOWS = 5_000
MAX_HOSTS = 20
UNNAMED = 0.2  # evidence that a flow has without any technique
MEMORY_SECONDS = 7 * 86400.0  # how long a technique is remembered as usual
# Contract 4, worst first.
SEVERITY = (
    "Impact",
    "Exfiltration",
    "Command and Control",
    "Collection",
    "Lateral Movement",
    "Credential Access",
    "Privilege Escalation",
    "Persistence",
    "Execution",
    "Initial Access",
    "Defense Evasion",
    "Discovery",
    "Resource Development",
    "Reconnaissance",
)
KIND = re.compile(r"(burst|routine|step)-[0-9a-f]+$")


@dataclass
class Member:
    """One cluster of a flow."""

    cluster_id: str
    start: float
    end: float
    count: int
    kind: str
    hosts: list[str]  # most frequent first
    novelty: dict[str, float]  # of its techniques when they were first seen in it
    tactics: list[str]

    def step(self) -> Step:
        return step(self.novelty, self.tactics)


@dataclass
class Flow:
    """An open flow."""

    flow_id: str
    members: list[Member] = field(default_factory=list)
    start: float = math.inf
    end: float = -math.inf

    def take(self, *members: Member) -> None:
        """Put clusters in, each in place of what was known of it before."""
        renewed = {member.cluster_id for member in members}
        self.members = [member for member in self.members if member.cluster_id not in renewed]
        self.members.extend(members)
        self.start = min(self.start, *(member.start for member in members))
        self.end = max(self.end, *(member.end for member in members))


def update(clusters: list[Json], state: Json | None) -> tuple[list[Json], Json]:
    """Put new and updated clusters in flows.

    Parameters
    ----------
    clusters
        This run's new and updated clusters, with cumulative values; hosts and techniques most frequent first.
    state
        What the last call gave back, or None.

    Returns
    -------
    flows, state
        All flows that are new or changed, with `merged` where one absorbed others, best score first; and the open ones
        for the next call. Routine clusters are in no flow.
    """
    linking = Linking(state)
    for cluster in sorted(clusters, key=lambda row: (row["start_time"], row["cluster_id"])):
        linking.add(cluster)
    return linking.answer(), linking.state()


class Linking:
    """Open flows of one stream, and how usual each technique is in it."""

    def __init__(self, state: Json | None) -> None:
        state = state or {"version": STATE_VERSION, "opened": 0, "flows": [], "usual": {}}
        try:
            if state["version"] != STATE_VERSION:
                raise ValueError(f"version {state['version']} instead of {STATE_VERSION}")
            self.opened: int = state["opened"]
            self.flows: dict[str, Flow] = {}
            for row in state["flows"]:
                flow = self.flows[row["flow_id"]] = Flow(row["flow_id"])
                flow.take(*(Member(**member) for member in row["members"]))
            self.usual: dict[str, list[float]] = dict(state["usual"])  # technique -> how often, decayed; and when last
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadRequestError(f"state: not one that this model gave ({error!r})") from error
        self.home: dict[str, str] = {}  # cluster -> its flow
        self.by_host: dict[str, set[str]] = {}
        for flow in self.flows.values():
            for member in flow.members:
                self._index(flow.flow_id, member)
        self.changed: dict[str, None] = {}
        self.merged: dict[str, list[str]] = {}

    def add(self, cluster: Json) -> None:
        """Put one cluster in the flow that it belongs to, which may join flows."""
        member = self._member(cluster)
        known = self.home.get(member.cluster_id)
        if known is not None:
            flow = self.flows[known]
        elif member.kind == "routine":
            return
        else:
            related = self._related(member)
            flow = self._join(related) if related else self._open(member)
        flow.take(member)
        self._index(flow.flow_id, member)
        self.changed[flow.flow_id] = None

    def _related(self, member: Member) -> list[str]:
        """Flows that the cluster belongs to."""
        near = set()
        for host in member.hosts:
            flow_ids = self.by_host.get(host, set())
            # Clusters come in order of time: what is out of reach now stays so.
            flow_ids -= {name for name in flow_ids if member.start - self.flows[name].end > REACH_SECONDS}
            near |= flow_ids
        sure = {flow_id: max(confidence(other, member) for other in self.flows[flow_id].members) for flow_id in near}
        joined, size = [], 1
        for flow_id in sorted(near, key=lambda flow_id: (-sure[flow_id], self.flows[flow_id].start, flow_id)):
            if sure[flow_id] < LINK_CONFIDENCE:
                break
            # Where it is full, the next one may have room.
            if size + len(self.flows[flow_id].members) <= MAX_MEMBERS:
                size += len(self.flows[flow_id].members)
                joined.append(flow_id)
        return joined

    def _member(self, cluster: Json) -> Member:
        kind = KIND.search(cluster["cluster_id"])
        techniques = list(cluster.get("techniques") or ())
        hosts = list(dict.fromkeys([*(cluster.get("dst") or ())[:MAX_HOSTS], *(cluster.get("src") or ())[:MAX_HOSTS]]))
        return Member(
            cluster_id=cluster["cluster_id"],
            start=cluster["start_time"],
            end=max(cluster["start_time"], cluster["end_time"]),
            count=cluster.get("alert_count", 1),
            kind=kind.group(1) if kind else "step",
            hosts=hosts,
            novelty=self._novelty(cluster["cluster_id"], techniques, cluster["start_time"]),
            tactics=list(cluster.get("tactics") or ()),
        )

    def _novelty(self, cluster_id: str, techniques: Iterable[str], now: float) -> dict[str, float]:
        """How new each technique is in the stream, 1 for never seen; and remember that it was seen."""
        novelty = {}
        known = self.home.get(cluster_id)
        before = next((m.novelty for m in self.flows[known].members if m.cluster_id == cluster_id), {}) if known else {}
        for technique in techniques:
            if technique in before:
                novelty[technique] = before[technique]
                continue
            count, last = self.usual.get(technique, (0.0, now))
            count *= math.exp(-abs(now - last) / MEMORY_SECONDS)
            novelty[technique] = round(1.0 / (1.0 + count), 4)
            self.usual[technique] = [count + 1.0, now]
        return novelty

    def _open(self, member: Member) -> Flow:
        digest = hashlib.sha256(f"{self.opened}\0{member.cluster_id}".encode("utf-8", "surrogatepass")).hexdigest()
        flow = Flow(f"flow-{digest[:16]}")
        self.opened += 1
        self.flows[flow.flow_id] = flow
        return flow

    def _join(self, flow_ids: list[str]) -> Flow:
        """One flow out of several; the oldest survives."""
        oldest, *others = sorted(flow_ids, key=lambda flow_id: (self.flows[flow_id].start, flow_id))
        flow = self.flows[oldest]
        for flow_id in others:
            absorbed = self.flows.pop(flow_id)
            flow.take(*absorbed.members)
            for member in absorbed.members:
                self._index(oldest, member)
                for host in member.hosts:
                    self.by_host[host].discard(flow_id)
            self.merged.setdefault(oldest, []).extend([flow_id, *self.merged.pop(flow_id, [])])
            self.changed.pop(flow_id, None)
        return flow

    def _index(self, flow_id: str, member: Member) -> None:
        self.home[member.cluster_id] = flow_id
        for host in member.hosts:
            self.by_host.setdefault(host, set()).add(flow_id)

    def answer(self) -> list[Json]:
        """The flows that changed, best score first."""
        rows = []
        for flow_id in self.changed:
            flow = self.flows[flow_id]
            flow.members = in_order(flow.members)
            row: Json = {
                "flow_id": flow_id,
                "cluster_ids": [member.cluster_id for member in flow.members],
                "edges": edges(flow.members),
                "score": score(flow.members),
            }
            if flow_id in self.merged:
                row["merged"] = sorted(self.merged[flow_id])
            rows.append(row)
        return sorted(rows, key=lambda row: (-row["score"], row["flow_id"]))

    def state(self) -> Json:
        """Open flows and usual techniques; bounded by the flows of the last days."""
        now = max((flow.end for flow in self.flows.values()), default=0.0)
        still_open = sorted(
            (flow for flow in self.flows.values() if now - flow.end <= OPEN_SECONDS),
            key=lambda flow: (-flow.end, flow.flow_id),
        )[:MAX_FLOWS]
        rows = [{"flow_id": f.flow_id, "members": [asdict(member) for member in f.members]} for f in still_open]
        return {"version": STATE_VERSION, "opened": self.opened, "flows": rows, "usual": self.usual}


def confidence(a: Member, b: Member) -> float:
    """How sure it is that two clusters are of one attack, 0 to 1: by the hosts they share and the pause between them."""
    rank = {host: position for position, host in enumerate(b.hosts, 1)}
    shared = max((1.0 / (p * rank[host]) for p, host in enumerate(a.hosts, 1) if host in rank), default=0.0)
    pause = max(0.0, b.start - a.end, a.start - b.end)
    return shared * math.exp(-pause / LINK_SECONDS)


def in_order(members: Iterable[Member]) -> list[Member]:
    """By time; clusters that start together by which of them leads to the others."""
    by_time = sorted(members, key=lambda m: (m.start, m.cluster_id))
    steps = [m.step() for m in by_time]
    late = [0.0] * len(by_time)
    beside = [0] * len(by_time)
    for i, a in enumerate(by_time):
        for j in range(i + 1, len(by_time)):
            if by_time[j].start - a.start > ORDER_SECONDS:
                break
            chance = comes_first(steps[i], steps[j])
            late[i] += 1.0 - chance
            late[j] += chance
            beside[i] += 1
            beside[j] += 1
    moved = [m.start + ORDER_SECONDS * (late[i] / beside[i] if beside[i] else 0.5) for i, m in enumerate(by_time)]
    return [by_time[i] for i in sorted(range(len(by_time)), key=lambda i: (moved[i], i))]


def edges(members: list[Member]) -> list[list[Any]]:
    """From every cluster that led nowhere yet to the next one that it is related to, with confidence."""
    ends: list[Member] = []
    found = []
    for member in members:
        left = []
        for end in ends:
            sure = confidence(end, member)
            if sure >= LINK_CONFIDENCE:
                found.append([end.cluster_id, member.cluster_id, round(sure * _transition(end, member), 3)])
            else:
                left.append(end)
        ends = [*left, member]
    return found


def _transition(a: Member, b: Member) -> float:
    """How likely it is that such a step leads to such another, .5 to 1 or less when it is the other way round."""
    return 0.5 + 0.5 * comes_first(a.step(), b.step())


def score(members: list[Member]) -> float:
    """Higher is worse: new and severe techniques, bursts beside steps, several clusters."""
    novelty: dict[str, float] = {}
    for member in members:
        for technique, new in member.novelty.items():
            novelty[technique] = max(new, novelty.get(technique, 0.0))
    tactics = {tactic for member in members for tactic in member.tactics}
    severity = max((1.0 - SEVERITY.index(t) / len(SEVERITY) for t in tactics if t in SEVERITY), default=0.0)
    bursts = [member for member in members if member.kind == "burst"]
    burst = math.log10(1 + max((member.count for member in bursts), default=0))
    together = 2.0 if bursts and len(bursts) < len(members) else 1.0
    evidence = UNNAMED + sum(novelty.values()) + burst * together
    return round(evidence * (1.0 + severity) * math.log2(1 + len(members)), 3)
