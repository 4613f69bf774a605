"""Learn from attack flows how much each kind of evidence of order weighs.

    python -m models.flow.train [--data DIR]

Writes order.json beside this file. Source: Attack Flow corpus of the Center for Threat-Informed Defense (Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.flow.order import MODEL, Step, Vector, evidence, rarity, step

Json = dict[str, Any]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# Where learning begins, and how far it is held there: what readies a step counts as it is written, places have to be learned.
PRIOR = {"readies": 1.0, "leads_to": 1.0, "needs": 0.0, "gives": 0.0}
RIDGE = {"readies": 1.0, "leads_to": 1.0, "needs": 100.0, "gives": 100.0}
FAR = 0.1  # a step that leads to another over others counts so much of one that does so at once


def read_flows(data: Path) -> list[Json]:
    return [json.loads(line) for line in (data / "attackflow" / "flows.jsonl").read_text().splitlines()]


def read_tactics(data: Path) -> dict[str, str]:
    """Names of the tactics by id."""
    index = json.loads((data / "technique" / "attack_index.json").read_text())
    return {tactic["id"]: tactic["name"] for tactic in index["tactics"]}


def steps(flow: Json, tactics: Mapping[str, str]) -> dict[int, Step]:
    """The flow's nodes as the flow model sees clusters."""
    return {
        node["n"]: step(
            [node["technique"]] if node["technique"] else [],
            [tactics[node["tactic"]]] if node["tactic"] in tactics else [],
        )
        for node in flow["nodes"]
    }


def reachable(flow: Json) -> list[tuple[int, int, bool]]:
    """Each two nodes of which the first leads to the second, and whether at once."""
    following: dict[int, set[int]] = {}
    for a, b, *_ in flow["edges"]:
        following.setdefault(a, set()).add(b)
    found = []
    for start in sorted(node["n"] for node in flow["nodes"]):
        seen, queue = {start}, [start]
        while queue:
            for node in sorted(following.get(queue.pop(0), ())):
                if node not in seen:
                    seen.add(node)
                    queue.append(node)
        found += [(start, node, node in following[start]) for node in sorted(seen - {start})]
    return found


def examples(flows: Iterable[Json], tactics: Mapping[str, str]) -> tuple[Vector, Vector]:
    """Evidence that each step came before one it led to, and how much the pair counts."""
    rows, counts = [], []
    for flow in flows:
        known = steps(flow, tactics)
        for a, b, at_once in reachable(flow):
            rows.append(evidence(known[a], known[b]))
            counts.append(1.0 if at_once else FAR)
    return np.array(rows), np.array(counts)


def fit(rows: Vector, counts: Vector) -> Vector:
    """Logistic regression by Newton's method, held near PRIOR: the weights, in the order of `evidence`."""
    kinds = ["readies", "leads_to", *["needs"] * len(rarity()), *["gives"] * len(rarity())]
    prior, ridge = (np.array([table[kind] for kind in kinds]) for table in (PRIOR, RIDGE))
    weights = prior.copy()
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-rows @ weights))
        gradient = rows.T @ (counts * (chance - 1.0)) + ridge * (weights - prior)
        curvature = (rows.T * (counts * chance * (1.0 - chance))) @ rows + np.diag(ridge)
        move = np.linalg.solve(curvature, gradient)
        weights -= move
        if np.abs(move).max() < 1e-6:
            break
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    data = parser.parse_args().data
    flows = read_flows(data)
    readies, leads_to, *places = (round(float(weight), 4) for weight in fit(*examples(flows, read_tactics(data))))
    names = list(rarity())
    needs, gives = (dict(zip(names, half, strict=True)) for half in (places[: len(names)], places[len(names) :]))
    model = {"readies": readies, "leads_to": leads_to, "needs": needs, "gives": gives}
    MODEL.write_text(json.dumps(model, indent=1) + "\n")
    print(f"{len(flows)} flows, {2 + len(places)} weights -> {MODEL.name}, {MODEL.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
