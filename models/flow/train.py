"""Learn the order of techniques from attack flows.

    python -m models.flow.train [--data DIR]

Writes order.json beside this file. Source: Attack Flow corpus of the Center for Threat-Informed Defense (Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from models.flow.order import MODEL

Json = dict[str, Any]
Pair = tuple[str, str]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# Ridge on the log odds: a technique is in few flows, a tactic in all.
RIDGE = {"technique": 100.0, "parent": 60.0, "tactic": 10.0}


def read_flows(data: Path) -> list[Json]:
    return [json.loads(line) for line in (data / "attackflow" / "flows.jsonl").read_text().splitlines()]


def read_tactics(data: Path) -> dict[str, list[str]]:
    index = json.loads((data / "technique" / "attack_index.json").read_text())
    return {technique["id"]: technique["tactics"] for technique in index["techniques"]}


def pairs(flow: Json, *, direct: bool = False) -> list[Pair]:
    """Techniques of each two steps of which the first leads to the second, at once (`direct`) or over others."""
    technique = {node["n"]: node["technique"] for node in flow["nodes"] if node["technique"]}
    following: dict[int, set[int]] = {}
    for a, b, *_ in flow["edges"]:
        following.setdefault(a, set()).add(b)
    found = []
    for start in sorted(technique):
        seen, queue = {start}, [start]
        while queue:
            for node in sorted(following.get(queue.pop(0), ())):
                if node not in seen:
                    seen.add(node)
                    if not direct:
                        queue.append(node)
        seen.discard(start)
        found += [(technique[start], technique[node]) for node in sorted(seen & technique.keys())]
    return [(a, b) for a, b in found if a != b]


def fit(examples: Iterable[Pair], tactics: dict[str, list[str]]) -> Json:
    """Bradley-Terry by Newton's method: log odds that a comes before b are a difference of strengths."""
    examples = list(examples)
    columns: dict[tuple[str, str], int] = {}
    rows = np.zeros((len(examples), 2_000))
    for row, pair in enumerate(examples):
        for technique, sign in zip(pair, (1.0, -1.0), strict=True):
            own = tactics.get(technique) or tactics.get(technique.split(".")[0]) or []
            parts = [("technique", technique, 1.0), ("parent", technique.split(".")[0], 1.0)]
            for kind, name, weight in parts + [("tactic", tactic, 1.0 / len(own)) for tactic in own]:
                rows[row, columns.setdefault((kind, name), len(columns))] += sign * weight
    rows = rows[:, : len(columns)]
    ridge = np.array([RIDGE[kind] for kind, _ in columns])
    weights = np.zeros(len(columns))
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-rows @ weights))
        gradient = rows.T @ (chance - 1.0) + ridge * weights
        curvature = (rows.T * (chance * (1.0 - chance))) @ rows + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    model: Json = {"technique": {}, "parent": {}, "tactic": {}, "tactics": tactics}
    for (kind, name), column in columns.items():
        model[kind][name] = round(float(weights[column]), 4)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    data = parser.parse_args().data
    flows = read_flows(data)
    model = fit([pair for flow in flows for pair in pairs(flow)], read_tactics(data))
    MODEL.write_text(json.dumps(model, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"{len(flows)} flows, {len(model['technique'])} techniques -> {MODEL.name}, {MODEL.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
