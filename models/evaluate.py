"""Measure the models on labelled data: one table, and the same as JSON.

    python -m models.evaluate [--data ../shared] [--only grouping chain ...] [--json FILE]

All measures are made with the default settings. Nothing that is measured here was trained on: the technique model and the
order of techniques are trained anew for each source or flow that is left out. Without the data it says so and stops.
"""

from __future__ import annotations

import argparse
import functools
import gc
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from models import cluster, flow, technique

Json = dict[str, Any]
SHARED = Path(__file__).resolve().parents[2] / "shared"
MIXES = [("train", 0), ("train", 1), ("train", 2), ("train", 3), ("val", 0), ("val", 1)]
CHAINS = ("wardbeck", "shaw", "santos")
SCENARIOS = ("harrison", "santos", "shaw", "wardbeck", "wheeler", "wilson")
SOURCES = ("sigma", "splunk", "chronicle", "panther")
TECHNIQUE_THRESHOLD = 0.35
BATCH = 20_000


@dataclass
class Measure:
    """One line of the table."""

    name: str
    value: str
    bar: str
    aim: str
    detail: str = ""


@dataclass
class Grouped:
    """What the clustering made of one set."""

    where: list[str]  # cluster of each alert
    clusters: list[Json]  # survivors, with their alerts
    seconds: float


def group(alerts: list[Json], batch: int | None = None, settings: cluster.Settings | None = None) -> Grouped:
    """Cluster a set, in batches if so told, the state as JSON between them; only the model's time counts."""
    settings = settings or cluster.Settings()
    where = [""] * len(alerts)
    members: dict[str, list[int]] = {}
    into: dict[str, str] = {}
    state, seconds, size = None, 0.0, batch or max(1, len(alerts))
    for start in range(0, len(alerts), size):
        begun = time.perf_counter()
        last = start + size >= len(alerts)
        rows, state = cluster.update(alerts[start : start + size], {}, state, settings, final=last)
        seconds += time.perf_counter() - begun
        state = orjson.loads(orjson.dumps(state))
        for row in rows:
            members.setdefault(row["cluster_id"], []).extend(row["alerts"])
            if row["status"] == "merged":
                into[row["cluster_id"]] = row["into"]
    survivors: dict[str, list[int]] = {}
    for name, indexes in members.items():
        while name in into:
            name = into[name]
        survivors.setdefault(name, []).extend(indexes)
    for name, indexes in survivors.items():
        for i in indexes:
            where[i] = name
    return Grouped(where, [{"cluster_id": name, "alert_ids": ids} for name, ids in survivors.items()], seconds)


class Evaluation:
    """Labelled sets and the scripts that score them."""

    def __init__(self, shared: Path) -> None:
        os.environ["EVAL_DATA"] = str(shared / "data")
        sys.path.insert(0, str(shared / "eval"))
        import datasets
        import score

        # The mixes of one split share their scenarios, which take longer to read than to cluster.
        datasets._parts = functools.lru_cache(maxsize=3)(datasets._parts)
        self.data, self.datasets, self.score = shared / "data", datasets, score
        self.tactics = {
            row["id"]: row["tactics"]
            for row in json.loads((self.data / "technique" / "attack_index.json").read_text())["techniques"]
        }

    def mix(self, config: str, split: str, index: int) -> tuple[list[Json], dict[str, str]]:
        return as_alerts(self.datasets.ait_mix(config, split, index))

    def balanced(self, truth: dict[str, str], grouped: Grouped) -> float:
        where = {str(i): name for i, name in enumerate(grouped.where)}
        return self.score.pair_rates(truth, where, attack_only=True)["balanced"]

    # Measures

    def grouping(self) -> Iterator[Measure]:
        """Clustering of the AIT-ADS-A mixes, in one piece and in batches."""
        means: dict[str, list[float]] = {}
        reductions, differences = [], []
        for split, index in MIXES:
            for config in ("simul-attacks", "original", "more-noise-2"):
                alerts, truth = self.mix(config, split, index)
                whole = group(alerts)
                balanced = self.balanced(truth, whole)
                reduction = 1 - len(whole.clusters) / len(alerts)
                difference = abs(balanced - self.balanced(truth, group(alerts, BATCH)))
                progress(
                    f"{config} {split} {index}: {balanced:.4f}, in batches {difference:.4f} off, {reduction:.2%} less"
                )
                means.setdefault(config, []).append(balanced)
                reductions.append(reduction)
                differences.append(difference)
                del alerts, truth, whole
                gc.collect()
        detail = " ".join(f"{value:.3f}" for value in means["simul-attacks"])
        yield Measure(
            "grouping, simul-attacks, mean balanced", f"{mean(means['simul-attacks']):.3f}", ".85", ".90", detail
        )
        others = means["original"] + means["more-noise-2"]
        detail = f"original {mean(means['original']):.3f}, more-noise-2 {mean(means['more-noise-2']):.3f}"
        yield Measure("grouping, original and more-noise-2", f"{mean(others):.3f}", ".95", ".98", detail)
        detail = f"batches of {BATCH:,}, all 18 sets"
        yield Measure("the same in batches, largest difference", f"{max(differences):.4f}", ".02", ".005", detail)
        yield Measure("alert reduction, worst set", f"{min(reductions):.2%}", "95 %", "99 %")

    def chain(self) -> Iterator[Measure]:
        """Flows of the AIT scenarios: does one hold the whole attack, and do the best-scored ones reach it?"""
        f1, order, windows, reached, shares = [], [], 0, 0, []
        for scenario in SCENARIOS:
            alerts, truth = as_alerts(self.datasets.ait_rows(scenario))
            grouped = group(alerts)
            flows, _ = flow.update(self.flow_request(alerts, grouped), None)
            with tempfile.TemporaryDirectory() as folder:
                paths = [Path(folder) / name for name in ("alerts.json", "truth.json", "cluster.json", "flow.json")]
                document = {"input": [{"id": row["i"], "time": row["time"]} for row in alerts]}
                for path, content in zip(paths, (document, truth, grouped.clusters, flows), strict=True):
                    path.write_bytes(orjson.dumps(content))
                chained = self.score.chain(*paths[1:])["best"]
                shown = self.score.campaigns(scenario, *paths)
            progress(f"{scenario}: chain f1 {chained['f1']} order {chained['order']}; {shown}")
            if scenario in CHAINS:
                f1.append(chained["f1"])
                order.append(chained["order"])
            windows += shown["windows"]
            reached += shown["reached"]
            shares.append(shown["attack_share"])
        value = f"{mean(f1):.2f} / {mean(order):.2f}"
        yield Measure("chain, f1 / order", value, ".50 / .80", ".80 / .90", "wardbeck, shaw, santos")
        detail = f"{reached} of {windows} windows; attack share at least {min(shares):.2f}"
        met = sum(share >= 0.5 for share in shares)
        yield Measure(
            "campaigns, windows reached", f"{reached / windows:.0%}, share met by {met} of 6", "85 %, 6", "all", detail
        )

    def flow_request(self, alerts: list[Json], grouped: Grouped) -> list[Json]:
        """Clusters as the pipeline hands them to the flow model."""
        names = sorted({row["name"] for row in alerts})
        best: dict[str, list[str]] = {
            name: [answer["id"] for answer in answers if answer["score"] >= TECHNIQUE_THRESHOLD]
            for name, answers in zip(names, technique.predict(names), strict=True)
        }
        request = []
        for row in grouped.clusters:
            members = [alerts[i] for i in row["alert_ids"]]
            techniques = Counter(found for alert in members for found in best[alert["name"]])
            ranked = [name for name, _ in techniques.most_common()]
            tactics = {tactic for name in ranked for tactic in self.tactics.get(name, ())}
            request.append(
                {
                    "cluster_id": row["cluster_id"],
                    "techniques": ranked,
                    "tactics": sorted(tactic.replace("-", " ").title().replace("And", "and") for tactic in tactics),
                    "src": [host for host, _ in Counter(alert["src"] for alert in members).most_common()],
                    "dst": [host for host, _ in Counter(alert["dst"] for alert in members).most_common()],
                    "start_time": min(alert["time"] for alert in members),
                    "end_time": max(alert["time"] for alert in members),
                    "alert_count": len(members),
                }
            )
        return request

    def techniques(self) -> Iterator[Measure]:
        """Names of a source that the technique model was trained without."""
        try:
            from models.technique import train
        except ImportError as error:
            progress(f"SKIPPED: {error}; pip install -r models/train-requirements.txt")
            return
        texts = train.read_texts(self.data)
        top1, top3, detail = [], [], []
        for source in SOURCES:
            model = train.fit([row for row in texts if row["source"] != source])
            held_out = [row for row in texts if row["source"] == source]
            answers = technique.predict([row["text"] for row in held_out], model)
            guesses = [[answer["id"] for answer in best] for best in answers]
            with tempfile.TemporaryDirectory() as folder:
                truth, predictions = Path(folder) / "truth.jsonl", Path(folder) / "predictions.jsonl"
                truth.write_text(lines((n, row["techniques"]) for n, row in enumerate(held_out)))
                predictions.write_text(lines(enumerate(guesses)))
                scored = self.score.techniques(truth, predictions)
            progress(f"without {source}: {scored}")
            top1.append(scored["top1"])
            top3.append(scored["top3"])
            detail.append(f"{source} {scored['top1']:.3f}/{scored['top3']:.3f}")
        value = f"{mean(top1):.3f} / {mean(top3):.3f}"
        yield Measure("technique, source left out, top-1 / top-3", value, ".42 / .61", ".46 / .66", " ".join(detail))
        names = [row["text"] for row in texts if row["source"] in SOURCES] * 2
        technique.load()
        begun = time.perf_counter()
        technique.predict(names)
        speed = len(names) / (time.perf_counter() - begun)
        yield Measure("technique, names a second", f"{speed:,.0f}", "1,000", "")

    def order(self) -> Iterator[Measure]:
        """Direction of edges in attack flows that the weights of the evidence were learned without."""
        from models.flow import train

        flows = train.read_flows(self.data)
        tactics = train.read_tactics(self.data)
        learned_from = {flow["flow"]: train.examples([flow], tactics) for flow in flows}
        right: dict[str, list[float]] = {"comparable": [], "named": [], "reachable": []}
        by_flow: dict[str, list[float]] = {}
        for left_out in flows:
            # Variants of one report count as one flow.
            report = left_out["flow"][:15]
            others = [learned_from[row["flow"]] for row in flows if row["flow"][:15] != report]
            weights = train.fit(np.concatenate([rows for rows, _ in others]), np.concatenate([n for _, n in others]))
            node = {row["n"]: row for row in left_out["nodes"]}
            leads = learned_from[left_out["flow"]][0] @ weights
            for (a, b, at_once), lead in zip(train.reachable(left_out), leads, strict=True):
                hit = 0.5 if abs(lead) < 1e-9 else float(lead > 0)
                named = node[a]["technique"] and node[b]["technique"] and node[a]["technique"] != node[b]["technique"]
                if named:
                    right["reachable"].append(hit)
                if named and at_once:
                    right["named"].append(hit)
                if at_once and node[a]["tactic"] in tactics and node[b]["tactic"] in tactics:
                    right["comparable"].append(hit)
                    by_flow.setdefault(report, []).append(hit)
        low, high = spread(list(by_flow.values()))
        detail = (
            f"{len(right['comparable'])} direct edges between nodes with a tactic, half for a tie; "
            f"{low:.3f} to {high:.3f} at 95 %, over flows; {mean(right['named']):.3f} of the {len(right['named'])} direct "
            "edges between different techniques"
        )
        yield Measure("flow, right direction, direct edges", f"{mean(right['comparable']):.3f}", ".63", ".75", detail)
        detail = f"{len(right['reachable']):,} pairs of which one leads to the other"
        yield Measure("flow, right direction, all reachable pairs", f"{mean(right['reachable']):.3f}", "", "", detail)

    def sensitivity(self) -> Iterator[Measure]:
        """How far grouping moves when one parameter is halved or doubled; the three smaller mixes of two kinds."""
        defaults = cluster.Settings()
        for config in ("simul-attacks", "original"):
            sets = [self.mix(config, *part) for part in (("train", 0), ("train", 1), ("val", 1))]
            moved: dict[str, float] = {}
            for parameter in fields(defaults):
                value = getattr(defaults, parameter.name)
                if isinstance(value, int | float):
                    for factor in (0.5, 2.0):
                        changed: Json = {parameter.name: type(value)(value * factor)}
                        settings = replace(defaults, **changed)
                        scores = [self.balanced(truth, group(alerts, None, settings)) for alerts, truth in sets]
                        moved[f"{parameter.name} x {factor:g}"] = mean(scores)
                    progress(f"{config}, {parameter.name}")
            base = mean([self.balanced(truth, group(alerts)) for alerts, truth in sets])
            worst, best = min(moved, key=lambda name: moved[name]), max(moved, key=lambda name: moved[name])
            value = f"{moved[worst]:.3f} to {moved[best]:.3f}"
            detail = f"defaults {base:.3f}, lowest {worst}, highest {best}"
            yield Measure(f"{config}, one parameter halved or doubled", value, "", "", detail)

    def speed(self) -> Iterator[Measure]:
        """Throughput, and peak memory of the server, on the largest noisy mix."""
        alerts, _ = self.mix("simul-attacks", "val", 0)
        seconds = min(group(alerts).seconds for _ in range(3))
        detail = f"{len(alerts):,} alerts in {seconds:.2f} s, best of 3"
        yield Measure("clustering, alerts a second", f"{len(alerts) / seconds:,.0f}", "100,000", "300,000", detail)
        peak = server_peak(alerts, 50_000)
        yield Measure("peak memory of its server, batches of 50,000", f"{peak:.0f} MB", "600 MB", "300 MB")


def as_alerts(rows: list[Json]) -> tuple[list[Json], dict[str, str]]:
    alerts = [
        {
            "i": i,
            "time": float(row["time"]),
            "src": row["host"],
            "dst": row["host"],
            "name": row["name"],
            "tech": [],
            "attributes": {},
        }
        for i, row in enumerate(rows)
    ]
    return alerts, {str(i): row["truth" if "truth" in row else "event_label"] for i, row in enumerate(rows)}


def server_peak(alerts: list[Json], batch: int) -> float:
    """Peak resident memory in MB of a clustering server that is sent the alerts in batches."""
    environment = {
        **os.environ,
        "WATCHFLOOR_MODEL": "cluster",
        "SAGEMAKER_BIND_TO_PORT": "0",
        "WATCHFLOOR_BIND_HOST": "127.0.0.1",
    }
    command = [sys.executable, "-m", "models.serve", "serve"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        try:
            port = json.loads(server.stderr.readline())["port"]
            state = None
            for start in range(0, len(alerts), batch):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
                body = orjson.dumps({"alerts": alerts[start : start + batch], "node_feature": {}, "state": state})
                connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = orjson.loads(answer.read())
                connection.close()
                if answer.status != 200:
                    raise SystemExit(f"the server answered {answer.status}: {content}")
                state = content["state"]
            status = Path(f"/proc/{server.pid}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0]) / 1024
        finally:
            server.terminate()


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def spread(groups: list[list[float]], draws: int = 4_000) -> tuple[float, float]:
    """Where the mean over groups that belong together lies, at 95 %: bootstrap over the groups."""
    sums, sizes = np.array([sum(group) for group in groups]), np.array([len(group) for group in groups])
    drawn = np.random.default_rng(0).integers(0, len(groups), (draws, len(groups)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), (0.025, 0.975))
    return float(low), float(high)


def lines(rows: Iterator[tuple[int, list[str]]] | enumerate[list[str]]) -> str:
    return "\n".join(json.dumps({"id": number, "techniques": techniques}) for number, techniques in rows)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parts = ("grouping", "chain", "techniques", "order", "speed")
    more = ("sensitivity",)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with data/ and eval/")
    parser.add_argument("--only", nargs="+", choices=parts + more, default=parts)
    parser.add_argument("--json", type=Path, help="write the measures to this file as well")
    args = parser.parse_args()
    if not (args.data / "data").is_dir() or not (args.data / "eval").is_dir():
        print(f"SKIPPED: no labelled data in {args.data}; give --data FOLDER with data/ and eval/", file=sys.stderr)
        return 0
    evaluation = Evaluation(args.data)
    measures: list[Measure] = []
    for part in args.only:
        measure: Callable[[], Iterator[Measure]] = getattr(evaluation, part)
        measures += measure()
    width = max((len(row.name) for row in measures), default=0)
    print(f"{'measure':{width}}  {'value':26}  {'bar':10}  {'aim':10}")
    for row in measures:
        print(f"{row.name:{width}}  {row.value:26}  {row.bar:10}  {row.aim:10}  {row.detail}".rstrip())
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in measures], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
