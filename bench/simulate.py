"""Alerts of several attackers among the noise of a company, with the truth about each alert.

    python -m bench.simulate --alerts 5000 --seed 7 --out out/               alerts.json and truth.json
    python -m bench.simulate --alerts 5000 --seed 7 --parts 2 --out out/     two files that split an attack in its middle
    python -m bench.simulate --alerts 5500000 --seed 7 --out out/            about 1 GB, written as a stream

The alert names are ours, in the manner of network sensors, host agents, Windows, EDR and cloud services; no vendor's
rules are copied. `truth.json` maps alert id to `label.stage.instance` ("ransomware.3.1": third step of the first
attacker) or `-` for noise.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson
import yaml

NOISE = "-"
# Monday, 2 November 2026, 00:00 UTC.
START = 1_793_577_600.0
DAY, HOUR = 86_400.0, 3_600.0
_FLOOD_SHARE, _BACKGROUND_SHARE = 0.15, 0.10

Alert = dict[str, Any]


@dataclass(frozen=True)
class Signature:
    """What a sensor says. `technique` is what the sensor itself adds, if it does."""

    name: str
    port: int | None = None
    priority: int = 3
    technique: str | None = None
    # More attributes, each one of `_FILLERS`.
    fillers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of an attack, from a role to a role; `is_flood` steps share the budget for floods."""

    signatures: tuple[Signature, ...]
    source: str
    target: str
    alerts: tuple[int, int] = (1, 4)
    is_flood: bool = False


def _signature(entry: dict[str, Any]) -> Signature:
    return Signature(
        entry["name"], entry.get("port"), entry["priority"], entry.get("technique"), tuple(entry.get("with", ()))
    )


def _step(entry: dict[str, Any]) -> Step:
    low, high = entry["alerts"]
    signatures = tuple(map(_signature, entry["signatures"]))
    return Step(signatures, entry["from"], entry["to"], (low, high), entry.get("flood", False))


_SCENARIOS = yaml.safe_load(Path(__file__).with_name("scenarios.yaml").read_text(encoding="utf-8"))
PLAYBOOKS = {name: tuple(map(_step, steps)) for name, steps in _SCENARIOS["playbooks"].items()}
# Signature and peer, by the role of the host.
NOISE_BY_ROLE = {
    role: [(_signature(entry), entry["peer"]) for entry in entries] for role, entries in _SCENARIOS["noise"].items()
}
COMMON_NOISE = [_signature(entry) for entry in _SCENARIOS["common_noise"]]
BACKGROUND = [_signature(entry) for entry in _SCENARIOS["background"]]
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
    "curl/8.5.0",
    "python-requests/2.32",
    "Debian APT-HTTP/1.3",
    "Go-http-client/2.0",
)
_PROCESSES = ("powershell.exe", "wscript.exe", "rundll32.exe", "bash", "python3", "svchost.exe", "sh -c id")
_PATHS = ("login", "search", "api/v1/items", "admin", "upload", "index", "static/app", "report")
_GROUPS = ("HR", "Finance", "Sales", "Engineering", "Support", "Legal")


@dataclass(frozen=True)
class Host:
    """One of the company's hosts."""

    name: str
    role: str
    features: dict[str, str]


class Company:
    """The hosts, drawn from a seed; `size` is how many, about."""

    def __init__(self, seed: int, size: int) -> None:
        chance = random.Random(f"{seed}:company")
        servers = [
            f"{kind}-{n:02d}" for kind in ("app", "erp", "ci", "log", "cache") for n in range(1, 1 + max(1, size // 25))
        ]
        fixed = {
            "web": ["web-01", "web-02", "web-03"],
            "dc": ["dc-01", "dc-02"],
            "dns": ["dns-01"],
            "mail": ["mail-01"],
            "gateway": ["vpn-01"],
            "database": ["db-01", "db-02"],
            "files": ["fs-01", "fs-02"],
            "build": ["build-01"],
            "server": servers,
            "workstation": [f"ws-{n:04d}" for n in range(1, 1 + max(10, size - len(servers) - 14))],
            "cloud": ["prod-account", "dev-account", "customer-exports-bucket"],
        }
        self.hosts = {
            role: [Host(name, role, _features(chance, name, role)) for name in names] for role, names in fixed.items()
        }
        self.node_feature = {host.name: host.features for hosts in self.hosts.values() for host in hosts}

    def names(self, *roles: str) -> list[str]:
        return [host.name for role in roles for host in self.hosts[role]]


def _features(chance: random.Random, name: str, role: str) -> dict[str, str]:
    system = {"workstation": "Windows 11", "dc": "Windows Server", "files": "Windows Server", "cloud": "AWS"}.get(
        role, "Linux"
    )
    group = chance.choice(_GROUPS) if role == "workstation" else "IT"
    return {
        "userid": f"machine_{name}",
        "user_group": group,
        "OS": system,
        "role": role,
        "Internal/External": "Internal",
    }


class Simulation:
    """One simulated period; `alerts()` may be called again and gives the same.

    Parameters
    ----------
    alerts
        How many in all, exactly.
    seed
        The same seed and sizes give the same alerts.
    attackers
        How many attackers are wanted; fewer where there are too few alerts for them.
    days
        Length of the period.
    """

    def __init__(self, alerts: int, seed: int, attackers: int = 3, days: float = 3.0) -> None:
        if alerts < 1 or attackers < 0 or days <= 0:
            raise ValueError("alerts must be at least 1, attackers at least 0, days more than 0")
        self.seed, self.seconds = seed, days * DAY
        self.company = Company(seed, size=min(400, max(30, alerts // 200)))
        flood = int(alerts * _FLOOD_SHARE)
        self._attacks: list[list[tuple[str, float, Step, _Cast]]] = []
        room = int(alerts * 0.6) - flood
        for number in range(1, attackers + 1):
            attack = self._attack(number)
            if len(attack) <= room:
                room -= len(attack)
                self._attacks.append(attack)
        self._floods = self._share_flood(flood)
        self._background = int(alerts * _BACKGROUND_SHARE)
        self._noise = alerts - self._background - sum(map(len, self._attacks)) - sum(size for *_, size in self._floods)

    @property
    def middle_of_attack(self) -> float:
        """A time between two steps of the first attack, about halfway through its steps."""
        if not self._attacks:
            return START + self.seconds / 2
        first_alerts: dict[str, float] = {}
        for label, time, *_ in self._attacks[0]:
            first_alerts.setdefault(label, time)
        starts = list(first_alerts.values())
        half = len(starts) // 2
        before = max(time for label, time, *_ in self._attacks[0] if first_alerts[label] < starts[half])
        return (before + starts[half]) / 2

    def alerts(self) -> Iterator[tuple[Alert, str]]:
        """Alerts in time order, each with its truth."""
        streams = [
            *map(self._attack_alerts, self._attacks),
            *(self._flood_alerts(*flood) for flood in self._floods),
            self._background_alerts(),
            *self._noise_streams(),
        ]
        merged = heapq.merge(*streams, key=lambda entry: entry[0])
        for number, (time, source, target, signature, label, chance) in enumerate(merged, start=1):
            yield _alert(number, time, source, target, signature, chance), label

    def _attack(self, number: int) -> list[tuple[str, float, Step, _Cast]]:
        chance = random.Random(f"{self.seed}:attack:{number}")
        playbooks = list(PLAYBOOKS)
        random.Random(f"{self.seed}:playbooks").shuffle(playbooks)
        name = playbooks[(number - 1) % len(playbooks)]
        cast = _Cast(self.company, number, chance)
        steps = PLAYBOOKS[name]
        begin = START + self.seconds * chance.uniform(0.08, 0.45)
        pause = self.seconds * chance.uniform(0.15, 0.5) / len(steps)
        time, rows = begin, []
        for index, step in enumerate(steps, start=1):
            duration = min(pause / 3, chance.uniform(60, 1_800))
            times = sorted(time + chance.random() * duration for _ in range(chance.randint(*step.alerts)))
            rows += [(f"{name}.{index}.{number}", when, step, cast) for when in times]
            time += duration + (pause - duration) * chance.uniform(0.5, 1.2)
        return rows

    def _share_flood(self, budget: int) -> list[tuple[str, float, Step, _Cast, int]]:
        """The budget in equal parts to the steps that flood."""
        begins: dict[str, tuple[float, Step, _Cast]] = {}
        for attack in self._attacks:
            for label, time, step, cast in attack:
                if step.is_flood:
                    begins.setdefault(label, (time, step, cast))
        return [
            (label, *begin, budget // len(begins) + (number < budget % len(begins)))
            for number, (label, begin) in enumerate(begins.items())
        ]

    def _attack_alerts(self, rows: list[tuple[str, float, Step, _Cast]]) -> Iterator[_Entry]:
        chance = random.Random(f"{self.seed}:{rows[0][0]}")
        for label, time, step, cast in rows:
            yield time, *cast.move(step, chance), label, chance

    def _flood_alerts(self, label: str, begin: float, step: Step, cast: _Cast, count: int) -> Iterator[_Entry]:
        chance = random.Random(f"{self.seed}:flood:{label}")
        duration = min(2 * HOUR, self.seconds / 10)
        for moment in _sorted_uniforms(chance, count):
            time = begin + moment * duration
            yield time, *cast.move(step, chance), label, chance

    def _background_alerts(self) -> Iterator[_Entry]:
        """The internet's own scanners at the perimeter."""
        chance = random.Random(f"{self.seed}:background")
        scanners = [_outside(chance) for _ in range(40)]
        targets = self.company.names("web", "mail", "gateway")
        for moment in _sorted_uniforms(chance, self._background):
            yield (
                START + moment * self.seconds,
                chance.choice(scanners),
                chance.choice(targets),
                chance.choice(BACKGROUND),
                NOISE,
                chance,
            )

    def _noise_streams(self) -> Iterator[Iterator[_Entry]]:
        """Every host has its few habits, and its hours."""
        chance = random.Random(f"{self.seed}:noise")
        hosts = [host for hosts in self.company.hosts.values() for host in hosts]
        weights = [chance.lognormvariate(0, 0.8) for _ in hosts]
        total, given, rest = sum(weights), 0.0, self._noise
        for host, weight in zip(hosts, weights, strict=True):
            given += weight
            count = rest - round(self._noise * (1 - given / total))
            rest -= count
            yield self._host_noise(host, max(0, count))

    def _host_noise(self, host: Host, count: int) -> Iterator[_Entry]:
        chance = random.Random(f"{self.seed}:host:{host.name}")
        catalogue = NOISE_BY_ROLE.get(host.role, NOISE_BY_ROLE["server"])
        habits = chance.sample(catalogue, min(len(catalogue), chance.randint(2, 5)))
        habits += [(signature, "self") for signature in chance.sample(COMMON_NOISE, 1)]
        weights = [1 / (rank + 1) for rank in range(len(habits))]
        hours = _Hours(self.seconds, is_office=host.role == "workstation")
        outside = [_outside(chance) for _ in range(12)]
        peers = {
            "dc": self.company.names("dc"),
            "dns": self.company.names("dns"),
            "mail": self.company.names("mail"),
            "admin": ["admin-jump"],
            "scanner": ["vuln-scanner"],
            "internet": outside,
            "visitor": outside,
            "self": [host.name],
        }
        for moment in _sorted_uniforms(chance, count):
            ((signature, where),) = chance.choices(habits, weights)
            peer = chance.choice(peers[where])
            ends = (peer, host.name) if where in ("visitor", "admin", "scanner") else (host.name, peer)
            yield START + hours.when(moment), *ends, signature, NOISE, chance


# time, source, target, signature, truth, and the chance that fills in the rest
_Entry = tuple[float, str, str, Signature, str, random.Random]


class _Cast:
    """Who plays which role in one attack; the attacker keeps coming back to the same hosts."""

    def __init__(self, company: Company, number: int, chance: random.Random) -> None:
        self.roles = {
            "attacker": [_outside(chance)],
            "c2": [_outside(chance)],
            "foothold": [chance.choice(company.names("workstation"))],
            "web": [chance.choice(company.names("web"))],
            "database": [chance.choice(company.names("database"))],
            "servers": chance.sample(company.names("server", "files", "database"), 3),
            "files": [chance.choice(company.names("files"))],
            "dc": [chance.choice(company.names("dc"))],
            "gateway": company.names("gateway"),
            "build": company.names("build"),
            "perimeter": company.names("web", "mail", "gateway"),
            "cloud_user": [f"svc-deploy-{number}"],
            "cloud_account": [chance.choice(["prod-account", "dev-account"])],
            "bucket": ["customer-exports-bucket"],
        }

    def move(self, step: Step, chance: random.Random) -> tuple[str, str, Signature]:
        source = chance.choice(self.roles[step.source])
        target = source if step.target == step.source else chance.choice(self.roles[step.target])
        return source, target, chance.choice(step.signatures)


class _Hours:
    """Turns an even time into one with day and night."""

    def __init__(self, seconds: float, is_office: bool) -> None:
        hours = max(1, math.ceil(seconds / HOUR))
        weights = [_activity(hour, is_office) for hour in range(hours)]
        self._step = seconds / hours
        self._until = [total / sum(weights) for total in accumulate(weights)]
        self._until[-1] = 1.0

    def when(self, share: float) -> float:
        index = min(bisect(self._until, share), len(self._until) - 1)
        before = self._until[index - 1] if index else 0.0
        return self._step * (index + (share - before) / (self._until[index] - before))


def _activity(hour: int, is_office: bool) -> float:
    day, clock = divmod(hour, 24)
    if not is_office:
        return 1.0 + 0.2 * math.sin(clock / 24 * 2 * math.pi)
    return (1.0 if 7 <= clock < 18 else 0.1) * (1.0 if day % 7 < 5 else 0.15)


def _sorted_uniforms(chance: random.Random, count: int) -> Iterator[float]:
    """`count` even random numbers in order, one at a time (each is the least of those left)."""
    reached = 0.0
    for left in range(count, 0, -1):
        reached = 1 - (1 - reached) * (1 - chance.random()) ** (1 / left)
        yield reached


def _outside(chance: random.Random) -> str:
    """An address that belongs to nobody: the blocks reserved for documentation."""
    block = chance.choice(("192.0.2", "198.51.100", "203.0.113"))
    return f"{block}.{chance.randint(1, 254)}"


def _alert(number: int, time: float, source: str, target: str, signature: Signature, chance: random.Random) -> Alert:
    attributes: dict[str, Any] = {"priority": signature.priority}
    if signature.port:
        attributes["port"] = signature.port
    for filler in signature.fillers:
        attributes[filler] = _FILLERS[filler](chance, target)
    return {
        "id": number,
        "time": round(time, 3),
        "src": source,
        "dst": target,
        "name": signature.name,
        "tech": [signature.technique] if signature.technique else [],
        "other_attributes_dict": attributes,
    }


_FILLERS = {
    "url": lambda chance, target: f"https://{target}/{chance.choice(_PATHS)}?id={chance.randint(1, 9_999)}",
    "user_agent": lambda chance, target: chance.choice(_AGENTS),
    "cert": lambda chance, target: f"CN=cdn{chance.randint(1, 9)}.updates.example",
    "process": lambda chance, target: chance.choice(_PROCESSES),
    "sha256": lambda chance, target: f"{chance.getrandbits(256):064x}",
    "query": lambda chance, target: f"node{chance.randint(1, 99)}.telemetry-sync.example",
    "sender": lambda chance, target: f"billing{chance.randint(1, 9)}@invoices.example",
}


def simulate(alerts: int, seed: int, attackers: int = 3, days: float = 3.0) -> tuple[dict[str, Any], dict[str, str]]:
    """An input document and its truth, in memory; `Simulation.alerts` streams them.

    Returns
    -------
    document
        `{"input": [alert, ...], "node_feature": {...}}`.
    truth
        Alert id (as text) -> `label.stage.instance`, or `-` for noise.
    """
    simulation = Simulation(alerts, seed, attackers, days)
    rows, truth = [], {}
    for alert, label in simulation.alerts():
        rows.append(alert)
        truth[str(alert["id"])] = label
    return {"input": rows, "node_feature": simulation.company.node_feature}, truth


def write(simulation: Simulation, folder: Path, parts: int = 1) -> list[Path]:
    """Write the alerts and the truth, as a stream.

    With two parts the first ends in the middle of the first attack, so that the second continues it.

    Returns
    -------
    list of Path
        The alert files, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if parts == 1:
        cuts = []
    else:
        begin, end = simulation.middle_of_attack, START + simulation.seconds
        cuts = [begin + (end - begin) * number / (parts - 1) for number in range(parts - 1)]
    suffixes = [""] if parts == 1 else [f"-{number}" for number in range(1, parts + 1)]
    paths = [folder / f"alerts{suffix}.json" for suffix in suffixes]
    tail = b'\n], "node_feature": ' + orjson.dumps(simulation.company.node_feature) + b"}\n"
    entries = simulation.alerts()
    entry = next(entries, None)
    for path, suffix, cut in zip(paths, suffixes, [*cuts, math.inf], strict=True):
        with path.open("wb") as file, (folder / f"truth{suffix}.json").open("wb") as truth:
            file.write(b'{"input": [')
            truth.write(b"{")
            between = b"\n"
            while entry is not None and entry[0]["time"] < cut:
                alert, label = entry
                file.write(between + orjson.dumps(alert))
                truth.write(between + b'"%d": "%s"' % (alert["id"], label.encode()))
                between = b",\n"
                entry = next(entries, None)
            file.write(tail)
            truth.write(b"\n}\n")
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alerts", type=int, default=5_000, help="how many alerts (default 5000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same alerts (default 1)")
    parser.add_argument("--attackers", type=int, default=3, help="how many attackers (default 3)")
    parser.add_argument("--days", type=float, default=3.0, help="length of the period (default 3)")
    parser.add_argument("--parts", type=int, default=1, help="how many files that continue each other (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    if args.alerts < 1 or args.parts < 1 or args.attackers < 0 or args.days <= 0:
        parser.error("--alerts and --parts must be at least 1, --attackers at least 0, --days more than 0")
    paths = write(Simulation(args.alerts, args.seed, args.attackers, args.days), args.out, args.parts)
    for path in paths:
        print(f"{path} ({path.stat().st_size:,} bytes)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
