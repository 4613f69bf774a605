"""Alerts -> clusters, in time order, batch by batch.

A *run* is one alert name from one src to one dst without a pause. Each run is one of three kinds:

burst    many alerts in a short time, such as a scan or password guessing;
routine  the usual on its hosts, and no more of it: it came back again and again, or never stops;
step     everything else: the unusual, quiet alerts that the steps of an attacker leave.

Routine alerts of a host and day are one cluster. Runs that burst on one host at the same time are one cluster as long as
the same names lead; when others take the lead, another burst has begun. Steps are one cluster when they share a host (or
an attribute) within `link_seconds`, or come at the same moment.

Decisions are made for a moment once the clock has gone past it, and only from what happened until then; clusters are
only ever merged. So neither the order of alerts of one moment nor the borders of batches matter.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np

from models.cluster.forest import Forest
from models.cluster.settings import Settings
from models.contract import BadRequestError

Json = dict[str, Any]
Key = tuple[str, str, str]  # src, dst, name
STATE_VERSION = 1
DEFAULTS = Settings()
MAX_TRACKS = 20_000
MAX_VALUES = 20  # attribute values of a run that can link it
MOMENT = "\0moment"  # the entity that everything shares; no host is called so

BURST, ROUTINE, STEP = "burst", "routine", "step"
YOUNG = "young"  # a run that is still watched
TOO_YOUNG = "of the latest seconds; judged when time goes on"


@dataclass(slots=True)
class Habit:
    """How often an alert name came on a host, from a host, or anywhere."""

    first: float
    last: float
    sessions: int = 0  # separated by `session_seconds`
    session_start: float = 0.0
    hosts: tuple[str, ...] = ()  # of a name anywhere: its first hosts, as many as matter


@dataclass(slots=True)
class Track:
    """What is known of one alert name from one src to one dst."""

    last: float  # time of its last alert
    session_count: int = 0
    level: float = 0.0  # decayed number of alerts now
    usual: float = 0.0  # highest level of earlier runs
    run_start: float = 0.0
    run_count: int = 0
    run_level: float = 0.0
    kind: str | None = None  # of the run that goes on, if one does
    repeated: bool = False  # a routine, but so rare that it may belong to a step
    node: int | None = None
    home: int | None = None  # the burst that it led
    values: tuple[str, ...] = ()  # attribute values that link the run


HABIT_ROW = attrgetter(*(field.name for field in fields(Habit)))
TRACK_ROW = attrgetter(*(field.name for field in fields(Track)))


@dataclass(slots=True)
class Link:
    """The latest step on an entity."""

    last: float
    node: int
    since: float
    level: float = 1.0  # decayed number of moments with a step


@dataclass(slots=True)
class Burst:
    """A burst on one host, told from others by the alerts that lead it."""

    leaders: frozenset[Key]
    node: int
    start: float
    last: float


@dataclass(slots=True)
class Cell:
    """Alerts of one moment with the same src, dst and name."""

    key: Key
    count: int
    node: int | None = None
    values: tuple[str, ...] = ()


def update(
    alerts: list[Json], node_feature: Json, state: Json | None, settings: Settings = DEFAULTS, *, final: bool = False
) -> tuple[list[Json], Json]:
    """Put a batch of alerts in clusters.

    Parameters
    ----------
    alerts
        Rows with `i`, `time` (epoch seconds), `src`, `dst`, `name`, and perhaps `attributes`.
    node_feature
        Free features per host or user name.
    state
        What the last call gave back, or None.
    settings
        Parameters; the same for every batch of a stream.
    final
        No more batches follow soon: judge the latest seconds as well, which otherwise wait in clusters of their own
        and are merged by the next batch.

    Returns
    -------
    clusters, state
        Clusters that got an alert of this batch or were merged, each with a `reason`; and what the next call needs.
    """
    grouping = Grouping(settings, node_feature, state)
    nodes = grouping.add(alerts)
    if final:
        grouping.finish()
    return grouping.answer(alerts, nodes), grouping.state()


def explain(
    alerts: list[Json], node_feature: Json, state: Json | None, settings: Settings = DEFAULTS, *, final: bool = False
) -> dict[int, str]:
    """For each alert's `i`, why it is in its cluster; same arguments as :func:`update`."""
    grouping = Grouping(settings, node_feature, state, explaining=True)
    nodes = grouping.add(alerts)
    if final:
        grouping.finish()
    clusters = {i: row["cluster_id"] for row in grouping.answer(alerts, nodes) for i in row["alerts"]}
    return {
        alert["i"]: f"{clusters[alert['i']]}: {grouping.why(node)}"
        for alert, node in zip(alerts, nodes.tolist(), strict=True)
    }


class Grouping:
    """Open clusters of one stream, and what is usual on each host."""

    def __init__(self, settings: Settings, node_feature: Json, state: Json | None, *, explaining: bool = False) -> None:
        self.settings = settings
        self.forest = Forest()
        self.explaining = explaining
        self.notes: dict[int, str] = {}  # by node, for explain()
        self.judged: dict[int, int] = {}  # node of a cell that waited -> the one that it was given
        self.tracks: dict[Key, Track] = {}
        self.habits: dict[str, Habit] = {}
        self.young: deque[Key] = deque()  # runs that are watched, oldest first
        self.unusual: dict[str, deque[Key]] = {}  # the unusual ones of them, by dst
        self.links: dict[str, Link] = {}
        self.routines: dict[str, tuple[float, int]] = {}  # dst -> start and node of its routine cluster
        self.bursts: dict[str, list[Burst]] = {}  # dst -> bursts, the current one last
        self.pending: list[Cell] = []  # the latest moment, not settled yet
        self.clock = -math.inf
        self.started: float | None = None
        self.opened = 0
        self.node_values = {name: _values(features, settings.node_weights) for name, features in node_feature.items()}
        if state:
            try:
                self._load(state)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise BadRequestError(f"state: not one that this model gave ({error!r})") from error

    # One batch

    def add(self, alerts: list[Json]) -> np.ndarray:
        """Take in a batch; the node of each alert."""
        count = len(alerts)
        if not count:
            return np.empty(0, np.int64)
        times = np.fromiter((alert["time"] for alert in alerts), np.float64, count)
        codes: dict[Key, int] = {}
        code = np.fromiter(
            (codes.setdefault((a["src"], a["dst"], a["name"]), len(codes)) for a in alerts), np.int64, count
        )
        keys = list(codes)
        if self.started is None:
            self.started = float(times.min())
        order = np.lexsort((code, times))
        times, code = times[order], code[order]
        first = np.flatnonzero(np.r_[True, (times[1:] != times[:-1]) | (code[1:] != code[:-1])])
        sizes = np.diff(np.r_[first, count])
        cell_of = np.repeat(np.arange(len(first)), sizes)
        values = self._cell_values(alerts, order, cell_of)

        cell_times, cell_codes, cell_sizes = times[first].tolist(), code[first].tolist(), sizes.tolist()
        cell_nodes = np.empty(len(first), np.int64)
        moment: list[tuple[int, Cell]] = []
        for number, time in enumerate(cell_times):
            if time != self.clock:
                self._settle_pending(moment, cell_nodes)
                moment = []
                self.clock = time
                self._judge_young()
            cell = Cell(keys[cell_codes[number]], cell_sizes[number], None, values.get(number, ()))
            moment.append((number, cell))
        self._hold(moment, cell_nodes)
        nodes = np.empty(count, np.int64)
        nodes[order] = cell_nodes[cell_of]
        return nodes

    def finish(self) -> None:
        """Judge what still waits, as if nothing followed."""
        self._settle(self.pending)
        self.pending = []
        self._judge_young(all_of_them=True)

    def _cell_values(self, alerts: list[Json], order: np.ndarray, cell_of: np.ndarray) -> dict[int, tuple[str, ...]]:
        """Linking attribute values of the cells that have any."""
        weights = {name: weight for name, weight in self.settings.attribute_weights.items() if weight}
        found: dict[int, set[str]] = {}
        if weights:
            for position, cell in zip(order.tolist(), cell_of.tolist(), strict=True):
                attributes = alerts[position].get("attributes")
                if attributes:
                    values = _values(attributes, weights)
                    if values:
                        found.setdefault(cell, set()).update(values)
        return {cell: tuple(sorted(values)[:MAX_VALUES]) for cell, values in found.items()}

    def _settle_pending(self, moment: list[tuple[int, Cell]], cell_nodes: np.ndarray) -> None:
        """The clock goes on: judge the latest moment, what an earlier batch held of it included."""
        held = {cell.key: cell for cell in self.pending}
        self.pending = []
        cells = []
        for _, cell in moment:
            before = held.pop(cell.key, None)
            if before:
                cell.count += before.count
                cell.node = before.node
                cell.values = tuple(sorted({*cell.values, *before.values})[:MAX_VALUES])
            cells.append(cell)
        cells += held.values()
        self._settle(cells)
        for number, cell in moment:
            cell_nodes[number] = cell.node

    def _hold(self, moment: list[tuple[int, Cell]], cell_nodes: np.ndarray) -> None:
        """The batch ends: its last moment may go on in the next one, so its alerts wait in nodes of their own."""
        held = {cell.key: cell for cell in self.pending}
        for number, cell in moment:
            before = held.get(cell.key)
            if before is None:
                cell.node = self._open(self._guess(cell), cell.key, "")
                held[cell.key] = cell
            else:
                before.count += cell.count
                before.values = tuple(sorted({*cell.values, *before.values})[:MAX_VALUES])
                cell.node = before.node
            cell_nodes[number] = cell.node
        self.pending = list(held.values())

    def _guess(self, cell: Cell) -> str:
        """The kind that a cell of the latest moment most likely has."""
        track = self.tracks.get(cell.key)
        going_on = track is not None and abs(self.clock - track.last) <= self.settings.session_seconds
        if cell.count >= self.settings.burst_alerts:
            return BURST
        return ROUTINE if track and going_on and track.kind == ROUTINE else STEP

    def _open(self, kind: str, key: Key, reason: str) -> int:
        return self.forest.add(kind, self.clock, "\0".join(key), reason=reason)

    # One moment

    def _settle(self, cells: list[Cell]) -> None:
        """Give each cell of the moment that the clock shows its node."""
        bursting: dict[str, list[tuple[Cell, Track]]] = {}
        tracks = [self._advance(cell) for cell in cells]
        for cell, track in zip(cells, tracks, strict=True):
            if track.kind != BURST:
                self._judge(cell.key, track)
            if track.kind == BURST:
                bursting.setdefault(cell.key[1], []).append((cell, track))
                continue
            if track.kind == ROUTINE:
                node = self._routine(cell.key)
            else:
                assert track.node is not None
                node = track.node
                if cell.values:
                    track.values = tuple(sorted({*track.values, *cell.values})[:MAX_VALUES])
                if track.kind == STEP:
                    for entity in self._entities(cell.key, track):
                        link = self.links.get(entity)
                        if link:
                            link.last = max(link.last, self.clock)
            self._place(cell, node)
        for dst, members in bursting.items():
            self._settle_burst(dst, members)

    def _place(self, cell: Cell, node: int) -> None:
        if cell.node is None:
            cell.node = node
            return
        self.forest.merge(cell.node, node)
        if self.explaining:
            self.judged[cell.node] = node

    def _advance(self, cell: Cell) -> Track:
        """Count the cell in its track and in the habits of its hosts; a pause ends the run, a long one the session."""
        now, rules = self.clock, self.settings
        track = self.tracks.get(cell.key)
        if track is None or abs(now - track.last) > rules.forget_seconds:
            track = self.tracks[cell.key] = Track(last=-math.inf)
        gap = abs(now - track.last)  # a file that is older than the last one goes back in time
        if gap > rules.session_seconds:
            track.session_count = 0
        if gap > rules.pause_seconds:
            track.usual = max(track.usual, track.run_level)
            track.run_start, track.run_count, track.run_level = now, 0, 0.0
            track.kind = track.node = None
            track.values = ()
        track.level = track.level * math.exp(-gap / rules.burst_decay_seconds) + cell.count
        track.run_level = max(track.run_level, track.level)
        track.run_count += cell.count
        track.session_count += cell.count
        track.last = now
        for name in _habits(cell.key):
            self._practise(name)
        everywhere = self.habits[_habits(cell.key)[-1]]
        if len(everywhere.hosts) < rules.routine_hosts and cell.key[1] not in everywhere.hosts:
            everywhere.hosts = tuple(sorted({*everywhere.hosts, cell.key[1]}))
        return track

    def _practise(self, name: str) -> None:
        habit = self.habits.get(name)
        if habit is None or abs(self.clock - habit.last) > self.settings.forget_seconds:
            habit = self.habits[name] = Habit(first=self.clock, last=-math.inf)
        if abs(self.clock - habit.last) > self.settings.session_seconds:
            habit.sessions += 1
            habit.session_start = self.clock
        habit.first = min(habit.first, self.clock)
        habit.last = self.clock

    def _known(self, habit: Habit) -> bool:
        """Did it come back often enough, or go on for long enough? What is new later than the first day must do so longer."""
        now, rules = self.clock, self.settings
        back = habit.sessions >= rules.routine_sessions and now - habit.first >= rules.routine_seconds
        learning = self.started is not None and habit.session_start - self.started < rules.learning_seconds
        lasting = now - habit.session_start >= (rules.persistent_seconds if learning else rules.learning_seconds)
        return back or lasting

    def _is_routine(self, key: Key, track: Track) -> bool:
        """Does the run do what is usual on its hosts, and no more of it than usual?"""
        rules = self.settings
        on_host, from_host, pair, everywhere = (self.habits[name] for name in _habits(key))
        known = self._known(pair)
        if not known and track.session_count <= rules.routine_volume:
            # A stranger that does a few of the usual things is usual.
            common = len(everywhere.hosts) >= rules.routine_hosts and self._known(everywhere)
            known = common or self._known(on_host) or self._known(from_host)
        return known and track.level <= rules.routine_excess * max(track.usual, rules.routine_level)

    def _judge(self, key: Key, track: Track) -> None:
        """What kind of run is it, as far as can be told now?"""
        now, rules = self.clock, self.settings
        routine = self._is_routine(key, track)
        watched = now - track.run_start <= rules.settle_seconds
        many = track.level >= rules.burst_level or (watched and track.run_count >= rules.burst_alerts)
        if many and not routine:
            if track.kind != YOUNG:
                track.node = None  # what it was before it burst stays where it is
            track.kind = BURST
        elif track.kind is None or (track.kind == ROUTINE and not routine):
            habit = self.habits[_habits(key)[0]]
            rare = now - habit.first >= rules.rare_seconds * habit.sessions
            if routine and not rare:
                track.kind = ROUTINE
                return
            if track.kind == ROUTINE:  # it goes beyond the usual: watched anew
                track.run_count = 0
            track.kind, track.repeated, track.run_start = YOUNG, routine, now
            track.node = self._open(STEP, key, "")
            self._watch(key, track)

    def _routine(self, key: Key) -> int:
        """The cluster of a host's routine; a new one every day."""
        dst = key[1]
        start, node = self.routines.get(dst, (-math.inf, -1))
        if abs(self.clock - start) > self.settings.routine_span_seconds:
            node = self._open(
                ROUTINE,
                key,
                f"routine of {dst}: each of its alerts came back there on several occasions, or never stops",
            )
            self.routines[dst] = (self.clock, node)
        return node

    # Steps

    def _watch(self, key: Key, track: Track) -> None:
        self.young.append(key)
        if not track.repeated:
            self.unusual.setdefault(key[1], deque()).append(key)

    def _judge_young(self, *, all_of_them: bool = False) -> None:
        """Link the runs that have been watched long enough and stayed quiet."""
        while self.young:
            key = self.young[0]
            track = self.tracks[key]
            if abs(self.clock - track.run_start) <= self.settings.settle_seconds and not all_of_them:
                return
            self.young.popleft()
            node, quiet = track.node, track.kind == YOUNG
            if quiet and track.repeated and not self._beside_unusual(key[1], track.run_start):
                assert node is not None
                track.kind = ROUTINE
                self.forest.merge(node, self._routine(key))
            elif quiet:
                assert node is not None
                track.kind = STEP
                self._link(key, track, node)
            waiting = self.unusual.get(key[1])
            if waiting and key in waiting:
                waiting.remove(key)

    def _beside_unusual(self, dst: str, start: float) -> bool:
        """Does something unusual happen on the host at the same moment?"""
        near = self.settings.settle_seconds
        others = (self.tracks[key] for key in self.unusual.get(dst, ()))
        first = next((other.run_start for other in others if other.kind == YOUNG), math.inf)
        link = self.links.get(dst)
        return abs(first - start) <= near or (link is not None and _apart(start, link) <= near)

    def _link(self, key: Key, track: Track, node: int) -> None:
        """Merge a step with the latest ones on its entities that are near enough."""
        rules = self.settings
        start = track.run_start
        reasons = []
        for entity, window in self._entities(key, track).items():
            link = self.links.get(entity)
            pause = _apart(start, link) if link else math.inf
            level = link.level * math.exp(-pause / rules.pace_seconds) if link and pause <= rules.link_seconds else 0.0
            chance = pause * level / rules.pace_seconds
            if link is None or pause > window or chance > rules.chance or abs(start - link.since) > rules.span_seconds:
                self.links[entity] = Link(track.last, node, start, level + 1.0)
                continue
            if pause > rules.moment_seconds:
                link.level = level + 1.0
            if self.explaining:
                shared = "comes at the same moment as" if entity == MOMENT else f"shares {entity} with"
                reasons.append(f"{shared} a step {pause:.0f} s away")
            self.forest.merge(link.node, node)
            link.last = max(link.last, track.last)
        if self.explaining:
            self.notes[node] = "; ".join([f"{key[2]!r} on {key[1]} is {self._novelty(key, track)}", *reasons])
        root = self.forest.root(node)
        if not self.forest.reason[root]:
            self.forest.reason[root] = f"unusual, quiet alerts, the first of them {key[2][:80]!r} on {key[1]}"

    def _novelty(self, key: Key, track: Track) -> str:
        sessions = self.habits[_habits(key)[0]].sessions
        if track.repeated:
            return "rare there, and beside something unusual"
        return "new there" if sessions <= 1 else f"more than usual there, in session {sessions}"

    def _entities(self, key: Key, track: Track) -> dict[str, float]:
        """What a run can share with another, and for how long that links them."""
        src, dst, _ = key
        window = self.settings.link_seconds
        entities = {src: window, dst: window, MOMENT: self.settings.moment_seconds}
        weights = self.settings
        for value in track.values:
            entities[value] = window * weights.attribute_weights.get(value.split("=", 1)[0], 0.0)
        for host in (src, dst):
            for value in self.node_values.get(host, ()):
                entities[value] = window * weights.node_weights.get(value.split("=", 1)[0], 0.0)
        return entities

    # Bursts

    def _settle_burst(self, dst: str, members: list[tuple[Cell, Track]]) -> None:
        """Put a host's bursting cells in the burst that their leaders tell."""
        now, rules = self.clock, self.settings
        bursts = [burst for burst in self.bursts.get(dst, ()) if abs(now - burst.last) <= rules.pause_seconds]
        levels = {cell.key: track.level for cell, track in members}
        for burst in bursts:
            for key in burst.leaders - levels.keys():
                track = self.tracks.get(key)
                if track and track.kind == BURST and abs(now - track.last) <= rules.pause_seconds:
                    levels[key] = track.level * math.exp(-abs(now - track.last) / rules.burst_decay_seconds)
        total = sum(levels.values())
        leaders = frozenset(key for key, level in levels.items() if level >= rules.burst_share * total)

        current = bursts[-1] if bursts else None
        if current is None or current.leaders != leaders:
            again = next((burst for burst in bursts if burst.leaders == leaders), None)
            if current and now - current.start <= rules.settle_seconds:
                current.leaders = leaders  # it is still taking shape
            elif again:
                bursts.remove(again)
                bursts.append(again)
            else:
                reason = f"burst on {dst}, led by " + ", ".join(sorted(repr(key[2][:80]) for key in leaders)[:3])
                node = self._open(BURST, min(levels), reason)
                bursts.append(Burst(leaders, node, now, now))
            current = bursts[-1]
        current.last = now
        self.bursts[dst] = bursts
        for cell, track in members:
            if track.node is not None:  # it was watched until now
                self.forest.merge(track.node, current.node)
                track.node = None
            if cell.key in leaders:
                track.home = current.node
            # Who led another burst that goes on stays with it.
            home = next((b for b in bursts if b.node == track.home and cell.key in b.leaders), current)
            home.last = now
            self._place(cell, home.node)

    # Answer and state

    def answer(self, alerts: list[Json], nodes: np.ndarray) -> list[Json]:
        """Clusters of the batch's alerts, oldest first, and those that were merged into another."""
        forest = self.forest
        known = [(node, name) for node, name in enumerate(forest.ids) if name is not None]
        distinct, inverse = np.unique(nodes, return_inverse=True)
        roots = np.fromiter((forest.root(node) for node in distinct.tolist()), np.int64, len(distinct))
        root_of = roots[inverse] if len(nodes) else nodes
        order = np.argsort(root_of, kind="stable")
        i = np.fromiter((alert["i"] for alert in alerts), np.int64, len(alerts))[order]
        borders = np.flatnonzero(np.diff(root_of[order])) + 1
        members = {int(root_of[order[start]]): i[start:end].tolist() for start, end in _spans(borders, len(order))}
        rows = []
        for root in sorted(members, key=lambda root: forest.born[root]):
            name, status = forest.ids[root], "continued"
            if name is None:
                name, status = forest.name(root, self.opened), "new"
                self.opened += 1
            rows.append(self._row(root, name, status, members[root]))
        for node, name in known:
            root = forest.root(node)
            if root != node:
                rows.append({**self._row(root, name, "merged", []), "into": forest.ids[root]})
        return rows

    def why(self, node: int) -> str:
        """Why an alert with this node is in its cluster."""
        root = self.forest.root(node)
        return self.notes.get(self.judged.get(node, node)) or self.forest.reason[root] or TOO_YOUNG

    def _row(self, root: int, name: str, status: str, members: list[int]) -> Json:
        forest = self.forest
        return {
            "cluster_id": name,
            "alerts": members,
            "status": status,
            "kind": forest.kind[root],
            "reason": forest.reason[root] or TOO_YOUNG,
        }

    def state(self) -> Json:
        """What the next batch needs; grows with the open clusters and the tracks of the last month."""
        now, rules, forest = self.clock, self.settings, self.forest
        kept: dict[int, int] = {}  # root -> its place in the state

        def place(node: int | None) -> int | None:
            return None if node is None else kept.setdefault(forest.root(node), len(kept))

        recent = sorted(
            (item for item in self.tracks.items() if abs(now - item[1].last) <= rules.forget_seconds),
            key=lambda item: (abs(now - item[1].last), item[0]),
        )[:MAX_TRACKS]
        habits = sorted(
            (
                [name, *HABIT_ROW(habit)]
                for name, habit in self.habits.items()
                if abs(now - habit.last) <= rules.forget_seconds
            ),
            key=lambda row: (abs(now - row[2]), row[0]),
        )[: 3 * MAX_TRACKS]
        kept_keys = {key for key, _ in recent}
        tracks = []
        for key, track in sorted(recent):
            if abs(now - track.last) > rules.pause_seconds:
                track.usual = max(track.usual, track.run_level)
                track.kind = track.node = track.home = None
            values = list(TRACK_ROW(track))
            values[-3:-1] = place(track.node), place(track.home)
            tracks.append([*key, *values])
        links = [
            [entity, link.last, place(link.node), link.since, link.level]
            for entity, link in sorted(self.links.items())
            if abs(now - link.last) <= rules.link_seconds + 2 * rules.settle_seconds  # a run that is watched is older
        ]
        routines = [
            [dst, start, place(node)]
            for dst, (start, node) in sorted(self.routines.items())
            if abs(now - start) <= rules.routine_span_seconds
        ]
        bursts = [
            [dst, sorted(burst.leaders), place(burst.node), burst.start, burst.last]
            for dst, open_bursts in sorted(self.bursts.items())
            for burst in open_bursts
            if abs(now - burst.last) <= rules.pause_seconds
        ]
        pending = [[list(cell.key), cell.count, place(cell.node), list(cell.values)] for cell in self.pending]
        return {
            "version": STATE_VERSION,
            "clock": None if math.isinf(now) else now,
            "opened": self.opened,
            "started": self.started,
            "tracks": tracks,
            "habits": habits,
            "young": [key for key in self.young if key in kept_keys],
            "links": links,
            "routines": routines,
            "bursts": bursts,
            "pending": pending,
            "clusters": [forest.row(node) for node in kept],
        }

    def _load(self, state: Json) -> None:
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"version {state.get('version')} instead of {STATE_VERSION}")
        self.clock = -math.inf if state["clock"] is None else state["clock"]
        self.opened = state["opened"]
        for name, kind, time, seed, reason in state["clusters"]:
            self.forest.add(kind, time, seed, name, reason)
        self.started = state["started"]
        for name, *values in state["habits"]:
            values[-1] = tuple(values[-1])
            self.habits[name] = Habit(*values)
        for src, dst, name, *values in state["tracks"]:
            values[-1] = tuple(values[-1])
            self.tracks[src, dst, name] = Track(*values)
        for src, dst, name in state["young"]:
            self._watch((src, dst, name), self.tracks[src, dst, name])
        self.links = {entity: Link(*link) for entity, *link in state["links"]}
        self.routines = {dst: (start, node) for dst, start, node in state["routines"]}
        for dst, leaders, node, start, last in state["bursts"]:
            burst = Burst(frozenset((src, to, name) for src, to, name in leaders), node, start, last)
            self.bursts.setdefault(dst, []).append(burst)
        self.pending = [
            Cell((src, dst, name), count, node, tuple(values))
            for (src, dst, name), count, node, values in state["pending"]
        ]


def _apart(time: float, link: Link) -> float:
    """Seconds between a time and the step that a link stands for."""
    return max(0.0, time - link.last, link.since - time)


def _habits(key: Key) -> tuple[str, str, str, str]:
    """Names of the habits that an alert belongs to: on its dst, from its src, from src on dst, anywhere."""
    src, dst, name = key
    return f"on\0{dst}\0{name}", f"from\0{src}\0{name}", f"pair\0{src}\0{dst}\0{name}", f"any\0{name}"


def _values(attributes: Any, weights: Mapping[str, float]) -> tuple[str, ...]:
    """The attributes that have a weight, as `name=value`."""
    if not isinstance(attributes, dict):
        return ()
    return tuple(
        f"{name}={attributes[name]}"[:300]
        for name, weight in weights.items()
        if weight and attributes.get(name) not in (None, "")
    )


def _spans(borders: np.ndarray, end: int) -> Iterable[tuple[int, int]]:
    edges = [0, *borders.tolist(), end]
    return ((a, b) for a, b in itertools.pairwise(edges) if a < b)
